"""Clicks in the canvas: who gets them, and what panning and tools do meanwhile."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_dinov3._napari.compat import camera_of
from napari_dinov3.widgets.click_picker import ClickPicker


def click(viewer: Any, position: tuple[float, ...] = (0, 15, 18), *, button: int = 1, modifiers: tuple[str, ...] = ()) -> None:
    """Press and release, as napari tells its viewer."""
    event = SimpleNamespace(type="mouse_press", position=position, button=button, modifiers=modifiers)
    for callback in list(viewer.mouse_drag_callbacks):
        follow = callback(viewer, event)
        for _ in follow:
            event.type = "mouse_release"
        event.type = "mouse_press"


@pytest.fixture
def picked() -> list[tuple[Any, bool]]:
    return []


@pytest.fixture
def picker(model: Any, picked: list[Any]) -> ClickPicker:
    return ClickPicker(model, lambda world, rest: picked.append((world, rest)))


def test_panning_stays_off_when_a_result_becomes_the_active_layer(picker: ClickPicker, model: Any) -> None:
    picker.start()
    assert not camera_of(model).mouse_pan
    model.add_image(np.zeros((3, 8, 8)))
    assert not camera_of(model).mouse_pan
    picker.stop()
    assert camera_of(model).mouse_pan
    model.layers.selection.active = model.layers[0]
    assert camera_of(model).mouse_pan


def test_a_brush_is_put_down_and_taken_up_again(picker: ClickPicker, model: Any, picked: list[Any]) -> None:
    labels = model.add_labels(np.zeros((3, 64, 64), np.uint8))
    labels.mode = "paint"
    picker.start()
    assert labels.mode == "pan_zoom"
    click(model)
    assert [rest for _, rest in picked] == [False, True]
    picker.stop()
    assert labels.mode == "paint"
    assert not camera_of(model).mouse_pan


def test_a_brush_taken_up_meanwhile_gets_its_clicks(picker: ClickPicker, model: Any, picked: list[Any]) -> None:
    labels = model.add_labels(np.zeros((3, 64, 64), np.uint8))
    picker.start()
    labels.mode = "paint"
    click(model)
    assert not picked
    picker.stop()
    assert labels.mode == "paint"


@pytest.mark.parametrize("other", [{"button": 2}, {"button": 3}, {"modifiers": ("Shift",)}])
def test_only_a_plain_left_click_counts(picker: ClickPicker, model: Any, picked: list[Any], other: dict[str, Any]) -> None:
    picker.start()
    click(model, **other)
    assert not picked
    click(model)
    assert picked
    picker.stop()


def test_one_picker_of_a_viewer_has_the_clicks(picker: ClickPicker, model: Any, picked: list[Any]) -> None:
    taken: list[str] = []
    before = list(model.mouse_drag_callbacks)
    first = ClickPicker(model, lambda *_: taken.append("clicked"), lambda: taken.append("taken"))
    first.start()
    picker.start()
    assert (first.active, picker.active) == (False, True)
    click(model)
    assert taken == ["taken"]
    assert len(picked) == 2
    picker.stop()
    assert list(model.mouse_drag_callbacks) == before
