"""The results of a demo in a napari window: opened on a screen, or photographed on a virtual one.

The window is built from the files of the result folder, by a Python process of its own where only a picture is wanted: a
graphics driver that fails then costs the picture, not the results. On Linux the picture is taken on an Xvfb of its own, drawn in
software, so that it looks the same everywhere and no window flashes up.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_dinov3.errors import InputError

LAYERS = "layers.json"
PACKAGES = (
    "xvfb libgl1 libegl1 libopengl0 libgl1-mesa-dri libglib2.0-0 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 "
    "libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libdbus-1-3 libfontconfig1"
)
_SCREEN_SECONDS = 20
_PICTURE_SECONDS = 180
_LABEL_COLOURS = {1: (0.25, 0.55, 0.95, 1.0), 2: (1.0, 0.72, 0.1, 1.0), 3: (0.35, 0.85, 0.45, 1.0), 4: (0.9, 0.35, 0.75, 1.0)}


def parse_size(text: str) -> tuple[int, int]:
    """Read a window size such as ``1600x1000``: width and height in pixels."""
    found = re.fullmatch(r"(\d{3,5})x(\d{3,5})", text)
    if not found:
        raise InputError(f"--size {text}", "width and height in pixels", "Write for example 1366x768")
    return int(found.group(1)), int(found.group(2))


def has_screen() -> bool:
    """Say whether there is a screen to open a window on for somebody; a virtual one that was started for us is none."""
    if os.environ.get("NAPARI_DINOV3_SCREEN") in ("virtual", "none", "no-qt"):
        return False
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def build_viewer(folder: Path, size: tuple[int, int], *, show: bool = True) -> Any:
    """Open the results of a demo as layers, side by side.

    Parameters
    ----------
    folder : Path
        With ``layers.json``.
    size : (2,) ints
        Width and height of the window in pixels.
    show : bool
        Whether the window is to be seen.

    Returns
    -------
    viewer : napari.Viewer
    """
    import napari

    viewer = napari.Viewer(title=f"napari-dinov3 demo: {folder.name}", show=show)
    entries = json.loads((folder / LAYERS).read_text("utf-8"))
    for entry in entries:
        _add_layer(viewer, folder, entry)
    point = next((entry["point"] for entry in entries if "point" in entry), None)
    viewer.window.resize(*size)
    _arrange(viewer, point)
    return viewer


def open_window(folder: Path, size: tuple[int, int]) -> str:
    """Show the results until the window is closed; returns what went wrong, or nothing."""
    try:
        import napari

        build_viewer(folder, size)
    except ImportError as error:
        return _explain(str(error))
    napari.run()
    return ""


def take_picture(folder: Path, picture: Path, size: tuple[int, int]) -> str:
    """Photograph the window with all layers.

    Parameters
    ----------
    folder : Path
        Of the results.
    picture : Path
        PNG to write.
    size : (2,) ints
        Width and height of the window in pixels.

    Returns
    -------
    problem : str
        What went wrong and what to do about it; empty if all went well.
    """
    with contextlib.ExitStack() as stack:
        settings = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        # a Wayland session would take the window away from the virtual screen, even where its variable is empty
        kept = {key: value for key, value in os.environ.items() if key not in ("WAYLAND_DISPLAY", "XDG_SESSION_TYPE")}
        environment = {**kept, "NAPARI_CONFIG": str(settings / "settings.yaml")}
        try:
            environment |= stack.enter_context(_screen(size))
        except OSError as error:
            return str(error)
        command = [sys.executable, "-m", "napari_dinov3._napari.demo_window", str(folder), str(picture), f"{size[0]}x{size[1]}"]
        try:
            ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_PICTURE_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return f"napari did not open a window within {_PICTURE_SECONDS} s"
    if ran.returncode == 0 and picture.is_file():
        return ""
    return _explain(ran.stderr.strip() or f"the window's process ended with status {ran.returncode}")


@contextlib.contextmanager
def _screen(size: tuple[int, int]) -> Iterator[dict[str, str]]:
    """Start a virtual screen where that is possible and needed; gives the environment for it."""
    if not sys.platform.startswith("linux"):
        yield {}
        return
    program = shutil.which("Xvfb")
    if program is None:
        if os.environ.get("DISPLAY"):
            yield {"QT_QPA_PLATFORM": "xcb"}
            return
        raise OSError(f"there is no screen, and Xvfb, which makes a virtual one, is not installed. {_install()}")
    read_end, write_end = os.pipe()
    command = [program, "-displayfd", str(write_end), "-screen", "0", f"{size[0]}x{size[1]}x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=(write_end,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(write_end)
    try:
        ready, _, _ = select.select([read_end], [], [], _SCREEN_SECONDS)
        number = os.read(read_end, 16).decode().strip() if ready else ""
        if not number.isdecimal():
            raise OSError("the virtual screen (Xvfb) did not start")
        yield {"DISPLAY": f":{number}", "QT_QPA_PLATFORM": "xcb", "LIBGL_ALWAYS_SOFTWARE": "1"}
    finally:
        os.close(read_end)
        server.terminate()
        try:
            server.wait(timeout=5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _explain(text: str) -> str:
    """Turn what Qt and napari say when something is missing into what to install."""
    last = text.splitlines()[-1] if text else ""
    if "No Qt bindings could be found" in text or "No module named 'napari'" in text:
        return 'there is no Qt here. Run: pip install "napari-dinov3[all]"'
    missing = re.search(r"lib[\w.+-]+\.so[.\d]*: cannot open shared object file", text)
    if missing or "platform plugin" in text:
        return f"{missing.group(0) if missing else 'Qt finds no way to draw on the screen'}. {_install()}"
    return last


def _install() -> str:
    return f"On Debian and Ubuntu run: sudo apt-get install --no-install-recommends {PACKAGES}"


def _add_layer(viewer: Any, folder: Path, entry: dict[str, Any]) -> None:
    from napari_dinov3._napari.open_file import file_layers
    from napari_dinov3.io import read

    data, options, kind = file_layers(read(folder / f"{entry['file']}.ome.tif"))[0]
    options |= {"name": entry["name"], "visible": entry.get("visible", True)}
    if kind == "labels":
        layer = viewer.add_labels(data, **options, opacity=1.0)
        layer.colormap = _label_colours(entry)
    else:
        if "colormap" in entry:
            options["colormap"] = entry["colormap"]
        if not options.get("rgb"):
            options["contrast_limits"] = tuple(entry.get("contrast_limits") or _contrast(data))
        viewer.add_image(data, **options)


def _label_colours(entry: dict[str, Any]) -> Any:
    from napari.utils.colormaps import DirectLabelColormap

    shift = entry.get("first_colour", 1) - 1
    colours: dict[int | None, Any] = {None: (0.6, 0.6, 0.6, 1.0), 0: (0.0, 0.0, 0.0, 0.0)}
    count = len(_LABEL_COLOURS)
    colours |= {value: _LABEL_COLOURS[(value - 1 + shift) % count + 1] for value in range(1, 65)}
    return DirectLabelColormap(color_dict=colours)


def _contrast(data: Any) -> tuple[float, float]:
    """Show from the 0.5th to the 99.5th percentile of the middle of a few planes; an aligned stack has empty borders."""
    import numpy as np

    planes = data if data.ndim == 2 else data[:: max(1, len(data) // 4)]
    rows, cols = (slice(n // 8, n - n // 8) for n in planes.shape[-2:])
    values = np.asarray(planes)[..., rows, cols].astype(np.float64)
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, (0.5, 99.5)) if values.size else (0.0, 1.0)
    return float(low), float(high) if high > low else float(low) + 1.0


def _arrange(viewer: Any, point: list[int] | None) -> None:
    """Put the visible layers side by side with their names, at the plane of the point that similarity starts from."""
    grid = viewer.canvas.grid if hasattr(viewer, "canvas") else viewer.grid  # moved in napari 0.9, where the old place warns
    grid.stride = 1
    shown = [layer for layer in viewer.layers if layer.visible]
    columns = 4 if len(shown) > 6 else 3
    grid.shape = (-(-len(shown) // columns), columns)
    grid.enabled = True
    for layer in shown:
        overlay = getattr(layer, "name_overlay", None)
        if overlay is not None:
            overlay.visible = True
    if point is not None and viewer.layers[0].ndim > 2:
        viewer.dims.set_point(0, float(viewer.layers[0].data_to_world((point[0], 0, 0))[0]))
    overlays = viewer.canvas.overlays if hasattr(viewer, "canvas") else viewer
    overlays.scale_bar.visible = True
    viewer.layers.selection.active = viewer.layers[0]
    viewer.reset_view()


def _photograph(folder: Path, picture: Path, size: tuple[int, int]) -> None:
    """Build the window, let it draw, and save what it shows."""
    import time

    from napari.qt import get_qapp

    viewer = build_viewer(folder, size)
    app = get_qapp()
    until = time.monotonic() + 2.0  # dock widgets, overlays and slices arrive through the event loop
    while time.monotonic() < until:
        app.processEvents()
        time.sleep(0.02)
    viewer.reset_view()
    app.processEvents()
    viewer.screenshot(str(picture), canvas_only=False, flash=False)
    viewer.close()


if __name__ == "__main__":
    _photograph(Path(sys.argv[1]), Path(sys.argv[2]), parse_size(sys.argv[3]))
