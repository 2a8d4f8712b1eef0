"""The options of a network, the further views and the cache in the Features panel; and what is said before a run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3._napari.session import session_of
from napari_dinov3.backbones.registry import backbone_facts
from napari_dinov3.backbones.throughput import remember, throughput_key
from napari_dinov3.features.store import FeatureStore
from napari_dinov3.recipe import ExtractConfig
from napari_dinov3.widgets import feature_facts
from napari_dinov3.widgets.features.panel import FeaturesPanel

Open = Callable[[type], Any]
Finish = Callable[[Any], str]
VIT = "dinov3-vits16plus"


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "a second"), (42.4, "42 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations_are_written_as_one_says_them(seconds: float, text: str) -> None:
    assert feature_facts.time_text(seconds) == text


def test_the_list_names_size_width_and_place() -> None:
    assert feature_facts.entry_text(VIT).startswith("DINOv3 ViT-S+/16 (29 M, 384 wide, ")
    assert "no download" in feature_facts.entry_text("filter-bank")


def test_what_the_closed_list_cuts_off_is_said_below_it() -> None:
    text = feature_facts.facts_text(ExtractConfig(backbone=VIT))
    assert "29 M parameters, 384 numbers a patch, DINOv3 License" in text


def test_the_licence_of_a_download_can_break_anywhere_in_a_narrow_panel() -> None:
    words = re.sub("<.*?>", "", feature_facts.licence_html("dinov3-vith16plus")).replace("\u200b", " ").split()
    assert max(map(len, words)) <= 12


def test_a_run_is_told_in_time_memory_room_and_the_images_unit() -> None:
    stack = nd.as_planes(np.zeros((3, 64, 64), np.uint8), spacing=(2, 0.5, 0.5), units="um")
    config = ExtractConfig(backbone=VIT, scale=2)
    told = feature_facts.estimate_of(stack, config)
    assert "Takes about" not in feature_facts.estimate_text(told, stack, cached=True)
    remember(throughput_key(backbone_facts(VIT), config.network), work=1e6, seconds=1)
    told = feature_facts.estimate_of(stack, config)
    text = feature_facts.estimate_text(told, stack, cached=True)
    assert "3 planes of 8 x 8 patches, 384 numbers each" in text
    assert "A patch covers 4 um (8 px)" in text.replace("micrometer", "um")
    assert "Takes about" in text and "of memory" in text and "in the feature cache" in text


def test_options_of_a_network_are_one_choice_for_the_viewer(panel_of: Open, model: Any) -> None:
    panel = panel_of(FeaturesPanel)
    session = session_of(model)
    assert not panel.network.none.isHidden()
    panel.features.form.setValue({"backbone": VIT})
    panel.network.form.setValue({"scale": 2, "layers": "four", "flips": "all", "colours": "neighbours"})
    config = session.features_config
    assert (config.scale, config.layers, config.flips, config.colours) == (2, "four", "all", "neighbours")
    assert panel.request().key.stride == 8
    assert "flips='all'" in panel.extract_script()[-1]
    panel.network.form.setValue({"shifts": 4})
    assert session.features_config.shifts == 2  # scale and shifts make at most four times the grid
    panel.features.form.setValue({"backbone": "filter-bank"})
    assert not session.features_config.network.given()
    assert panel.run_button.isEnabled()


def test_a_path_to_weights_that_is_wrong_is_said_at_once(panel_of: Open, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_dinov3.backbones import registry

    monkeypatch.setattr(registry, "_missing", lambda modules: [])
    panel = panel_of(FeaturesPanel)
    session_of(model).features_config = ExtractConfig(backbone=VIT, weights="nowhere.pth")
    assert "nothing at nowhere.pth" in panel.status.text()
    assert not panel.run_button.isEnabled()
    session_of(model).features_config = ExtractConfig(backbone="filter-bank", stride=4)
    assert panel.run_button.isEnabled()


@pytest.mark.parametrize(
    ("way", "layer"),
    [
        ("foreground", "stack foreground PCA"),
        ("groups", "stack groups"),
        ("gram", "stack Gram matrix"),
        ("difference", "stack difference"),
    ],
)
def test_views_are_layers_and_their_scripts_make_them_again(
    panel_of: Open, finish: Finish, model: Any, way: str, layer: str
) -> None:
    panel = panel_of(FeaturesPanel)
    panel.setValue({"way": way, "groups": 3, "other_backbone": "random-projection-cnx-tiny"})
    panel.show_view()
    assert "Done" in finish(panel)
    shown = model.layers[layer]
    code = panel.script()
    exec(code, {"viewer": model})
    again = model.layers[f"{layer} [1]"]
    np.testing.assert_allclose(again.data, shown.data, atol=1e-5)
    np.testing.assert_allclose(again.translate, shown.translate)
    np.testing.assert_allclose(again.scale, shown.scale)


def test_planes_like_this_one_can_be_gone_to(panel_of: Open, finish: Finish, model: Any) -> None:
    panel = panel_of(FeaturesPanel)
    panel.setValue({"way": "nearest"})
    panel.show_view()
    assert "Most like plane" in finish(panel)
    assert panel.views.planes.count() == 2
    panel.views.goTo.emit(2)
    assert model.dims.current_step[0] == 2


def test_a_click_shows_what_is_alike_in_another_image(panel_of: Open, finish: Finish, model: Any) -> None:
    mirrored = model.layers["stack"].data[:, :, ::-1].copy()
    model.add_image(mirrored, name="other", scale=(2, 0.5, 0.5), units=("um", "um", "um"))
    panel = panel_of(FeaturesPanel)
    panel.setValue({"image": "stack", "other": "other"})
    panel.run()
    finish(panel)
    panel.pick(model.layers["stack"].data_to_world((1, 30, 36)))
    finish(panel)
    heat = model.layers["other alike"].data
    assert heat[1, 7, 6] > 0.9 > heat[1, 1, 1]
    exec(panel.script(), {"viewer": model})
    np.testing.assert_allclose(model.layers["other alike [1]"].data, heat, atol=1e-5)


def test_planes_of_an_earlier_day_are_said_to_come_from_the_cache(
    panel_of: Open, finish: Finish, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAPARI_DINOV3_CACHE", str(tmp_path))
    session_of(model).features_config = replace(session_of(model).features_config, cache="user")
    panel = panel_of(FeaturesPanel)
    panel.run()
    assert "came from the cache" not in finish(panel)
    session_of(model).clear()  # as after a restart
    panel.run()
    assert "All planes came from the cache on disk (clear it under Feature cache)" in finish(panel)


def test_the_cache_is_cleared_on_request(panel_of: Open, finish: Finish, model: Any) -> None:
    nd.extract(np.random.default_rng(0).random((32, 32)), backbone="filter-bank", cache="user")
    panel = panel_of(FeaturesPanel)
    assert "1 map" in panel.cache.text.text()
    panel.clear_cache()
    assert "free again" in finish(panel)
    assert FeatureStore().entries() == ()
    assert not panel.cache.button.isEnabled()


def test_a_filter_bank_stands_beside_a_backbone(panel_of: Open, finish: Finish, model: Any) -> None:
    panel = panel_of(FeaturesPanel)
    form, session = panel.features.form, session_of(model)
    assert form.editor("beside").isHidden()  # beside itself there is nothing to gain
    form.setValue({"backbone": "random-projection-cnx-tiny"})
    assert not form.editor("beside").isHidden()
    form.setValue({"beside": "filter-bank"})
    assert session.features_config.backbone == "random-projection-cnx-tiny+filter-bank"
    assert session.features_config.stride is None
    panel.run()
    assert "failed" not in finish(panel)
    assert "random-projection-cnx-tiny+filter-bank" in panel.script()
    form.setValue({"backbone": "filter-bank"})
    assert session.features_config.backbone == "filter-bank"
    session.features_config = ExtractConfig(backbone=f"{VIT}+filter-bank")
    assert form.value()["backbone"] == VIT and form.value()["beside"] == "filter-bank"
    asked: list[str] = []
    panel.features.downloadRequested.connect(asked.append)
    panel.features.download_button.click()
    assert asked == [VIT]
