"""Strokes painted with the mouse in a real viewer while probes train: none is lost, nothing is raised, all is labelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

from napari_dinov3._napari.compat import camera_of, unwrap
from napari_dinov3.widgets.segment.panel import SegmentPanel

Open = Callable[[type], Any]
TIMEOUT_MS = 60_000


def canvas_of(panel: Any) -> QWidget:
    widgets = panel.window().findChildren(QWidget)
    return next(widget for widget in widgets if type(widget).__name__.startswith("CanvasBackend"))


def paint(viewer: Any, canvas: QWidget, points: list[tuple[float, float]], qtbot: Any) -> None:
    """Draw one stroke through world positions (row, col), with the left button held."""
    camera, size = camera_of(viewer), canvas.size()

    def at(point: tuple[float, float]) -> QPoint:
        offsets = [(point[axis] - camera.center[axis + 1]) * camera.zoom for axis in (0, 1)]
        return QPoint(round(size.width() / 2 + offsets[1]), round(size.height() / 2 + offsets[0]))

    left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    QTest.mouseMove(canvas, at(points[0]))
    QTest.mousePress(canvas, left, none, at(points[0]))
    for point in points[1:]:
        QTest.mouseMove(canvas, at(point))
        qtbot.wait(5)
    QTest.mouseRelease(canvas, left, none, at(points[-1]))


def test_no_stroke_is_lost_while_probes_train(dock: Open, viewer: Any, qtbot: Any) -> None:
    panel = dock(SegmentPanel)
    viewer.show()  # hidden windows get no mouse
    viewer.window.resize(1000, 700)
    viewer.dims.set_point(0, 0)
    panel.setValue({"head": "linear", "probability": True, "uncertainty": True})
    panel.new_scribbles()
    layer = viewer.layers["stack scribbles"]
    viewer.add_points(np.zeros((0, 3)), name="mine", units=layer.units)
    viewer.layers.selection.active = unwrap(layer)
    layer.brush_size = 2
    qtbot.wait(100)
    viewer.reset_view()
    canvas, began = canvas_of(panel), []
    panel.runner.started.connect(began.append)
    strokes = [[(row + 0.0, 2.0 + step) for step in range(24)] for row in (2, 14, 5, 18, 28, 12)]  # world: half a unit a pixel
    for number, points in enumerate(strokes):
        layer.selected_label = 1 + number % 2
        paint(viewer, canvas, points, qtbot)
        qtbot.wait(120)
        for each in viewer.layers:
            if not each.visible:  # probabilities, as soon as they are there
                each.visible = True
    data = np.asarray(layer.data)[0]
    for number, points in enumerate(strokes):
        for row, col in points:
            assert data[round(row * 2), round(col * 2)] == 1 + number % 2, (number, row, col)
    qtbot.waitUntil(
        lambda: panel.trained is not None and not panel.watch.waiting and not panel.runner.running, timeout=TIMEOUT_MS
    )
    assert began
    assert panel.status.property("state") == "done", panel.status.text()
    assert np.asarray(viewer.layers["stack labels"].data).all()
    assert panel.classes.value()[0].pixels == np.count_nonzero(data == 1)
    soft = ["stack probability 1", "stack probability 2", "stack uncertainty"]
    assert [each.name for each in viewer.layers] == ["stack", "stack labels", *soft, "stack scribbles", "mine"]
    assert viewer.layers.selection.active.name == "stack scribbles" and layer.mode == "paint"
    for _ in strokes:
        layer.undo()
    assert not np.asarray(layer.data).any()
    QApplication.processEvents()
