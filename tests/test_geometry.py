"""Pixel, patch and world coordinates agree on where a centre is."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinov3 import geometry
from napari_dinov3.errors import InputError
from napari_dinov3.features.feature_map import FeatureMap


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16])
def test_patch_centres_land_on_world_points(stride: int) -> None:
    angle = np.deg2rad(30)
    world_from_pixel = geometry.affine((5.0, 0.5, 0.25), (100.0, -3.0, 7.0))
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    features = FeatureMap.from_array(np.zeros((2, 4, 5, 3)), stride=stride, world_from_pixel=turn @ world_from_pixel)
    patch = np.array([1, 2, 3])
    covered = [(1, 2 * stride + r, 3 * stride + c) for r in range(stride) for c in range(stride)]
    centre = geometry.transform_points(turn @ world_from_pixel, covered).mean(axis=0)
    np.testing.assert_allclose(geometry.transform_points(features.world_from_patch, patch), centre)


def test_the_patch_at_a_pixel_covers_it() -> None:
    features = FeatureMap.from_array(np.zeros((1, 3, 4, 2)), stride=16)
    for row in (0, 15, 16, 47):
        for col in (0, 31, 32, 63):
            assert features.patch_at(row, col) == (row // 16, col // 16)


@pytest.mark.parametrize("point", [(-1, 0), (0, 64), (48, 0)])
def test_a_pixel_outside_is_refused(point: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="inside the image"):
        FeatureMap.from_array(np.zeros((1, 3, 4, 2)), stride=16).patch_at(*point)


@pytest.mark.parametrize(("pixels", "stride", "patches"), [(1, 16, 1), (16, 16, 1), (17, 16, 2), (128, 16, 8), (5, 2, 3)])
def test_every_pixel_is_covered(pixels: int, stride: int, patches: int) -> None:
    assert geometry.grid_length(pixels, stride) == patches


@pytest.mark.parametrize("scale", [(0, 1), (np.nan, 1), (np.inf, 1)])
def test_a_degenerate_spacing_is_refused(scale: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="finite and not 0"):
        geometry.affine(scale)
