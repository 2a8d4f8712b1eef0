"""The Discover panel when settings, images and docks change under it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication, QComboBox

from napari_dinov3._napari import discovery
from napari_dinov3._napari.provenance import provenance_of
from napari_dinov3.widgets.discover import DiscoverPanel

Open = Callable[[type], Any]
Finish = Callable[[Any], str]
PLAIN = {"auto_tau": False, "tau": 0.5, "refine": 0}


def settings_of(layer: Any) -> dict[str, Any]:
    return dict(provenance_of(layer)["settings"])


def add_other(model: Any) -> None:
    other = np.random.default_rng(1).normal(100, 3, (3, 64, 64))
    other[:, 4:24, 4:24] += 60
    model.add_image(other.astype(np.uint8), name="other")


def test_mask_settings_changed_while_a_cut_is_solved_count(
    panel_of: Open, finish: Finish, model: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go = threading.Event(), threading.Event()
    real = discovery.tokencut_steps

    def slow(*args: Any, **options: Any) -> Any:
        entered.set()
        go.wait(10)
        return (yield from real(*args, **options))

    monkeypatch.setattr(discovery, "tokencut_steps", slow)
    panel = panel_of(DiscoverPanel)
    panel.setValue(PLAIN)
    panel.run()
    qtbot.waitUntil(entered.is_set)
    panel.setValue({"invert": True})
    go.set()
    finish(panel)
    layer = model.layers["stack discovered"]
    assert settings_of(layer)["invert"]
    assert layer.data[1, 32, 36] == 0
    assert layer.data[1, 4, 4] == 1


def test_planes_are_cut_together_where_asked(panel_of: Open, finish: Finish, model: Any) -> None:
    panel = panel_of(DiscoverPanel)
    panel.setValue({**PLAIN, "stack": "joint"})
    assert "stack='joint'" in panel.script()
    panel.run()
    finish(panel)
    assert settings_of(model.layers["stack discovered"])["stack"] == "joint"
    assert panel.found.cut.cut.options.stack == "joint"


def test_masks_do_not_follow_for_an_image_that_was_not_cut(panel_of: Open, finish: Finish, model: Any) -> None:
    add_other(model)
    panel = panel_of(DiscoverPanel)
    panel.setValue({**PLAIN, "image": "stack"})
    panel.run()
    finish(panel)
    before = np.asarray(model.layers["stack discovered"].data).copy()
    panel.setValue({"image": "other"})
    assert not panel.boxes_button.isEnabled()
    assert "'stack'" in panel.mask_note.text()
    panel.setValue({"invert": True})
    assert not panel.runner.running
    np.testing.assert_array_equal(model.layers["stack discovered"].data, before)
    panel.setValue({"image": "stack"})
    assert panel.mask_note.isHidden()
    assert panel.boxes_button.isEnabled()
    panel.setValue({"closing": 1})
    finish(panel)
    record = provenance_of(model.layers["stack discovered"])
    assert record["settings"]["invert"]
    assert "viewer.layers['stack']" in record["script"]


def test_a_new_tau_is_not_recorded_before_it_was_cut(panel_of: Open, finish: Finish, model: Any) -> None:
    panel = panel_of(DiscoverPanel)
    panel.setValue(PLAIN)
    panel.run()
    finish(panel)
    panel.setValue({"tau": 0.7})
    panel.setValue({"invert": True})
    finish(panel)
    record = provenance_of(model.layers["stack discovered"])
    assert record["settings"]["tau"] == 0.5
    assert "tau=0.5" in record["script"]


def test_a_click_belongs_to_its_image(panel_of: Open, finish: Finish, model: Any) -> None:
    add_other(model)
    panel = panel_of(DiscoverPanel)
    panel.setValue({**PLAIN, "image": "stack", "side": "click"})
    panel._on_click((0, 16.123, 18.456))
    assert panel.value()["click"] == (32.2, 36.9)
    panel.setValue({"image": "other"})
    assert panel.value()["click"] is None
    assert "no place was clicked" in panel.run_button.toolTip()
    panel._on_click((0, 500, 500))
    assert "outside the image" in panel.status.text()
    panel.setValue({"image": "stack"})
    assert panel.value()["click"] == (32.2, 36.9)


def test_a_cut_outlives_its_dock(dock: Open, finish: Finish, viewer: Any) -> None:
    panel = dock(DiscoverPanel)
    panel.setValue(PLAIN)
    panel.run()
    finish(panel)
    viewer.window.remove_dock_widget(panel)
    again = dock(DiscoverPanel)
    assert again.boxes_button.isEnabled()
    again.setValue({"invert": True})
    finish(again)
    assert "stack discovered [1]" not in viewer.layers
    assert settings_of(viewer.layers["stack discovered"])["invert"]
    viewer.layers.remove("stack")
    assert not again.boxes_button.isEnabled()


def test_boxes_and_eigenvector_are_in_the_script_once_asked_for(panel_of: Open, finish: Finish, model: Any) -> None:
    panel = panel_of(DiscoverPanel)
    panel.setValue(PLAIN)
    panel.run()
    finish(panel)
    assert "add_shapes" not in panel.script()
    panel.add_boxes()
    panel.add_eigenvector()
    panel.copy_script()
    exec(QApplication.clipboard().text(), {"viewer": model})
    for name in ("stack boxes", "stack eigenvector"):
        first, second = model.layers[name], model.layers[f"{name} [1]"]
        np.testing.assert_allclose(second.data, first.data, atol=1e-5)
        np.testing.assert_allclose(second.translate, first.translate)


@pytest.mark.parametrize("shape", [(64, 64), (2, 3, 64, 64)])
def test_the_script_places_boxes_of_images_with_other_axes(
    shape: tuple[int, ...], panel_of: Open, finish: Finish, model: Any
) -> None:
    model.layers.clear()
    data = np.full(shape, 100, np.uint8) + np.random.default_rng(4).integers(0, 5, shape).astype(np.uint8)
    data[..., 20:44, 24:48] += 60
    model.add_image(data, name="stack", scale=(3.0, 2.0, 0.5, 0.5)[-len(shape) :])
    model.dims.set_point(0, 3)
    panel = panel_of(DiscoverPanel)
    panel.setValue(PLAIN)
    panel.run()
    finish(panel)
    panel.add_boxes()
    panel.add_eigenvector()
    exec(panel.script(), {"viewer": model})
    for name in ("stack discovered", "stack boxes", "stack eigenvector"):
        first, second = model.layers[name], model.layers[f"{name} [1]"]
        np.testing.assert_allclose(second.extent.world, first.extent.world)
        np.testing.assert_allclose(second.data, first.data, atol=1e-5)


def test_the_longest_choice_is_readable(panel_of: Open, model: Any) -> None:
    panel = panel_of(DiscoverPanel)
    for form in (panel.cut_form, panel.mask_form):
        for box in form.findChildren(QComboBox):
            texts = [box.itemText(i) for i in range(box.count())]
            needed = max(box.fontMetrics().horizontalAdvance(text) for text in texts)
            assert box.minimumSizeHint().width() > needed


def test_the_pick_button_is_under_its_choice(dock: Open, viewer: Any) -> None:
    panel = dock(DiscoverPanel)
    panel.setValue({"side": "click"})
    side, button = panel.mask_form.editor("side"), panel.pick_button
    assert not button.isHidden()
    layout = panel.mask_form.layout()
    assert layout.getWidgetPosition(button)[0] == layout.getWidgetPosition(side)[0] + 1
