"""Install the system packages that a napari viewer needs, or name those that are missing.

On Debian and its relatives the missing packages are installed when this runs as root, and named otherwise. On any other
Linux the missing libraries and programs are named. macOS and Windows bring all of it along. Nothing here ends a run:
what needs a screen then says so itself, and the rest goes on.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys

# package: the library or program in it that a viewer (or the virtual screen) loads. The library is what is asked for,
# since newer releases bring some of them in a package of another name that stands in for the old one.
NEEDED = {
    "xvfb": "xvfb-run",
    "xauth": "xauth",
    "libgl1": "libGL.so.1",
    "libegl1": "libEGL.so.1",
    "libopengl0": "libOpenGL.so.0",
    "libgl1-mesa-dri": "",  # loaded by libGL out of its own folder; dpkg is asked for the package
    "libglib2.0-0": "libglib-2.0.so.0",
    "libxkbcommon-x11-0": "libxkbcommon-x11.so.0",
    "libxcb-cursor0": "libxcb-cursor.so.0",
    "libxcb-icccm4": "libxcb-icccm.so.4",
    "libxcb-image0": "libxcb-image.so.0",
    "libxcb-keysyms1": "libxcb-keysyms.so.1",
    "libxcb-randr0": "libxcb-randr.so.0",
    "libxcb-render-util0": "libxcb-render-util.so.0",
    "libxcb-shape0": "libxcb-shape.so.0",
    "libxcb-xinerama0": "libxcb-xinerama.so.0",
    "libdbus-1-3": "libdbus-1.so.3",
    "libfontconfig1": "libfontconfig.so.1",
}


def say(message: str) -> None:
    """Write one line at once, so that it stands before the output of a program started next."""
    print(f"[system packages] {message}", flush=True)


def is_here(package: str) -> bool:
    """Try to load the package's library, or to find its program; ask dpkg for a package that has neither."""
    name = NEEDED[package]
    if not name:
        asked = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True, check=False)
        return asked.stdout.endswith("ok installed")
    if ".so" not in name:
        return shutil.which(name) is not None
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def install(packages: list[str]) -> bool:
    """Install packages with apt-get; True if all went well."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    # the package lists of a fresh container are empty, so they are fetched first; old lists may still do
    subprocess.run([*apt, "update"], env=environment, stdin=subprocess.DEVNULL, check=False)
    done = subprocess.run(
        [*apt, "install", "-y", "--no-install-recommends", *packages],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode == 0


def main() -> int:
    """Look, then install or name what is missing."""
    if not sys.platform.startswith("linux"):
        return 0
    if not (shutil.which("dpkg-query") and shutil.which("apt-get")):
        missing = [name for package, name in NEEDED.items() if name and not is_here(package)]
        if missing:
            say(f"A viewer needs these, which were not found here: {', '.join(missing)}.")
            say("Install the packages of your Linux that bring them; without them, what needs a screen is left out.")
        return 0
    missing = [package for package in NEEDED if not is_here(package)]
    if not missing:
        return 0
    if os.geteuid() == 0:
        say(f"Installing with apt-get: {' '.join(missing)}")
        if install(missing):
            return 0
        say("apt-get did not succeed; going on without them.")
    say("A viewer needs packages that are missing here. To install them:")
    say(f"    sudo apt-get install --no-install-recommends {' '.join(missing)}")
    say("Without them, what needs a screen is left out.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
