"""Max-pooling of masks on the patch grid."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinov3.errors import InputError
from napari_dinov3.segment.patch_labels import patch_labels


def test_one_pixel_makes_its_patch_positive():
    mask = np.zeros((2, 64, 48), bool)
    mask[1, 31, 16] = True
    labels = patch_labels(mask, (4, 3), 16)
    assert labels.dtype == bool and labels.shape == (2, 4, 3)
    assert np.argwhere(labels).tolist() == [[1, 1, 1]]


def test_partial_last_patches_use_the_pixels_that_are_there():
    mask = np.zeros((33, 17), np.uint8)
    mask[32, 16] = 7
    labels = patch_labels(mask, (3, 2), 16)
    assert labels.tolist() == [[0, 0], [0, 0], [0, 7]]


def test_agrees_with_blockwise_maximum():
    mask = np.random.default_rng(0).integers(0, 9, (3, 32, 48))
    expected = mask.reshape(3, 4, 8, 6, 8).max(axis=(2, 4))
    np.testing.assert_array_equal(patch_labels(mask, (4, 6), 8), expected)


@pytest.mark.parametrize(
    ("mask", "grid", "stride"),
    [
        (np.zeros((8, 8)), (2, 2), 4),
        (np.zeros(8, bool), (2, 2), 4),
        (np.zeros((8, 8), bool), (2, 3), 4),
        (np.zeros((8, 8), bool), (8, 8), 0),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask, grid, stride):
    with pytest.raises(InputError):
        patch_labels(mask, grid, stride)
