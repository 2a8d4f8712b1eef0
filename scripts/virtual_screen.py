"""Run a command on a virtual screen: ``python scripts/virtual_screen.py COMMAND...``.

On Linux the command runs under Xvfb, so that tests open their windows where nobody is disturbed and pictures come out
the same everywhere. Elsewhere, and without Xvfb, it runs on the screen there is.

The command finds ``NAPARI_DINOV3_SCREEN`` set to ``real``, ``virtual``, ``none`` (Qt works without showing anything, a viewer
does not) or ``no-qt`` (not even that).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

SIZE = "1600x1000x24"


def has_screen() -> bool:
    """Say whether there is a screen to show windows on."""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def without_screen() -> dict[str, str]:
    """Find what can be done without any screen; return it as environment variables."""
    print("[screen] There is no screen here and no xvfb-run: what needs a viewer is left out.", flush=True)
    settings = {"NAPARI_DINOV3_SCREEN": "none", "QT_QPA_PLATFORM": "offscreen"}
    probe = [sys.executable, "-c", "import napari.utils; from qtpy.QtWidgets import QApplication; QApplication([])"]
    if subprocess.call(probe, env={**os.environ, **settings}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) != 0:
        print("[screen] Qt or napari does not load either: what needs them is left out as well.", flush=True)
        settings["NAPARI_DINOV3_SCREEN"] = "no-qt"
        # these plugins end the whole run when they cannot load
        settings["PYTEST_ADDOPTS"] = f"{os.environ.get('PYTEST_ADDOPTS', '')} -p no:pytest-qt -p no:napari".strip()
    return settings


def main(command: list[str]) -> int:
    """Choose a screen and run the command on it; the answer is the command's exit status."""
    environment = dict(os.environ)
    if sys.platform.startswith("linux") and shutil.which("xvfb-run"):
        environment.update(NAPARI_DINOV3_SCREEN="virtual", QT_QPA_PLATFORM="xcb")
        # a Wayland session would take the windows away from the virtual screen
        environment.pop("WAYLAND_DISPLAY", None)
        command = ["xvfb-run", "-a", "-s", f"-screen 0 {SIZE}", *command]
    elif has_screen():
        environment["NAPARI_DINOV3_SCREEN"] = "real"
    else:
        environment.update(without_screen())
    return subprocess.call(command, env=environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
