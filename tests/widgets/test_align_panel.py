"""The Align panel: transforms outlive it and are tied to their stack, labels keep their ids, results do not pile up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication
from scipy.ndimage import gaussian_filter

from napari_dinov3._napari.provenance import provenance_of
from napari_dinov3._napari.session import session_of
from napari_dinov3.recipe import ExtractConfig
from napari_dinov3.widgets.align.panel import AlignPanel

Open = Callable[[type], Any]
Finish = Callable[[Any], str]
SETTINGS = {"image": "drifting", "model": "translation", "backbone": None, "drift": "first"}
IDS = (0, 3, 40, 200)


def add_drifting(viewer: Any) -> None:
    """Add a stack that drifts by half pixels, and labels of a small type with ids far apart."""
    rng = np.random.default_rng(1)
    scene = gaussian_filter(rng.normal(size=(200, 200)), 1.5) * 200 + 120
    images = np.stack([scene[30 + 3 * k : 126 + 3 * k, 30 + k : 126 + k] for k in range(3)]) + rng.normal(0, 3, (3, 96, 96))
    place = {"scale": (2, 0.5, 0.5), "units": ("um", "um", "um")}
    viewer.layers.clear()
    viewer.add_image(images.clip(0, 255).astype(np.uint8), name="drifting", **place)
    ids = np.asarray(IDS, np.uint8)[rng.integers(0, 4, (3, 12, 12))]
    viewer.add_labels(ids.repeat(8, 1).repeat(8, 2), name="ids", **place)


@pytest.fixture
def aligned(panel_of: Open, finish: Finish, model: Any) -> Any:
    add_drifting(model)
    panel = panel_of(AlignPanel)
    panel.setValue(SETTINGS)
    panel.run()
    assert "3 planes" in finish(panel)
    return panel


def move_ids(panel: Any, finish: Finish) -> str:
    panel.follower.setValue("ids")
    panel.move_follower()
    return finish(panel)


def test_labels_of_any_type_keep_their_ids(aligned: Any, finish: Finish, model: Any) -> None:
    assert "ids aligned" in move_ids(aligned, finish)
    assert set(np.unique(model.layers["ids aligned"].data)) <= set(IDS)
    code = provenance_of(model.layers["ids aligned"])["script"]
    exec(code, {"viewer": model})
    np.testing.assert_array_equal(model.layers["ids aligned [1]"].data, model.layers["ids aligned"].data)


def test_the_copied_script_moves_the_chosen_layer_along(aligned: Any, finish: Finish, model: Any) -> None:
    move_ids(aligned, finish)
    aligned.copy_script()
    exec(QApplication.clipboard().text(), {"viewer": model})
    for name in ("drifting", "ids"):
        again = model.layers[f"{name} aligned [1]"]
        np.testing.assert_array_equal(again.data, model.layers[f"{name} aligned"].data)
        np.testing.assert_array_equal(again.scale, (2, 0.5, 0.5))


def test_another_run_replaces_the_result_of_the_one_before(aligned: Any, finish: Finish, model: Any) -> None:
    move_ids(aligned, finish)
    names = [layer.name for layer in model.layers]
    aligned.setValue({"drift": "minimum"})
    aligned.run()
    finish(aligned)
    move_ids(aligned, finish)
    assert [layer.name for layer in model.layers] == names
    assert provenance_of(model.layers["drifting aligned"])["settings"]["drift"] == "minimum"


def test_transforms_outlive_the_panel_and_go_with_their_stack(aligned: Any, panel_of: Open, finish: Finish, model: Any) -> None:
    aligned.dispose()
    again = panel_of(AlignPanel)
    assert again.table.rowCount() == 3
    assert "ids aligned" in move_ids(again, finish)
    model.layers.remove(model.layers["drifting"])
    again.refresh()
    assert again.table.rowCount() == 0
    assert again.move_button.toolTip() == "Align a stack first."


def test_transforms_say_whose_they_are_and_move_nothing_for_another_stack(aligned: Any, model: Any) -> None:
    assert "'drifting'" in aligned.whose.text()
    aligned.follower.setValue("ids")
    assert aligned.move_button.isEnabled()
    model.add_image(np.zeros((3, 96, 96)), name="other")
    aligned.image.setValue("other")
    assert not aligned.move_button.isEnabled()
    assert "of 'drifting'" in aligned.move_button.toolTip()
    count = len(model.layers)
    aligned.move_follower()
    assert not aligned.runner.running
    assert len(model.layers) == count


def test_a_layer_that_lies_elsewhere_is_refused(aligned: Any, model: Any) -> None:
    model.layers["ids"].translate = (0, 5, 0)
    aligned.follower.setValue("ids")
    aligned.move_follower()
    assert "pixels away" in aligned.status.text()
    assert not aligned.runner.running
    assert "# 'ids' is left out" in aligned.script()
    model.add_labels(np.zeros((3, 40, 96), np.uint8), name="small", scale=(2, 0.5, 0.5))
    aligned.follower.setValue("small")
    aligned.move_follower()
    assert "shape" in aligned.status.text()


def test_a_stack_in_which_nothing_matches_says_so(panel_of: Open, finish: Finish, model: Any) -> None:
    model.layers.clear()
    model.add_image(np.random.default_rng(0).normal(100, 20, (3, 96, 96)), name="drifting")
    panel = panel_of(AlignPanel)
    panel.setValue(SETTINGS)
    panel.run()
    assert "nothing was moved" in finish(panel)
    assert [panel.table.item(row, 1).text() for row in range(3)] == ["none"] * 3


def test_unticking_a_plane_leaves_it_out_without_matching_again(aligned: Any, finish: Finish, monkeypatch: Any) -> None:
    from qtpy.QtCore import Qt

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("matched again")

    monkeypatch.setattr("napari_dinov3.align.matching.fit_sections", refuse)
    before = aligned.kept
    aligned.table.item(1, 0).setCheckState(Qt.CheckState.Unchecked)
    finish(aligned)
    assert aligned.kept.alignment.bad == (1,)
    assert aligned.table.item(1, 0).text() == "1 out"
    assert "left out by hand: 1" in aligned.verdict.text()
    assert "exclude=(1,)" in aligned.kept.lines[-1]
    aligned.table.item(1, 0).setCheckState(Qt.CheckState.Checked)
    finish(aligned)
    assert aligned.kept.config == before.config  # an edit that is taken back leaves nothing behind
    np.testing.assert_array_equal(aligned.kept.alignment.transforms, before.alignment.transforms)
    aligned.undo_button.click()
    finish(aligned)
    assert aligned.kept.alignment.bad == (1,)
    aligned.undo_button.click()
    finish(aligned)
    assert aligned.kept.alignment.bad == ()
    assert aligned.undo_button.isHidden()


def test_a_plane_that_matches_nothing_is_let_in_and_taken_back(panel_of: Open, finish: Finish, model: Any) -> None:
    from qtpy.QtCore import Qt

    add_drifting(model)
    images = model.layers["drifting"].data.copy()
    images[2] = np.random.default_rng(0).normal(100, 20, (96, 96)).clip(0, 255)
    model.layers["drifting"].data = images
    panel = panel_of(AlignPanel)
    panel.setValue(SETTINGS)
    panel.run()
    assert "no neighbour matches 2" in finish(panel)
    before = panel.kept.config
    panel.table.item(2, 0).setCheckState(Qt.CheckState.Checked)
    finish(panel)
    assert (panel.kept.config.include, panel.table.item(2, 0).text()) == ((2,), "2 in")
    panel.table.item(2, 0).setCheckState(Qt.CheckState.Unchecked)
    finish(panel)
    assert (panel.kept.config, panel.table.item(2, 0).text()) == (before, "2 bad")


def test_choosing_a_line_shows_its_plane(aligned: Any, model: Any) -> None:
    aligned.table.setCurrentCell(2, 1)
    assert model.dims.current_step[0] == 2
    assert "Plane 2 matches its neighbours" in aligned.table.item(2, 3).toolTip()


def test_nothing_is_offered_before_something_is_aligned(panel_of: Open, model: Any) -> None:
    add_drifting(model)
    panel = panel_of(AlignPanel)
    assert panel.look_box.isHidden()
    assert panel.follow_box.isHidden()
    assert panel.table.isHidden()
    assert "Nothing is aligned yet" in panel.verdict.text()
    assert not panel.files.save_button.isEnabled()


def test_features_are_those_of_the_viewer_with_their_weights(panel_of: Open, model: Any, tmp_path: Any) -> None:
    add_drifting(model)
    panel = panel_of(AlignPanel)
    assert panel.config().backbone == "filter-bank"
    there = ExtractConfig(backbone="dinov3-vits16+filter-bank", weights=str(tmp_path), device="cpu", precision="float32")
    session_of(model).features_config = there
    config = panel.config()
    assert (config.backbone, config.weights, config.device, config.precision) == (
        "dinov3-vits16",
        str(tmp_path),
        "cpu",
        "float32",
    )
    assert f"weights of {tmp_path.name}" in panel.network.text()
    session_of(model).features_config = ExtractConfig(backbone="dinov3-vits16", weights=str(tmp_path / "gone"))
    assert not panel.run_button.isEnabled()
    panel.setValue({"backbone": None})
    assert panel.run_button.isEnabled()
    assert panel.network.isHidden()
