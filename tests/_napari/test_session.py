"""What a viewer remembers: maps stay until their data change, and never outlive their layer."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel

from napari_dinov3._napari import session as session_module
from napari_dinov3._napari.jobs import estimate_features, features_steps, outward, request_features
from napari_dinov3._napari.layers import read_layer
from napari_dinov3._napari.session import Session, session_of
from napari_dinov3.progress import collect
from napari_dinov3.recipe import ExtractConfig

CONFIG = ExtractConfig(backbone="random-projection-cnx-tiny")


@pytest.fixture
def viewer() -> ViewerModel:
    viewer = ViewerModel()
    viewer.add_image(np.random.default_rng(0).random((3, 32, 48)), name="stack", scale=(2, 1, 1))
    return viewer


def extract(viewer: ViewerModel, config: ExtractConfig = CONFIG) -> Any:
    session = session_of(viewer)
    return collect(features_steps(session, request_features(session, viewer, viewer.layers["stack"], config)))


def test_a_viewer_has_one_session(viewer: ViewerModel) -> None:
    assert session_of(viewer) is session_of(viewer)
    assert session_of(viewer) is not session_of(ViewerModel())


def test_a_session_does_not_keep_its_viewer_alive() -> None:
    viewer = ViewerModel()
    session_of(viewer)
    gone = weakref.ref(viewer)
    del viewer
    gc.collect()
    assert gone() is None


def test_the_second_extraction_is_the_first_ones_map(viewer: ViewerModel) -> None:
    assert extract(viewer) is extract(viewer)


def test_renaming_a_layer_or_moving_the_slider_keeps_its_map(viewer: ViewerModel) -> None:
    first = extract(viewer)
    viewer.layers["stack"].name = "other"
    viewer.dims.set_point(0, 4)
    viewer.layers["other"].name = "stack"
    assert extract(viewer) is first


def test_replaced_data_drop_the_map(viewer: ViewerModel) -> None:
    first = extract(viewer)
    viewer.layers["stack"].data = np.zeros((3, 32, 48))
    assert len(session_of(viewer)) == 0
    assert extract(viewer) is not first


def test_data_edited_in_place_are_noticed(viewer: ViewerModel) -> None:
    first = extract(viewer)
    viewer.layers["stack"].data[1] = 0
    second = extract(viewer)
    assert second is not first
    assert len(session_of(viewer)) == 1


def test_settings_that_change_the_numbers_have_maps_of_their_own(viewer: ViewerModel) -> None:
    first = extract(viewer)
    assert extract(viewer, ExtractConfig(backbone="random-projection-cnx-tiny", percentiles=(5, 95))) is not first
    assert len(session_of(viewer)) == 2
    assert extract(viewer) is first


def test_a_removed_layer_takes_its_maps_along(viewer: ViewerModel) -> None:
    extract(viewer)
    viewer.layers.remove("stack")
    assert len(session_of(viewer)) == 0


def test_the_oldest_map_goes_when_the_cache_is_full(viewer: ViewerModel, monkeypatch: pytest.MonkeyPatch) -> None:
    first = extract(viewer)
    monkeypatch.setattr(session_module, "setting", lambda name: 1.5 * first.array.nbytes / 1e9)
    extract(viewer, ExtractConfig(backbone="random-projection-cnx-tiny", percentiles=(5, 95)))
    session = session_of(viewer)
    assert len(session) == 1
    assert session.cached_bytes == first.array.nbytes
    assert extract(viewer) is not first


def test_lazy_data_are_not_read_to_tell_versions_apart() -> None:
    reads = []

    def note(block: Any) -> Any:
        reads.append(1)
        return block

    viewer = ViewerModel()
    lazy = da.zeros((4, 16, 16), chunks=(1, 16, 16)).map_blocks(note, dtype=float, meta=np.empty((0, 0, 0)))
    layer = viewer.add_image(lazy, contrast_limits=(0, 1))
    session = Session(viewer)
    reads.clear()
    session.key(layer, read_layer(layer).placement)
    assert not reads


def test_feature_settings_are_one_for_all_panels(viewer: ViewerModel) -> None:
    session, heard = session_of(viewer), []
    listener = lambda event: heard.append(session.features_config.stride)  # noqa: E731
    session.features_changed.connect(listener)
    session.features_config = ExtractConfig(stride=4)
    session.features_config = ExtractConfig(stride=4)
    assert heard == [4]


@pytest.mark.parametrize("rgb", [False, True])
def test_the_estimate_is_what_extraction_makes(rgb: bool) -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((2, 37, 50, 3) if rgb else (2, 37, 50), np.uint8), rgb=rgb, name="stack")
    config = ExtractConfig(backbone="filter-bank", stride=4)
    estimate = estimate_features(read_layer(layer).planes, config)
    features = extract(viewer, config)
    assert (estimate.planes, *estimate.grid, estimate.dim) == features.array.shape
    assert estimate.gigabytes == features.array.nbytes / 1e9
    assert not estimate.on_disk


def test_planes_go_outward_from_the_one_in_view() -> None:
    assert outward(5, 2) == [2, 1, 3, 0, 4]
    assert outward(3, 0) == [0, 1, 2]


def test_what_a_panel_keeps_goes_with_the_layer_it_was_made_of(viewer: ViewerModel) -> None:
    session, other = session_of(viewer), viewer.add_image(np.zeros((4, 4)))
    session.kept("Panel").update(layer_id=viewer.layers["stack"].unique_id, result=1)
    session.kept("Other").update(layer_id=other.unique_id, result=2)
    assert session_of(viewer).kept("Panel")["result"] == 1
    viewer.layers.remove("stack")
    assert session.kept("Panel") == {}
    assert session.kept("Other")["result"] == 2
    session.kept("Panel").update(layer_id="gone", result=3)  # a job that ends after its layer was removed
    assert session.kept("Panel") == {}


def test_a_result_layer_is_the_same_for_the_next_panel_and_keeps_no_viewer_alive() -> None:
    viewer = ViewerModel()
    owned = session_of(viewer).owned("Panel")
    assert session_of(viewer).owned("Panel") is owned
    assert session_of(viewer).owned("Panel", "more") is not owned
    owned.show(np.zeros((4, 4)), belongs_to=1, metadata={}, add=lambda viewer=viewer: viewer.add_image(np.zeros((4, 4))))
    assert owned.layer in viewer.layers
    gone = weakref.ref(viewer)
    del viewer
    gc.collect()
    assert gone() is None
    assert owned.layer is None


def test_a_map_whose_layer_was_removed_meanwhile_is_not_filed(viewer: ViewerModel) -> None:
    session = session_of(viewer)
    job = features_steps(session, request_features(session, viewer, viewer.layers["stack"], CONFIG))
    next(job)
    viewer.layers.remove("stack")
    collect(job)
    assert len(session) == 0
