"""Layers to planes and back: every result lies where its source lies."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points

from napari_dinov3._napari.companion import read_companion
from napari_dinov3._napari.layers import describe_layer, free_name, pixel_at, plane_at, read_layer
from napari_dinov3._napari.results import add_patches, add_pixels
from napari_dinov3.errors import InputError
from napari_dinov3.features.feature_map import FeatureMap

# napari says so itself when a layer is turned out of its planes; its place in the world is right all the same
NON_ORTHOGONAL = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing is being requested:UserWarning")
PLACES: dict[str, dict[str, Any]] = {
    "plain": {},
    "anisotropic": {"scale": (3.0, 0.5, 0.25), "translate": (10.0, -4.0, 7.0), "units": ("nm", "nm", "nm")},
    "rotated": {"scale": (2.0, 0.5, 0.25), "rotate": (20, 30, 40), "translate": (1.0, 2.0, 3.0)},
    "sheared": {"scale": (2.0, 1.0, 0.5), "shear": (0.1, 0.2, 0.3)},
    "affine": {
        "scale": (2.0, 1.0, 0.5),
        "translate": (1.0, 0.0, 2.0),
        "affine": [[1, 0.1, 0, 5], [0, 1.2, 0.3, -6], [0.2, 0, 1, 7], [0, 0, 0, 1]],
    },
}


def stack(rng: np.random.Generator) -> Any:
    return rng.integers(0, 255, (5, 24, 32), dtype=np.uint8)


@NON_ORTHOGONAL
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_pixels_of_planes_lie_at_the_layers_world_points(place: dict[str, Any]) -> None:
    layer = Image(stack(np.random.default_rng(0)), **place)
    planes = read_layer(layer).planes
    at = np.array([3, 11.5, 20])
    world = planes.world_from_pixel @ [*at, 1]
    np.testing.assert_allclose(world[:3], layer.data_to_world(at), atol=1e-9)
    np.testing.assert_allclose(pixel_at(read_layer(layer), world[:3]), at, atol=1e-9)


@NON_ORTHOGONAL
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_patch_layer_has_patch_centres_at_the_pixels_they_stand_for(place: dict[str, Any]) -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(stack(np.random.default_rng(0)), **place)
    placement = read_layer(layer).placement
    features = FeatureMap.from_array(np.zeros((5, 3, 4, 1), np.float32), stride=8)
    heat = add_patches(viewer, placement, features, np.zeros((5, 3, 4), np.float32), name="heat", metadata={})
    patch = np.array([2, 1, 3])
    pixel = (2, 3.5 + 8 * 1, 3.5 + 8 * 3)
    np.testing.assert_allclose(heat.data_to_world(patch), layer.data_to_world(pixel), atol=1e-9)
    assert heat.units == layer.units
    assert heat.axis_labels == layer.axis_labels


@NON_ORTHOGONAL
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_pixel_layer_lies_on_its_source(place: dict[str, Any]) -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(stack(np.random.default_rng(0)), **place)
    source = read_layer(layer)
    labels = add_pixels(viewer, source.placement, np.zeros(source.planes.shape, bool), kind="labels", name="mask", metadata={})
    assert labels.data.dtype == np.uint8
    for corner in ((0, 0, 0), (4, 23, 31)):
        np.testing.assert_allclose(labels.data_to_world(corner), layer.data_to_world(corner), atol=1e-9)


def test_a_single_image_gives_results_of_two_axes() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((20, 30)), scale=(2, 3), rotate=30, translate=(5, 6))
    source = read_layer(layer)
    assert source.planes.shape == (1, 20, 30)
    assert source.planes.is_2d
    labels = add_pixels(viewer, source.placement, np.ones((1, 20, 30), np.uint8), kind="labels", name="x", metadata={})
    assert labels.data.shape == (20, 30)
    np.testing.assert_allclose(labels.data_to_world((7, 8)), layer.data_to_world((7, 8)))
    np.testing.assert_allclose(pixel_at(source, layer.data_to_world((7, 8))), (0, 7, 8), atol=1e-9)


def test_a_4d_layer_is_read_at_the_sliders_and_its_results_lie_there() -> None:
    viewer = ViewerModel()
    data = np.arange(3 * 4 * 8 * 9).reshape(3, 4, 8, 9)
    layer = viewer.add_image(data, scale=(10, 2, 1, 1), translate=(100, 0, 0, 0))
    viewer.dims.set_point(0, 120)
    source = read_layer(layer, point=viewer.dims.point)
    np.testing.assert_array_equal(source.planes.plane(1), data[2, 1])
    result = add_pixels(viewer, source.placement, source.planes.data, name="result", metadata={})
    assert result.data.shape == (1, 4, 8, 9)
    np.testing.assert_allclose(result.data_to_world((0, 1, 2, 3)), layer.data_to_world((2, 1, 2, 3)))


def test_the_axis_called_z_is_the_stack_and_channels_are_chosen_by_the_slider() -> None:
    layer = Image(np.zeros((4, 3, 8, 9)), axis_labels=("z", "c", "y", "x"))
    source = read_layer(layer)
    assert source.placement.stack == 0
    assert source.planes.shape == (4, 8, 9)
    channels = Image(np.zeros((3, 8, 9)), axis_labels=("c", "y", "x"))
    assert read_layer(channels).planes.is_2d


def test_a_time_axis_is_known_by_its_label() -> None:
    assert read_layer(Image(np.zeros((4, 8, 9)), axis_labels=("t", "y", "x"))).planes.axes == "tyx"


@pytest.mark.parametrize("shape", [(20, 30, 3), (4, 20, 30, 4)])
def test_colour_follows_the_layers_own_flag(shape: tuple[int, ...]) -> None:
    planes = read_layer(Image(np.zeros(shape, np.uint8), rgb=True)).planes
    assert planes.rgb
    assert planes.plane(0).shape == (20, 30, 3)


def test_three_columns_without_the_flag_are_no_colour() -> None:
    assert read_layer(Image(np.zeros((6, 20, 3)), rgb=False)).planes.shape == (6, 20, 3)


def test_a_pyramid_level_lies_over_the_finest_one() -> None:
    finest = np.zeros((4, 32, 48))
    layer = Image([finest, finest[:, ::2, ::2], finest[:, ::4, ::4]], multiscale=True, scale=(1, 0.5, 0.5))
    source = read_layer(layer, level=1)
    assert source.planes.shape == (4, 16, 24)
    # pixel 0 of the half-size level covers pixels 0 and 1: its centre is at 0.5
    np.testing.assert_allclose((source.planes.world_from_pixel @ [0, 0, 0, 1])[:3], layer.data_to_world((0, 0.5, 0.5)))
    with pytest.raises(InputError, match=r"Level 3"):
        read_layer(layer, level=3)


def test_lazy_data_are_not_read() -> None:
    def refuse(block: Any) -> Any:
        raise AssertionError("a plane was read")

    data = da.zeros((6, 16, 16), chunks=(1, 16, 16)).map_blocks(refuse, dtype=float, meta=np.empty((0, 0, 0)))
    real = Labels(np.zeros((6, 16, 16), np.uint8))  # a real layer of these data would read the plane it shows
    names = ("ndim", "scale", "translate", "rotate", "shear", "affine", "units", "axis_labels", "unique_id", "name")
    source = read_layer(SimpleNamespace(data=data, **{name: getattr(real, name) for name in names}))
    assert source.planes.lazy
    assert source.placement.arrange(source.planes.data).shape == (6, 16, 16)


def test_other_layers_are_refused_in_three_parts() -> None:
    with pytest.raises(InputError) as refused:
        read_layer(Points(np.zeros((4, 1))[:, [0]]))
    assert refused.value.action


def test_the_visible_plane_is_found_and_kept_inside() -> None:
    layer = Image(np.zeros((5, 8, 8)), scale=(3, 1, 1))
    source = read_layer(layer)
    assert plane_at(source, (6.2, 0, 0)) == 2
    assert plane_at(source, (99, 0, 0)) == 4


def test_layers_are_described_in_words() -> None:
    assert describe_layer(Image(np.zeros((5, 8, 9), np.uint16))) == "5 planes of 8 x 9, uint16"
    assert describe_layer(Image(np.zeros((40, 50, 3), np.uint8), rgb=True)) == "40 x 50, RGB uint8"
    assert describe_layer(Image(da.zeros((5, 8, 9), chunks=(1, 8, 9)))) == "5 planes of 8 x 9, float64, read lazily"


def test_names_in_use_are_never_taken_again() -> None:
    viewer = ViewerModel()
    first = viewer.add_image(np.zeros((8, 8)), name="result")
    assert free_name(viewer.layers, "other") == "other"
    assert free_name(viewer.layers, "result") == "result [1]"
    placement = read_layer(first).placement
    second = add_pixels(viewer, placement, np.ones((1, 8, 8)), name="result", metadata={})
    assert second.name == "result [1]"
    assert first.data.max() == 0


@NON_ORTHOGONAL
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_layer_in_the_place_of_the_image_is_its_companion(place: dict[str, Any]) -> None:
    image, labels = Image(stack(np.random.default_rng(0)), **place), Labels(np.ones((5, 24, 32), np.uint8), **place)
    assert read_companion(labels, read_layer(image)).planes.shape == (5, 24, 32)
    labels.translate = np.asarray(labels.translate) + 0.8 * np.asarray(image.scale)
    with pytest.raises(InputError, match="pixels away from"):
        read_companion(labels, read_layer(image))


def test_a_companion_of_another_spacing_or_shape_is_refused() -> None:
    image = read_layer(Image(np.zeros((5, 24, 32)), scale=(2, 1, 1), name="stack"))
    with pytest.raises(InputError, match="4 pixels away from 'stack'"):
        read_companion(Labels(np.zeros((5, 24, 32), np.uint8), scale=(4, 1, 1)), image)
    with pytest.raises(InputError, match=r"\(4, 24, 32\).*\(5, 24, 32\), as layer 'stack'"):
        read_companion(Labels(np.zeros((4, 24, 32), np.uint8)), image)


def test_scribbles_of_one_time_point_are_refused_at_another() -> None:
    layer = Image(np.zeros((4, 5, 24, 32)), scale=(3, 2, 1, 1), axis_labels=("t", "z", "y", "x"), name="series")
    at_two, at_one = read_layer(layer, point=(6, 0, 0, 0)), read_layer(layer, point=(3, 0, 0, 0))
    painted = Labels(np.zeros((1, 5, 24, 32), np.uint8), **at_two.placement.pixel_transform())
    assert read_companion(painted, at_two).planes.shape == (5, 24, 32)
    with pytest.raises(InputError, match="holds nothing at this position of the slider of axis t"):
        read_companion(painted, at_one)
    every_time = Labels(np.zeros((5, 24, 32), np.uint8), scale=(2, 1, 1))
    assert read_companion(every_time, at_one).planes.shape == (5, 24, 32)
    series = np.zeros((4, 5, 24, 32), np.uint8)
    series[2] = 7
    painted = Labels(series, scale=(3, 2, 1, 1))
    assert read_companion(painted, at_two).planes.plane(0).max() == 7
    assert read_companion(painted, at_one).planes.plane(0).max() == 0
