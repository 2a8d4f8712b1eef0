"""Neighbouring planes become colours, lazily, with the window of a grey stack."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.errors import InputError
from napari_dinov3.features.neighbours import neighbours_as_colours

STACK = np.random.default_rng(0).integers(10, 90, (5, 32, 48), dtype=np.uint8)


@pytest.mark.parametrize("lazy", [False, True])
def test_each_plane_stands_between_its_neighbours(lazy: bool) -> None:
    image = dask.array.from_array(STACK, chunks=(1, 32, 48)) if lazy else STACK
    coloured = neighbours_as_colours(nd.as_planes(image, spacing=(5, 1, 1)))
    assert coloured.shape == (5, 32, 48) and coloured.rgb and coloured.spacing == (5, 1, 1)
    for plane in range(5):
        expected = [STACK[max(0, plane - 1)], STACK[plane], STACK[min(4, plane + 1)]]
        np.testing.assert_array_equal(coloured.plane(plane), np.stack(expected, axis=-1))


def test_the_window_is_that_of_the_grey_stack() -> None:
    planes = nd.as_planes(STACK)
    grey = nd.extract(planes, backbone="filter-bank").provenance["intensity_window"]
    coloured = nd.extract(neighbours_as_colours(planes), backbone="filter-bank")
    np.testing.assert_allclose(coloured.provenance["intensity_window"], grey, atol=1)
    assert coloured.array.shape == (5, 16, 24, 96)


def test_colours_and_single_planes_are_refused() -> None:
    with pytest.raises(InputError, match="in colour"):
        neighbours_as_colours(nd.as_planes(np.zeros((2, 8, 8, 3))))
    with pytest.raises(InputError, match="single plane"):
        neighbours_as_colours(nd.as_planes(np.zeros((8, 8))))
