#!/usr/bin/env python3
"""Set up and run this project from a fresh clone: ``python3 dev.py demo`` and ``python3 dev.py check``.

All that is needed is Python 3.11 or newer and a network. The first run makes a private environment in ``.venv-dev``
and puts tox there; tox then makes the environment that the wanted task needs (``tox.ini`` says what each one does).
On Debian and Ubuntu the system packages a viewer needs are installed too when you are root, and named when you are not.

Only the standard library is used, and the syntax stays old enough that an old Python can still say what is wrong.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv-dev"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
OLDEST = (3, 11)
TOX = "tox>=4.23"  # the first whose dependency_groups and wheel_build_env serve tox.ini

# Debian's own Python comes without ensurepip unless python3-venv is installed; this wheel takes its place.
PIP_WHEEL = (
    "https://files.pythonhosted.org/packages/07/25/"
    "ee8c38ae72d66b844ce8eb9711ba905dba21ca1a8a0c960057c41cd23337/pip-26.3-py3-none-any.whl"
)
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"

USAGE = """usage: python3 dev.py TASK [ARGUMENTS]

  demo [PATH] [--out DIR]   the main job, start to end, on a made-up stack or on your own image
  check [PYTEST ARGUMENTS]  every check: style, types, import contracts, manifest, tests on a virtual screen
  list                      all other tasks (each is an environment of tox.ini)
"""


def say(message):
    """Write one line about the set-up itself, apart from what the tasks write."""
    sys.stderr.write("[dev] {}\n".format(message))  # noqa: UP032 - an older Python must be able to read this file
    sys.stderr.flush()


def newer_python():
    """Find another interpreter on the PATH that is new enough, or None."""
    test = "import sys; sys.exit(sys.version_info[:2] < {!r})".format(OLDEST)  # noqa: UP032
    for minor in range(14, OLDEST[1] - 1, -1):
        found = shutil.which("python3.{}".format(minor))  # noqa: UP032
        if found and subprocess.call([found, "-c", test], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
            return found
    return None


def has_tox():
    """Say whether the private environment is there and whole."""
    test = "import tox, sys; sys.exit(tuple(map(int, tox.version.version.split('.')[:2])) < (4, 23))"
    try:
        return subprocess.call([str(PYTHON), "-c", test], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def install_pip_from_wheel():
    """Put pip into the environment from a wheel of known content."""
    say("This Python comes without ensurepip: fetching pip from PyPI instead.")
    with urllib.request.urlopen(PIP_WHEEL, timeout=120) as answer:
        content = answer.read()
    if hashlib.sha256(content).hexdigest() != PIP_SHA256:
        raise OSError("the pip wheel that came is not the one expected")
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(folder) / PIP_WHEEL.rpartition("/")[2]
        wheel.write_bytes(content)
        subprocess.check_call([str(PYTHON), str(wheel / "pip"), "install", "--quiet", "--no-index", str(wheel)])


def make_environment():
    """Make ``.venv-dev`` with tox in it, anew if it is broken."""
    say("Making a private environment in {} (first run only).".format(ENVIRONMENT.name))  # noqa: UP032
    try:
        import ensurepip  # noqa: F401 - asked for its presence only
    except ImportError:
        with_pip = False
    else:
        with_pip = True
    venv.create(str(ENVIRONMENT), with_pip=with_pip, clear=True, symlinks=os.name != "nt")
    if not with_pip:
        install_pip_from_wheel()
    subprocess.check_call([str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", TOX])


def main(arguments):
    """Run one task; the answer is the exit status."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(USAGE)
        return 0 if arguments else 2
    if sys.version_info[:2] < OLDEST:
        other = newer_python()
        if other is None:
            say("This is Python {}.{}; 3.11 or newer is needed. Install it and try again.".format(*sys.version_info[:2]))
            return 2
        return subprocess.call([other, str(ROOT / "dev.py"), *arguments])
    if not has_tox():
        try:
            make_environment()
        except (OSError, subprocess.CalledProcessError) as error:
            say("The environment could not be made: {}".format(error))  # noqa: UP032
            say("A network is needed for the first run. On Debian, 'apt-get install python3-venv' may help.")
            return 2
    task, rest = arguments[0], arguments[1:]
    command = [str(PYTHON), "-m", "tox", "--root", str(ROOT)]
    command += ["list"] if task == "list" else ["run", "-e", task, "--", *rest]
    # paths given to a task mean what they mean where the command was typed
    return subprocess.call(command, env={**os.environ, "STARTED_IN": os.getcwd()})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
