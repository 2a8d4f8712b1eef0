"""Tiles cover every patch: cores once, blended tiles with weights that add up to one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from napari_dinov3.features.tiling import blend_tiles, cut_tiles

SHAPES = [(16, 16), (100, 340), (512, 512), (700, 1030)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("overlap", [0.05, 0.25, 0.5])
def test_blended_tiles_give_a_constant_back(shape: tuple[int, int], overlap: float) -> None:
    grid = np.zeros((-(-shape[0] // 16), -(-shape[1] // 16), 1), np.float32)
    for tile in blend_tiles(shape, stride=16, tile_size=256, overlap=overlap):
        tile.keep(np.full((*tile.shape, 1), 7, np.float32), grid)
    np.testing.assert_allclose(grid, 7, rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_blended_tiles_are_of_one_size_and_share_what_was_asked(shape: tuple[int, int]) -> None:
    tiles = list(blend_tiles(shape, stride=16, tile_size=256, overlap=0.25))
    assert len({tile.shape for tile in tiles}) == 1
    for axis in (0, 2):
        starts = sorted({tile.read[axis] for tile in tiles})
        assert all(after - before <= 12 for before, after in pairwise(starts))


def test_weights_fall_off_towards_a_neighbour_and_not_towards_the_border() -> None:
    first, last = list(blend_tiles((16, 448), stride=16, tile_size=256, overlap=0.25))
    assert first.weights is not None and last.weights is not None
    rows, cols = first.weights
    np.testing.assert_allclose(rows, 1)
    assert cols[0] == 1 and np.all(np.diff(cols[12:]) < 0)
    np.testing.assert_allclose(cols[12:] + last.weights[1][:4], 1)


def test_a_plane_no_larger_than_a_tile_is_not_blended() -> None:
    (tile,) = blend_tiles((200, 256), stride=16, tile_size=256, overlap=0.25)
    assert tile.weights is None and tile.shape == (13, 16)


def test_cut_tiles_cover_each_patch_once() -> None:
    seen = np.zeros((44, 65), int)
    for tile in cut_tiles((700, 1030), stride=16, tile_size=256, halo=20):
        row0, row1, col0, col1 = tile.core
        seen[row0:row1, col0:col1] += 1
    assert np.all(seen == 1)
