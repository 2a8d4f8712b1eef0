"""Probabilities and uncertainty of the plane in view: drawn empty at once, filled by the worker; and what to paint next."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from napari_dinov3._napari.segment import soft_stack
from napari_dinov3.segment.probe import Probe
from napari_dinov3.widgets.segment.panel import SegmentPanel

Open = Callable[[type], Any]
TIMEOUT_MS = 60_000
WORKER = "napari-dinov3 job"


def stroke(layer: Any, rows: slice, cols: slice, value: int) -> None:
    at = np.mgrid[rows, cols].reshape(2, -1)
    layer.data_setitem((np.zeros(at.shape[1], int), at[0], at[1]), value)


@pytest.fixture
def settled(qtbot: Any) -> Callable[[Any], str]:
    """Wait until every stroke is answered; give the status line."""

    def wait(panel: Any) -> str:
        qtbot.wait(30)
        qtbot.waitUntil(lambda: not panel.watch.waiting and not panel.runner.running, timeout=TIMEOUT_MS)
        return str(panel.status.text())

    return wait


class Gate:
    """Notes who computes which plane, and holds them up while it is shut."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.computed: list[tuple[str, int]] = []
        self.open = threading.Event()
        self.open.set()
        compute = Probe.predict_proba_plane

        def note(probe: Probe, features: Any, plane: int, **options: Any) -> Any:
            self.computed.append((threading.current_thread().name, plane))
            if threading.current_thread().name == WORKER:
                self.open.wait(20)
            return compute(probe, features, plane, **options)

        monkeypatch.setattr(Probe, "predict_proba_plane", note)


@pytest.fixture
def soft(panel_of: Open, model: Any, settled: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any, Gate]:
    """A panel with an answer, its uncertainty layer, still hidden, and a gate; one plane is kept at a time."""
    monkeypatch.setattr(soft_stack, "MOST_PLANES", 1)
    model.dims.set_point(0, 0)
    panel = panel_of(SegmentPanel)
    panel.setValue({"head": "linear", "uncertainty": True})
    panel.new_scribbles()
    layer = model.layers["stack scribbles"]
    stroke(layer, slice(4, 8), slice(4, 60), 1)
    stroke(layer, slice(28, 32), slice(28, 44), 2)
    settled(panel)
    return panel, model.layers["stack uncertainty"], Gate(monkeypatch)


def drawn(layer: Any) -> Any:
    return np.asarray(layer._slice.image.view)


def test_the_eye_and_the_slider_draw_an_empty_plane_at_once_and_the_worker_fills_it(
    soft: Any, model: Any, settled: Any, qtbot: Any
) -> None:
    panel, layer, gate = soft
    said = panel.status.text()
    gate.open.clear()
    layer.visible = True
    assert np.isnan(drawn(layer)).all()
    gate.open.set()
    settled(panel)
    np.testing.assert_array_equal(drawn(layer), np.asarray(layer.data[0]))
    gate.open.clear()
    model.dims.set_point(0, 4)  # plane 2: planes are two units apart
    assert np.isnan(drawn(layer)).all()
    model.dims.set_point(0, 2)  # the worker is at plane 2, and goes on with the one that is in view now
    gate.open.set()
    assert settled(panel) == said  # of the answer, which still holds
    np.testing.assert_array_equal(drawn(layer), panel.trained.uncertainty_plane(panel.prediction.features, 1))
    assert [plane for _, plane in gate.computed][:3] == [0, 2, 1]
    assert {name for name, plane in gate.computed[:3]} == {WORKER}


def test_a_stroke_comes_before_planes_that_are_being_filled(soft: Any, model: Any, settled: Any) -> None:
    panel, layer, gate = soft
    before = panel.trained
    layer.visible = True
    settled(panel)
    gate.open.clear()
    model.dims.set_point(0, 4)
    stroke(model.layers["stack scribbles"], slice(44, 60), slice(4, 60), 2)
    gate.open.set()
    assert "Classes 1, 2" in settled(panel)
    assert panel.trained is not before
    np.testing.assert_array_equal(drawn(layer), panel.trained.uncertainty_plane(panel.prediction.features, 2))


def test_a_cancelled_plane_stays_empty_until_it_is_looked_at_again(soft: Any, model: Any, settled: Any) -> None:
    panel, layer, gate = soft
    layer.visible = True
    settled(panel)
    gate.open.clear()
    model.dims.set_point(0, 4)
    panel.cancel()
    gate.open.set()
    assert "Cancelled" in settled(panel)
    model.dims.set_point(0, 2)
    settled(panel)
    assert np.isfinite(drawn(layer)).all()


@pytest.mark.parametrize("how", ["panel closed", "image removed"])
def test_planes_that_no_worker_fills_any_more_are_computed_when_they_are_drawn(
    soft: Any, model: Any, settled: Any, how: str
) -> None:
    panel, layer, gate = soft
    layer.visible = True
    settled(panel)
    if how == "panel closed":
        panel.dispose()
    else:
        model.layers.remove("stack")
    gate.computed.clear()
    model.dims.set_point(0, 4)
    assert np.isfinite(drawn(layer)).all()
    assert [(name == WORKER, plane) for name, plane in gate.computed] == [(False, 2)]


def test_a_panel_that_is_opened_again_goes_on_filling(soft: Any, panel_of: Open, model: Any, settled: Any) -> None:
    panel, layer, gate = soft
    layer.visible = True
    settled(panel)
    panel.dispose()
    again = panel_of(SegmentPanel)
    gate.computed.clear()
    gate.open.clear()
    model.dims.set_point(0, 4)
    assert np.isnan(drawn(layer)).all()
    gate.open.set()
    settled(again)
    assert np.isfinite(drawn(layer)).all()
    assert set(gate.computed) == {(WORKER, 2)}


def test_the_status_line_says_what_to_paint_next(panel_of: Open, model: Any, settled: Any) -> None:
    panel = panel_of(SegmentPanel)
    panel.setValue({"head": "linear"})
    panel.live.setChecked(False)
    panel.new_scribbles()
    text = settled(panel)
    assert "Ready" in text and "class 1" in text and "key P" in text and "then one of class 2" in text
    layer = model.layers["stack scribbles"]
    stroke(layer, slice(4, 8), slice(4, 60), 1)
    assert "second class" in settled(panel)
    stroke(layer, slice(28, 32), slice(28, 44), 2)
    assert "Press &#x27;Train and label&#x27;" in settled(panel)
    layer.undo()
    layer.undo()
    assert "class 1" in settled(panel)
    panel.live.setChecked(True)
    stroke(layer, slice(4, 8), slice(4, 60), 1)
    stroke(layer, slice(28, 32), slice(28, 44), 2)
    assert "Classes 1, 2" in settled(panel)
    panel.new_scribbles()  # another, empty one
    assert "key P" in settled(panel)
