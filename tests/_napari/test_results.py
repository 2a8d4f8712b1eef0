"""Result layers: reused while they are as they were made, otherwise left to the user; they remember where they come from."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_dinov3._napari.layers import read_layer
from napari_dinov3._napari.owned import OwnedLayer
from napari_dinov3._napari.provenance import provenance, provenance_of
from napari_dinov3._napari.results import add_pixels, beneath, empty_labels, selection_kept


@pytest.fixture
def viewer() -> ViewerModel:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((3, 16, 16)), name="stack", scale=(2, 1, 1))
    return viewer


def show(viewer: ViewerModel, owned: OwnedLayer, value: int, belongs_to: str = "a") -> Any:
    placement = read_layer(viewer.layers["stack"]).placement
    data = np.full((3, 16, 16), value, np.uint8)

    def add() -> Any:
        return add_pixels(viewer, placement, data, kind="labels", name="result", metadata={"value": value})

    return owned.show(data, belongs_to=belongs_to, metadata={"value": value}, add=add)


def test_the_next_result_replaces_the_one_before(viewer: ViewerModel) -> None:
    owned = OwnedLayer(viewer)
    show(viewer, owned, 1)
    layer = show(viewer, owned, 2)
    assert len(viewer.layers) == 2
    assert layer.data.max() == 2
    assert layer.metadata == {"value": 2}


def test_a_painted_result_is_left_alone(viewer: ViewerModel) -> None:
    owned = OwnedLayer(viewer)
    first = show(viewer, owned, 1)
    first.paint((0, 5, 5), 7)
    show(viewer, owned, 2)
    assert first.data[0, 5, 5] == 7
    assert len(viewer.layers) == 3


def test_a_result_whose_data_the_user_replaced_is_left_alone(viewer: ViewerModel) -> None:
    owned = OwnedLayer(viewer)
    first = show(viewer, owned, 1)
    first.data = np.full((3, 16, 16), 9, np.uint8)
    show(viewer, owned, 2)
    assert first.data.max() == 9


def test_a_removed_result_comes_back_as_a_new_layer(viewer: ViewerModel) -> None:
    owned = OwnedLayer(viewer)
    viewer.layers.remove(show(viewer, owned, 1))
    assert owned.layer is None
    assert show(viewer, owned, 2) in viewer.layers


def test_another_source_and_a_released_result_get_layers_of_their_own(viewer: ViewerModel) -> None:
    owned = OwnedLayer(viewer)
    show(viewer, owned, 1)
    show(viewer, owned, 2, belongs_to="b")
    owned.release()
    show(viewer, owned, 3, belongs_to="b")
    assert [layer.name for layer in viewer.layers] == ["stack", "result", "result [1]", "result [2]"]


def test_the_selected_layer_stays_selected(viewer: ViewerModel) -> None:
    stack = viewer.layers["stack"]
    viewer.layers.selection.active = stack
    with selection_kept(viewer):
        viewer.add_points(np.zeros((1, 3)))
    assert viewer.layers.selection.active is stack


def test_empty_labels_cover_the_image(viewer: ViewerModel) -> None:
    source = read_layer(viewer.layers["stack"])
    layer = empty_labels(viewer, source.placement, source.planes.shape, name="scribbles", metadata={})
    assert layer.data.shape == (3, 16, 16)
    assert not layer.data.any()
    np.testing.assert_array_equal(layer.scale, (2, 1, 1))


def test_provenance_is_plain_json() -> None:
    record = provenance(
        "tokencut",
        source="stack",
        settings={"tau": np.float32(0.5), "click": (1, 2)},
        tau=np.array([0.5]),
        boxes=(np.zeros((1, 4), np.int32),),
    )
    assert json.loads(json.dumps(record)) == record
    layer = ViewerModel().add_image(np.zeros((8, 8)), metadata=record)
    assert provenance_of(layer)["settings"]["tau"] == 0.5
    assert provenance_of(ViewerModel().add_image(np.zeros((8, 8)))) == {}


def test_filling_further_draws_the_data_and_leaves_the_thumbnail_for_the_end(viewer: ViewerModel) -> None:
    owned = OwnedLayer(viewer)
    layer = show(viewer, owned, 0)
    drawn, thumbnails = [], []
    layer.events.set_data.connect(lambda event: drawn.append(event))
    layer.events.thumbnail.connect(lambda event: thumbnails.append(event))
    layer.data[:] = 2
    owned.refresh()
    assert drawn and not thumbnails
    before = layer.thumbnail.copy()
    owned.refresh_thumbnail()
    assert thumbnails and not np.array_equal(layer.thumbnail, before)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["stack", "mine", "strokes", "theirs"], ["stack", "mine", "result", "strokes", "theirs"]),
        (["strokes", "stack", "mine"], ["strokes", "stack", "mine", "result"]),  # under the image nobody would see it
        (["stack", "mine"], ["stack", "mine", "result"]),
    ],
)
def test_a_result_comes_beneath_the_strokes_and_no_other_layer_moves(before: list[str], after: list[str]) -> None:
    viewer = ViewerModel()
    for name in before:
        viewer.add_labels(np.zeros((8, 8), np.uint8), name=name)
    painted_in = next((layer.unique_id for layer in viewer.layers if layer.name == "strokes"), None)
    with selection_kept(viewer):
        result = viewer.add_labels(np.zeros((8, 8), np.uint8), name="result")
        beneath(viewer, result, painted_in, image=viewer.layers["stack"].unique_id)
    assert [layer.name for layer in viewer.layers] == after
    assert viewer.layers.selection.active.name == before[-1]
