"""Run a command on a virtual screen: ``python scripts/virtual_screen.py [--unless-screen] COMMAND...``.

On Linux the command runs under Xvfb, so that tests open their windows where nobody is disturbed and pictures come out
the same everywhere; with ``--unless-screen`` only if there is no real screen. Elsewhere the command simply runs.

The command finds ``NAPARI_DINOV3_SCREEN`` set to ``real``, ``virtual`` or ``none``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

SIZE = "1600x1000x24"


def main(arguments: list[str]) -> int:
    """Choose a screen and run the command on it; the answer is the command's exit status."""
    unless_screen = arguments[:1] == ["--unless-screen"]
    command = arguments[1:] if unless_screen else arguments
    has_screen = not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    environment = dict(os.environ)
    if sys.platform.startswith("linux") and not (unless_screen and has_screen) and shutil.which("xvfb-run"):
        environment["NAPARI_DINOV3_SCREEN"] = "virtual"
        # a Wayland session would take the windows away from the virtual screen
        environment.pop("WAYLAND_DISPLAY", None)
        environment["QT_QPA_PLATFORM"] = "xcb"
        command = ["xvfb-run", "-a", "-s", f"-screen 0 {SIZE}", *command]
    elif has_screen:
        environment["NAPARI_DINOV3_SCREEN"] = "real"
    else:
        print("[screen] No screen and no xvfb-run here: what needs a viewer is left out.", flush=True)
        environment["NAPARI_DINOV3_SCREEN"] = "none"
        environment["QT_QPA_PLATFORM"] = "offscreen"
    return subprocess.call(command, env=environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
