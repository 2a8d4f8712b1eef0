"""A threshold that is dragged over its histogram."""

from __future__ import annotations

from typing import Any

import pytest
from qtpy.QtCore import QPoint, Qt

from napari_dinov3.widgets.discover.histogram_slider import HistogramSlider


@pytest.fixture
def slider(qtbot: Any) -> HistogramSlider:
    widget = HistogramSlider("Tau", "A threshold.", value=0.2)
    widget.resize(280, 120)
    qtbot.addWidget(widget)
    widget.show()
    return widget


def test_dragging_moves_the_value_and_tells(slider: HistogramSlider, qtbot: Any) -> None:
    middle = QPoint(slider.canvas.width() // 2, 10)
    with qtbot.waitSignal(slider.valueChanged):
        qtbot.mouseClick(slider.canvas, Qt.MouseButton.LeftButton, pos=middle)
    assert slider.value() == pytest.approx(0.5, abs=0.02)
    qtbot.mouseClick(slider.canvas, Qt.MouseButton.LeftButton, pos=QPoint(slider.canvas.width() + 40, 10))
    assert slider.value() == 1.0


def test_keys_move_by_a_step(slider: HistogramSlider, qtbot: Any) -> None:
    qtbot.keyClick(slider.canvas, Qt.Key.Key_Right)
    assert slider.value() == pytest.approx(0.21)
    qtbot.keyClick(slider.canvas, Qt.Key.Key_Left)
    qtbot.keyClick(slider.canvas, Qt.Key.Key_Left)
    assert slider.value() == pytest.approx(0.19)


def painted(slider: HistogramSlider) -> bytes:
    image = slider.canvas.grab().toImage()
    return bytes(str([image.pixel(x, y) for x in range(0, image.width(), 3) for y in range(0, image.height(), 3)]), "ascii")


def test_bars_and_threshold_are_drawn(slider: HistogramSlider) -> None:
    empty = painted(slider)
    slider.set_bars([(0.0, 0.5, 1.0), (0.5, 1.0, 2.0)], "half of the pairs")
    with_bars = painted(slider)
    assert with_bars != empty
    assert slider.caption.text() == "half of the pairs"
    slider.setValue(0.6)
    assert painted(slider) != with_bars


def test_a_value_chosen_elsewhere_is_shown_but_not_dragged(slider: HistogramSlider, qtbot: Any) -> None:
    slider.set_chosen(0.7)
    qtbot.mouseClick(slider.canvas, Qt.MouseButton.LeftButton, pos=QPoint(20, 10))
    assert slider.value() == pytest.approx(0.2)
    assert slider.number.value() == pytest.approx(0.7)
    slider.set_chosen(None)
    qtbot.mouseClick(slider.canvas, Qt.MouseButton.LeftButton, pos=QPoint(20, 10))
    assert slider.value() < 0.1
