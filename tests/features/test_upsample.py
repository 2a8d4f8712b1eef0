"""Bilinear and nearest upsampling land on known pixels."""

import numpy as np
import pytest

from napari_dinov3.errors import InputError
from napari_dinov3.features.upsample import upsample, upsample_nearest


@pytest.mark.parametrize(("stride", "first"), [(1, 0.0), (2, 0.5), (4, 1.5), (16, 7.5), (16, 8.0), (3.5, 1.25)])
def test_a_plane_of_linear_values_is_reproduced_between_the_outer_centres(stride, first):
    rows, cols = 5, 7
    grid = 2.0 * np.arange(rows)[:, None] - 3.0 * np.arange(cols) + 1
    out = upsample(grid, image_shape=(int(rows * stride), int(cols * stride)), stride=stride, first_centre=first)
    at_row = np.clip((np.arange(out.shape[0]) - first) / stride, 0, rows - 1)
    at_col = np.clip((np.arange(out.shape[1]) - first) / stride, 0, cols - 1)
    np.testing.assert_allclose(out, 2 * at_row[:, None] - 3 * at_col + 1, atol=1e-5)
    assert out.dtype == np.float32


def test_it_agrees_with_scipy_on_random_values_and_clamps_edges():
    from scipy.ndimage import map_coordinates

    grid = np.random.default_rng(0).normal(size=(6, 9)).astype(np.float32)
    at = np.meshgrid((np.arange(24) - 1.5) / 4, (np.arange(36) - 1.5) / 4, indexing="ij")
    expected = map_coordinates(grid, at, order=1, mode="nearest")
    np.testing.assert_allclose(upsample(grid, image_shape=(24, 36), stride=4, first_centre=1.5), expected, atol=1e-5)


def test_channels_are_independent():
    grid = np.random.default_rng(1).normal(size=(4, 3, 2))
    both = upsample(grid, image_shape=(15, 11), stride=4, first_centre=1.5)
    for k in range(2):
        np.testing.assert_array_equal(both[..., k], upsample(grid[..., k], image_shape=(15, 11), stride=4, first_centre=1.5))


def test_it_is_linear_so_a_probe_may_come_before_or_after():
    rng = np.random.default_rng(2)
    grid, weights = rng.normal(size=(8, 8, 16)), rng.normal(size=16)
    where = {"image_shape": (64, 64), "stride": 8, "first_centre": 3.5}
    np.testing.assert_allclose(upsample(grid, **where) @ weights, upsample(grid @ weights, **where), atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 1)])
def test_single_rows_and_columns_are_spread_out(shape):
    out = upsample(np.full(shape, 3.0), image_shape=(16, 16), stride=4, first_centre=1.5)
    np.testing.assert_array_equal(out, 3.0)


def test_nearest_repeats_patches_as_tiles_and_keeps_the_data_type():
    labels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    out = upsample_nearest(labels, image_shape=(24, 32), stride=8, first_centre=3.5)
    assert out.dtype == np.uint16
    np.testing.assert_array_equal(out, np.kron(labels, np.ones((8, 8), np.uint16)))
    same = upsample(labels, image_shape=(24, 32), stride=8, first_centre=3.5, order=0)
    np.testing.assert_array_equal(same, out)


def test_a_partly_covered_last_patch_stays_with_its_image():
    out = upsample(np.eye(3), image_shape=(37, 41), stride=16, first_centre=7.5)
    assert out.shape == (37, 41)


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((0, 3)), np.zeros((1, 2, 3, 4))])
def test_other_shapes_are_refused(bad):
    with pytest.raises(InputError, match="patch grid"):
        upsample(bad, image_shape=(8, 8), stride=2, first_centre=0.5)


def test_a_stride_of_zero_is_refused():
    with pytest.raises(InputError, match="stride=0"):
        upsample(np.zeros((2, 2)), image_shape=(8, 8), stride=0, first_centre=0.5)
