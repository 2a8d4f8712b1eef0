"""The live loop under real mouse events: ``python scripts/virtual_screen.py python benchmarks/bench_live.py``.

Strokes are painted in the canvas of a real viewer while probes train, planes are labelled and drawn. Every stroke must be in the
scribbles; frames are asked for all the time, and the longest gap between two of them is measured, with and without the live
loop. ``--picture FILE`` saves the window. ``--soft`` asks for the layers of probability and uncertainty too and makes all of them
visible after the first answer, so that they follow every stroke.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import napari
import numpy as np
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

import napari_dinov3 as nd
from napari_dinov3._napari.compat import camera_of
from napari_dinov3._napari.session import session_of
from napari_dinov3.recipe import ExtractConfig

PLUGIN = "napari-dinov3"


class Painter:
    """Paint in the canvas of a viewer with the mouse."""

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        wanted = ("CanvasBackendDesktop", "CanvasBackendEgl", "CanvasBackend")
        self.canvas: QWidget = next(w for w in QApplication.allWidgets() if type(w).__name__ in wanted and w.isVisible())

    def at(self, row: float, col: float) -> QPoint:
        camera, size = camera_of(self.viewer), self.canvas.size()
        x = size.width() / 2 + (col - camera.center[2]) * camera.zoom
        y = size.height() / 2 + (row - camera.center[1]) * camera.zoom
        return QPoint(round(x), round(y))

    def stroke(self, points: list[tuple[float, float]], pause: float) -> None:
        left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        QTest.mouseMove(self.canvas, self.at(*points[0]))
        QTest.mousePress(self.canvas, left, none, self.at(*points[0]))
        for point in points[1:]:
            spend(pause)
            QTest.mouseMove(self.canvas, self.at(*point))
        spend(pause)
        QTest.mouseRelease(self.canvas, left, none, self.at(*points[-1]))


class Frames:
    """Ask for frames all the time and note when they are drawn."""

    def __init__(self, canvas: QWidget) -> None:
        self.times: list[float] = []
        scene = canvas._vispy_canvas
        scene.events.draw.connect(lambda event: self.times.append(time.perf_counter()))
        self.timer = QTimer()
        self.timer.setInterval(5)
        self.timer.timeout.connect(scene.update)
        self.timer.start()

    def gaps(self) -> np.ndarray:
        return np.diff(self.times) * 1000


def spend(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.001)


def strokes(size: int, count: int) -> list[list[tuple[float, float]]]:
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        row, col = rng.uniform(0.15, 0.75, 2) * size
        made.append([(row + 0.002 * size * np.sin(step), col + step * 0.004 * size) for step in range(25)])
    return made


def show_soft(viewer: Any, panel: Any) -> None:
    """Make the layers that come with the answer to what is painted visible."""
    end = time.perf_counter() + 60
    while time.perf_counter() < end and (panel.prediction is None or panel.runner.running):
        spend(0.05)
    soft = [layer for layer in viewer.layers if layer.name.split()[-1] == "uncertainty" or " probability " in layer.name]
    for layer in soft:
        layer.visible = True
    print(f"visible: {', '.join(layer.name for layer in soft)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--planes", type=int, default=5)
    parser.add_argument("--strokes", type=int, default=12)
    parser.add_argument("--head", default="kernel")
    parser.add_argument("--soft", action="store_true", help="with probability and uncertainty, all visible")
    parser.add_argument("--picture", type=Path)
    chosen = parser.parse_args()
    notification_manager.notification_ready.disconnect()
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1366, 768)
    sample = nd.synthetic.em(planes=chosen.planes, size=chosen.size, rng=0)
    viewer.add_image(sample.images, name="em")
    viewer.dims.set_point(0, 0)
    session_of(viewer).features_config = ExtractConfig(backbone="filter-bank", stride=2)
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Segment")
    panel.setValue({"head": chosen.head, "probability": chosen.soft, "uncertainty": chosen.soft})
    panel.new_scribbles()
    layer = viewer.layers["em scribbles"]
    layer.brush_size = 6
    spend(1.0)
    painter = Painter(viewer)
    errors: list[str] = []
    notification_manager.notification_ready.connect(lambda note: errors.append(str(note.message)))
    drawn, rounds = strokes(chosen.size, chosen.strokes), [0]
    panel.runner.started.connect(lambda title: rounds.__setitem__(0, rounds[0] + 1))
    answers: list[float] = []
    for number, live in enumerate((False, True, False) if chosen.soft else (False, True)):
        panel.live.setChecked(live)
        if live and chosen.soft:
            show_soft(viewer, panel)
        layer.data = np.zeros_like(layer.data)
        spend(1.0)
        frames = Frames(painter.canvas)
        if live and panel.trained is None:
            print("features of the plane in view are computed on the way", flush=True)
        for index, points in enumerate(drawn):
            layer.selected_label = 1 + index % 2
            painter.stroke(points, 0.012)
            spend(0.25)
        ended, before = time.perf_counter(), panel.prediction
        while live and time.perf_counter() < ended + 20 and (panel.prediction is before or panel.runner.running):
            work = panel._round
            if not answers and work is not None and work.digest == panel._painted.digest and work.canvas is not None:
                answers.append(time.perf_counter() - ended)
            spend(0.01)
        frames.timer.stop()
        gaps = frames.gaps()
        data = np.asarray(layer.data)[0]
        missed = sum(not data[int(r) - 6 : int(r) + 7, int(c) - 6 : int(c) + 7].any() for points in drawn for r, c in points)
        shown = ", soft layers visible" if chosen.soft and number else ""
        text = f"live {'on ' if live else 'off'}{shown}  longest gap {gaps.max():5.0f} ms"
        text += f", 99 % under {np.percentile(gaps, 99):4.0f} ms"
        print(f"{text}, median {np.median(gaps):3.0f} ms; {missed} of {25 * len(drawn)} painted places missing", flush=True)
    print(f"first answer {answers[0] * 1000:.0f} ms after the last stroke" if answers else "no answer", flush=True)
    print(f"{rounds[0]} rounds began; errors: {errors or 'none'}; {len(panel.prediction.done)} planes labelled")
    if chosen.picture is not None:
        viewer.screenshot(str(chosen.picture), canvas_only=False, flash=False)
    viewer.close()


if __name__ == "__main__":
    main()
