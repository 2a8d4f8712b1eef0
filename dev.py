#!/usr/bin/env python3
"""Set up and run this project from a fresh clone: ``python3 dev.py demo`` and ``python3 dev.py check``.

All that is needed is Python 3.11 or newer and a network. The first run makes a private environment in ``.venv-dev``
and puts tox there; tox then makes the environment that the wanted task needs (``tox.ini`` says what each one does).
On Debian and Ubuntu the system packages a viewer needs are installed too when you are root, and named when you are not.

Only the standard library is used, and the syntax stays old enough that an old Python can still say what is wrong.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv-dev"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
OLDEST = (3, 11)
TOX = "tox>=4.23"  # the first whose dependency_groups and wheel_build_env serve tox.ini

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


def has_ensurepip():
    """Say whether this Python can put pip into an environment; Debian's own needs the package python3-venv for it."""
    return subprocess.call([sys.executable, "-c", "import ensurepip"], stderr=subprocess.DEVNULL) == 0


def install_ensurepip():
    """Install Debian's python3-venv when we are root there; otherwise say what is missing."""
    if not (shutil.which("apt-get") and os.geteuid() == 0):
        raise OSError("this Python has no ensurepip; on Debian: sudo apt-get install python3-venv")
    say("This Python comes without ensurepip: installing python3-venv with apt-get.")
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.call([*apt, "update"], env=environment, stdin=subprocess.DEVNULL)
    command = [*apt, "install", "-y", "--no-install-recommends", "python3-venv"]
    subprocess.check_call(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def make_environment():
    """Make ``.venv-dev`` with tox in it, anew if it is broken."""
    say("Making a private environment in {} (first run only).".format(ENVIRONMENT.name))  # noqa: UP032
    if not has_ensurepip():
        install_ensurepip()
    shutil.rmtree(str(ENVIRONMENT), ignore_errors=True)
    subprocess.check_call([sys.executable, "-m", "venv", str(ENVIRONMENT)])
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
            say("A network is needed for the first run.")
            return 2
    task, rest = arguments[0], arguments[1:]
    command = [str(PYTHON), "-m", "tox", "--root", str(ROOT)]
    command += ["list"] if task == "list" else ["run", "-e", task, "--", *rest]
    # paths given to a task mean what they mean where the command was typed
    return subprocess.call(command, env={**os.environ, "STARTED_IN": os.getcwd()})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
