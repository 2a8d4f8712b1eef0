"""Any supported image becomes planes, lazily, with its place in the world; anything else is refused in three parts."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.errors import InputError
from napari_dinov3.image import as_planes

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "axes", "expected", "rgb"),
    [
        ((20, 30), None, (1, 20, 30), False),
        ((5, 20, 30), None, (5, 20, 30), False),
        ((20, 30, 3), None, (1, 20, 30), True),
        ((20, 30, 4), None, (1, 20, 30), True),
        ((5, 20, 30, 3), None, (5, 20, 30), True),
        ((3, 3, 3), None, (3, 3, 3), False),
        ((20, 30, 5), "yxz", (5, 20, 30), False),
        ((1, 5, 20, 30), None, (5, 20, 30), False),
        ((5, 1, 20, 30), None, (5, 20, 30), False),
        ((5, 20, 30), "tyx", (5, 20, 30), False),
    ],
)
def test_shapes_become_planes(
    dtype: str, shape: tuple[int, ...], axes: str | None, expected: tuple[int, int, int], rgb: bool
) -> None:
    planes = as_planes((RNG.random(shape) * 2).astype(dtype), axes=axes)
    assert planes.shape == expected
    assert planes.rgb is rgb
    assert planes.plane(expected[0] - 1).shape == expected[1:] + ((3,) if rgb else ())
    assert planes.dtype == dtype


def test_a_moved_axis_brings_its_pixels_along() -> None:
    stack = RNG.random((20, 30, 5))
    np.testing.assert_array_equal(as_planes(stack, axes="yxz").plane(3), stack[..., 3])


def test_dask_is_not_computed_until_a_plane_is_asked_for() -> None:
    read: list[int] = []

    def load(block: np.ndarray, block_info: dict | None = None) -> np.ndarray:
        if block_info:
            read.append(block_info[0]["chunk-location"][0])
        return block

    base = dask.array.zeros((6, 20, 30), chunks=(1, 20, 30), dtype=np.uint8)
    planes = as_planes(base.map_blocks(load, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)))
    assert planes.lazy
    assert read == []
    planes.plane(4)
    assert read == [4]


def test_a_time_stack_keeps_its_axis_and_units() -> None:
    planes = as_planes(np.zeros((4, 8, 9)), axes="tyx", spacing=(0.5, 2, 2), units=("second", "micrometer", "micrometer"))
    assert planes.axes == "tyx"
    assert planes.spacing == (0.5, 2, 2)
    assert planes.units == ("second", "micrometer", "micrometer")
    np.testing.assert_allclose(planes.world_from_pixel, np.diag([0.5, 2, 2, 1]))


def test_two_spacings_are_row_and_col() -> None:
    assert as_planes(np.zeros((8, 9)), spacing=(2, 3)).spacing == (1, 2, 3)


def test_channels_are_chosen_or_combined() -> None:
    image = RNG.random((2, 8, 9))
    np.testing.assert_array_equal(as_planes(image, axes="cyx", channel=1).plane(0), image[1])
    colour = as_planes(image, axes="cyx", channel=(0, 1)).plane(0)
    np.testing.assert_array_equal(colour[..., 1], image[1])
    assert not colour[..., 2].any()
    lazy = as_planes(dask.array.from_array(image), axes="cyx", channel=(1, 0))
    np.testing.assert_array_equal(lazy.plane(0)[..., 0], image[1])


def test_a_pyramid_is_read_at_the_level_asked_for() -> None:
    pyramid = [np.zeros((64, 64)), np.ones((32, 32))]
    assert as_planes(pyramid).shape == (1, 64, 64)
    assert as_planes(pyramid, level=1).plane(0).max() == 1


def test_a_list_of_equal_planes_is_a_stack() -> None:
    planes = as_planes([np.full((8, 9), level) for level in range(3)])
    assert planes.shape == (3, 8, 9)
    assert planes.plane(2).max() == 2


def test_planes_pass_through() -> None:
    planes = as_planes(np.zeros((4, 5)))
    assert as_planes(planes) is planes


@pytest.mark.parametrize(
    ("image", "options", "names"),
    [
        (np.zeros(5), {}, "1 axes"),
        (np.zeros((2, 3, 4, 5, 6)), {}, "5 axes"),
        (np.zeros((2, 3, 8, 9)), {}, "at most one stack axis"),
        (np.zeros((0, 5)), {}, "no pixels"),
        (np.zeros((4, 4), complex), {}, "complex128"),
        (np.array([["a", "b"]]), {}, "<U1"),
        (np.zeros((2, 8, 9)), {"axes": "cyx"}, "2 channels"),
        (np.zeros((2, 8, 9)), {"axes": "cyx", "channel": 2}, "channel=2"),
        (np.zeros((8, 9)), {"channel": 0}, "a channel axis"),
        (np.zeros((8, 9)), {"axes": "xx"}, "different letters"),
        (np.zeros((8, 9)), {"axes": "zyx"}, "2 different letters"),
        (np.zeros((8, 9, 5)), {"rgb": True}, "5 colours"),
        (np.zeros((8, 9)), {"spacing": (0, 1)}, "spacing="),
        (np.zeros((8, 9)), {"spacing": (1, 1, 1, 1)}, "spacing="),
        (np.zeros((8, 9)), {"world_from_pixel": np.eye(3)}, "world_from_pixel"),
        ([np.zeros((8, 9))], {"level": 3}, "Level 3"),
        (np.zeros((8, 9)), {"level": 1}, "Level 1"),
        ("stack.tif", {}, "nd.read"),
        (None, {}, "nd.read"),
        (np.zeros((8, 9)), {"spacing": -1}, "spacing=-1"),
        (np.zeros((8, 9)), {"spacing": "x"}, "spacing='x'"),
        (np.zeros((8, 9)), {"units": 3}, "units=3"),
    ],
)
def test_anything_else_is_refused_in_three_parts(image: object, options: dict, names: str) -> None:
    with pytest.raises(InputError) as refused:
        as_planes(image, **options)
    assert names in str(refused.value)
    assert refused.value.problem and refused.value.expected and refused.value.action


def test_the_package_offers_it() -> None:
    assert nd.as_planes is as_planes


class Counting:
    """A big image that counts the pixels that are read of it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.dtype, self.ndim, self.read = shape, np.dtype(np.uint8), len(shape), 0

    def __getitem__(self, index: object) -> np.ndarray:
        part = np.broadcast_to(np.uint8(7), self.shape)[index]
        self.read += part.size
        return np.array(part)


def pyramid(shape: tuple[int, int], levels: int) -> tuple[list[object], list[Counting]]:
    counters = [Counting((shape[0] >> k, shape[1] >> k)) for k in range(levels)]
    return [dask.array.from_array(c, chunks=(512, 512), meta=np.empty((0, 0), np.uint8)) for c in counters], counters


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_region_is_given_in_pixels_of_the_finest_level_and_lies_where_it_was(level: int) -> None:
    levels, _ = pyramid((4096, 8192), 3)
    zoom = 2**level
    place = np.diag([1.0, 0.5 * zoom, 0.5 * zoom, 1.0])
    planes = as_planes(levels, level=level, region=(1000, 2000, 1512, 2512), world_from_pixel=place)
    assert planes.shape == (1, 512 // zoom, 512 // zoom)
    np.testing.assert_allclose(planes.world_from_pixel @ [0, 0, 0, 1], [0, 500, 1000, 1])


def test_nothing_outside_a_region_is_read() -> None:
    levels, counters = pyramid((80_000, 100_000), 3)
    features = nd.extract(levels, backbone="random-projection-cnx-tiny", level=1, region=(20_480, 20_480, 21_504, 21_504))
    assert features.image_shape == (512, 512)
    assert counters[0].read == counters[2].read == 0
    assert 512 * 512 <= counters[1].read <= 8 * 512 * 512  # its one chunk, for the window of intensities and for the tiles


@pytest.mark.parametrize("region", [(0, 0, 10), (5, 5, 5, 9), (0, 0, float("nan"), 9), (200, 0, 300, 9), ("a", 0, 1, 2)])
def test_senseless_regions_are_refused(region: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="region="):
        as_planes(np.zeros((40, 50)), region=region)


def test_a_region_is_cut_off_at_the_border_and_taken_of_planes_too() -> None:
    image = np.arange(2 * 40 * 50).reshape(2, 40, 50)
    planes = as_planes(as_planes(image, spacing=(5, 2, 2)), region=(30.2, -5, 90, 7.5))
    np.testing.assert_array_equal(planes.data, image[:, 30:, :8])
    np.testing.assert_allclose(planes.world_from_pixel @ [1, 0, 0, 1], [5, 60, 0, 1])
