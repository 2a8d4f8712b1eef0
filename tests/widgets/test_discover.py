"""The Discover panel when settings, images and docks change under it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication, QComboBox

from napari_dinov3._napari.discover import cut as discovery
from napari_dinov3._napari.provenance import provenance_of
from napari_dinov3.widgets.discover.panel import DiscoverPanel

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
    assert not panel.extras.boxes_button.isEnabled()
    assert "'stack'" in panel.mask_note.text()
    panel.setValue({"invert": True})
    assert not panel.runner.running
    np.testing.assert_array_equal(model.layers["stack discovered"].data, before)
    panel.setValue({"image": "stack"})
    assert panel.mask_note.isHidden()
    assert panel.extras.boxes_button.isEnabled()
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
    assert again.extras.boxes_button.isEnabled()
    again.setValue({"invert": True})
    finish(again)
    assert "stack discovered [1]" not in viewer.layers
    assert settings_of(viewer.layers["stack discovered"])["invert"]
    viewer.layers.remove("stack")
    assert not again.extras.boxes_button.isEnabled()


def test_boxes_and_eigenvector_are_in_the_script_once_asked_for(panel_of: Open, finish: Finish, model: Any) -> None:
    panel = panel_of(DiscoverPanel)
    panel.setValue(PLAIN)
    panel.run()
    finish(panel)
    assert "add_shapes" not in panel.script()
    panel.extras.add_boxes()
    panel.extras.add_eigenvectors()
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
    panel.extras.add_boxes()
    panel.extras.add_eigenvectors()
    exec(panel.script(), {"viewer": model})
    for name in ("stack discovered", "stack boxes", "stack eigenvector"):
        first, second = model.layers[name], model.layers[f"{name} [1]"]
        np.testing.assert_allclose(second.extent.world, first.extent.world)
        np.testing.assert_allclose(second.data, first.data, atol=1e-5)


def test_the_longest_choice_is_readable(panel_of: Open, model: Any) -> None:
    panel = panel_of(DiscoverPanel)
    for form in (panel.stack_form, panel.mask_form, panel.extras.form):
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


def bright_and_dark(model: Any) -> None:
    """Replace the stack by one with a red and a blue square."""
    model.layers.clear()
    data = np.random.default_rng(2).normal(90, 3, (3, 64, 64, 3))
    data[:, 8:28, 8:28, 0] += 120
    data[:, 36:58, 34:58, 2] += 120
    model.add_image(data.astype(np.uint8), name="stack", rgb=True)


@pytest.mark.parametrize("method", ["pieces", "maskcut", "clusters"])
def test_objects_are_numbered_through_the_planes_and_replayed(method: str, panel_of: Open, finish: Finish, model: Any) -> None:
    bright_and_dark(model)
    panel = panel_of(DiscoverPanel)
    panel.setValue({**PLAIN, "tau": 0.3, "stack": "joint", "objects": method, "rounds": 2, "clusters": 3})
    panel.run()
    finish(panel)
    panel.extras.add_objects()
    said = finish(panel)
    assert "Added" in said
    labels = np.asarray(model.layers["stack objects"].data)
    first, second = labels[:, 18, 18], labels[:, 46, 46]
    assert (first == first[0]).all()
    assert (second == second[0]).all()
    if method != "pieces":
        assert first[0] != second[0]
    exec(panel.script(), {"viewer": model})
    np.testing.assert_array_equal(model.layers["stack objects [1]"].data, labels)


def test_scribbles_go_to_the_segment_panel_open_or_not(panel_of: Open, finish: Finish, model: Any) -> None:
    from napari_dinov3.widgets.segment.panel import SegmentPanel

    open_one, panel = panel_of(SegmentPanel), panel_of(DiscoverPanel)
    panel.setValue(PLAIN)
    panel.run()
    finish(panel)
    panel.extras.add_scribbles()
    assert "1 background, 2 foreground" in finish(panel)
    layer = model.layers["stack scribbles"]
    assert set(np.unique(layer.data)) == {0, 1, 2}
    assert (np.asarray(model.layers["stack discovered"].data)[layer.data == 2] == 1).all()
    assert open_one.scribbles.value() is layer
    assert open_one.run_button.isEnabled()
    assert panel_of(SegmentPanel).scribbles.value() is layer
    exec(panel.script(), {"viewer": model})
    np.testing.assert_array_equal(model.layers["stack scribbles [1]"].data, layer.data)


def test_every_eigenvector_becomes_a_layer_and_the_first_is_shown(panel_of: Open, finish: Finish, model: Any) -> None:
    panel = panel_of(DiscoverPanel)
    panel.setValue(PLAIN)
    panel.run()
    finish(panel)
    panel.extras.add_eigenvectors()
    assert model.layers["stack eigenvector"].visible
    assert not model.layers["stack eigenvector 2"].visible


def test_the_histogram_comes_with_the_cut_and_shows_the_tau_that_was_chosen(panel_of: Open, finish: Finish, model: Any) -> None:
    panel = panel_of(DiscoverPanel)
    assert "first cut" in panel.tau.caption.text()
    assert not panel.tau.number.isEnabled()
    panel.setValue({"refine": 0})
    panel.run()
    finish(panel)
    chosen = float(panel.found.cut.tau[model.dims.current_step[0]])
    assert f"{chosen:.2f}" in panel.tau.caption.text()
    assert panel.tau.number.value() == pytest.approx(chosen, abs=0.01)
    assert panel.value()["tau"] == 0.2
    panel.setValue({"auto_tau": False, "tau": 0.99})
    assert panel.tau.number.isEnabled()
    assert "% of the pairs" in panel.tau.caption.text()
    assert panel.config().tau == 0.99


def test_a_window_is_a_setting_of_its_own(panel_of: Open, finish: Finish, model: Any) -> None:
    panel = panel_of(DiscoverPanel)
    panel.setValue({**PLAIN, "stack": "window", "window": 1})
    assert (panel.config().stack, panel.config().window) == ("joint", 1)
    panel.run()
    finish(panel)
    assert settings_of(model.layers["stack discovered"])["window"] == 1
    panel.setValue({"stack": "matched"})
    assert (panel.config().stack, panel.config().window) == ("matched", None)


def test_an_ill_posed_cut_is_said(panel_of: Open, finish: Finish, model: Any) -> None:
    model.layers.clear()
    model.add_image(np.full((64, 64), 7, np.uint8), name="flat")
    panel = panel_of(DiscoverPanel)
    panel.setValue(PLAIN)
    panel.run()
    said = finish(panel)
    assert "ill posed" in said
    assert panel.status.property("state") == "warning"
    panel.extras.add_boxes()
    assert "no boxes" in panel.status.text()


def test_a_cancelled_cut_goes_on_where_it_was(
    panel_of: Open, finish: Finish, model: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, solved = threading.Event(), []
    real = discovery.tokencut_steps

    def slow(*args: Any, **options: Any) -> Any:
        solved.append(len(options["resume"]))
        for event in real(*args, **options):
            yield event
            if len(options["resume"]) == 2:
                go.wait(10)

    monkeypatch.setattr(discovery, "tokencut_steps", slow)
    panel = panel_of(DiscoverPanel)
    panel.setValue(PLAIN)
    panel.run()
    qtbot.waitUntil(lambda: len(panel._solved()) == 2)
    panel.cancel()
    go.set()
    assert "2 solved planes are kept" in finish(panel)
    monkeypatch.setattr(discovery, "tokencut_steps", lambda *a, **o: (solved.append(len(o["resume"])), real(*a, **o))[1])
    panel.run()
    finish(panel)
    assert solved == [0, 2]
    assert model.layers["stack discovered"].data.any()


def add_single(model: Any, *, square: bool) -> None:
    model.layers.clear()
    image = np.random.default_rng(2).normal(100, 8, (96, 96))
    image[32:64, 32:64] += 60 * square
    model.add_image(image.astype(np.float32), name="single")


def test_a_single_image_is_not_counted(panel_of: Open, finish: Finish, model: Any) -> None:
    add_single(model, square=True)
    panel = panel_of(DiscoverPanel)
    panel.run()
    text = finish(panel)
    assert "of the image; the cut is clear." in text and "plane" not in text


def test_where_nothing_stands_out_no_side_is_spoken_of(panel_of: Open, finish: Finish, model: Any) -> None:
    add_single(model, square=False)
    panel = panel_of(DiscoverPanel)
    panel.run()
    text = finish(panel)
    found = panel.found
    assert found.cut.well_posed.all() and not found.cut.surrounded.any() and not found.cut.clear.any()
    assert "Nothing stands out" in text and "is a guess" not in text and "clear" not in text.split("Nothing")[0]
