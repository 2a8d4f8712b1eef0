"""The Features panel: what its script holds, which layers it reuses, and clicks before the features are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from qtpy.QtWidgets import QApplication

from napari_dinov3._napari.features import similarity
from napari_dinov3._napari.provenance import provenance_of
from napari_dinov3._napari.session import session_of
from napari_dinov3.recipe import ExtractConfig
from napari_dinov3.widgets.discover.panel import DiscoverPanel
from napari_dinov3.widgets.features.panel import FeaturesPanel

Open = Callable[[type], Any]
Finish = Callable[[Any], str]


def add_region(model: Any) -> None:
    region = np.zeros((3, 64, 64), np.uint8)
    region[0, 28:34, 30:40] = 1
    place = {name: getattr(model.layers["stack"], name) for name in ("scale", "units")}
    model.add_labels(region, name="region", **place)


def ready(panel: Any, finish: Finish) -> None:
    panel.run()
    finish(panel)


def test_the_script_holds_what_was_asked_for(panel_of: Open, finish: Finish, model: Any) -> None:
    panel = panel_of(FeaturesPanel)
    ready(panel, finish)
    assert "pca" not in panel.script()
    add_region(model)
    panel.region.setValue("region")
    panel.show_region()
    finish(panel)
    assert "pca" not in panel.script()
    layer = model.layers["stack similar to region"]
    assert provenance_of(layer)["script"] == panel.script()
    panel.copy_script()
    exec(QApplication.clipboard().text(), {"viewer": model})
    again = model.layers["stack similar to region [1]"]
    np.testing.assert_allclose(again.data, layer.data, atol=1e-5)
    np.testing.assert_allclose(again.translate, layer.translate)
    panel.show_pca()
    finish(panel)
    assert "pca" in panel.script()
    assert "similarity_to_region" not in provenance_of(model.layers["stack PCA"])["script"]


def test_a_place_in_one_image_is_not_in_the_script_of_another(panel_of: Open, finish: Finish, model: Any) -> None:
    model.add_image(np.random.default_rng(2).random((3, 64, 64)), name="other")
    panel = panel_of(FeaturesPanel)
    panel.setValue({"image": "stack"})
    ready(panel, finish)
    panel.pick(model.layers["stack"].data_to_world((1, 30, 36)))
    finish(panel)
    assert "features.similarity(plane=1, row=30.0, col=36.0)" in panel.script()
    assert provenance_of(model.layers["stack similarity"])["script"] == panel.script()
    panel.setValue({"image": "other"})
    assert "similarity" not in panel.script()
    panel.setValue({"image": "stack"})
    assert "similarity" in panel.script()


def test_asking_again_replaces_the_layers(dock: Open, finish: Finish, viewer: Any) -> None:
    add_region(viewer)
    names = None
    for _ in range(2):
        panel = dock(FeaturesPanel)
        panel.region.setValue("region")
        panel.show_pca()
        finish(panel)
        panel.show_region()
        finish(panel)
        panel.pick((0, 15, 18))
        finish(panel)
        names = names or [layer.name for layer in viewer.layers]
        viewer.window.remove_dock_widget(panel)
    assert [layer.name for layer in viewer.layers] == names
    assert len(names) == 5


def test_a_region_of_another_place_is_refused(panel_of: Open, finish: Finish, model: Any) -> None:
    model.add_labels(np.ones((3, 64, 64), np.uint8), name="elsewhere", translate=(0, 500, 0))
    panel = panel_of(FeaturesPanel)
    panel.region.setValue("elsewhere")
    panel.show_region()
    assert "Error" in panel.status.text()
    assert not panel.runner.running


def test_the_first_click_finds_its_plane_prepared(panel_of: Open, finish: Finish, model: Any, monkeypatch: Any) -> None:
    made: list[tuple[int, ...]] = []
    real = similarity.unit_vectors
    monkeypatch.setattr(similarity, "unit_vectors", lambda f, patches: (made.append(patches.shape), real(f, patches))[1])
    panel = panel_of(FeaturesPanel)
    ready(panel, finish)
    assert made
    made.clear()
    visible = model.dims.point[0]
    panel.pick((visible, 15, 18), rest=False)
    assert not made
    panel.pick((visible, 15, 18))
    finish(panel)
    made.clear()
    model.dims.set_point(0, visible + 2)  # the neighbour is ready too
    panel.pick((visible + 2, 15, 18), rest=False)
    assert not made


def test_a_click_at_a_new_time_point_extracts_it_and_says_so(panel_of: Open, finish: Finish, model: Any) -> None:
    model.layers.clear()
    model.add_image(np.random.default_rng(3).random((2, 3, 32, 32)), name="movie", axis_labels=("t", "z", "y", "x"))
    session_of(model).features_config = ExtractConfig(backbone="filter-bank", stride=4)
    model.dims.set_point(0, 0)
    panel = panel_of(FeaturesPanel)
    ready(panel, finish)
    assert "Done" in panel.status.text()
    model.dims.set_point(0, 1)
    assert "Done" not in panel.status.text()
    panel.pick((1, 0, 8, 8), rest=False)
    assert "not there yet" in panel.status.text()
    assert "Cannot run" not in panel.status.text()
    panel.pick((1, 0, 8, 8))
    assert "Done" in finish(panel)
    panel.pick((1, 0, 8, 8))
    assert "Similarity" in finish(panel)
    model.dims.set_point(0, 0)
    model.dims.set_point(0, 1)
    assert "cached" in panel.status.text()


def test_one_panel_has_the_clicks(panel_of: Open, finish: Finish, model: Any) -> None:
    features, discover = panel_of(FeaturesPanel), panel_of(DiscoverPanel)
    features.pick_button.setChecked(True)
    finish(features)
    discover.setValue({"side": "click"})
    discover.pick_button.setChecked(True)
    assert not features.pick_button.isChecked()
    assert discover.picker.active
    features.pick_button.setChecked(True)
    finish(features)
    assert not discover.pick_button.isChecked()
