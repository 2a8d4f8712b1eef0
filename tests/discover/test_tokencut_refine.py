"""Outlines move to the edges of the image, and only there."""

import numpy as np
import pytest
from skimage.draw import disk

from napari_dinov3.discover.refine import refine_mask
from napari_dinov3.discover.tokencut import ONE_CLICK, tokencut
from napari_dinov3.errors import InputError


def iou(a, b):
    return np.count_nonzero(a & b) / max(1, np.count_nonzero(a | b))


@pytest.fixture
def known() -> np.ndarray:
    mask = np.zeros((160, 170), bool)
    mask[disk((70, 90), 41)] = True
    return mask


@pytest.fixture
def coarse(known) -> np.ndarray:
    return np.kron(known[8::16, 8::16], np.ones((16, 16), bool))[:160, :170]


@pytest.mark.parametrize("contrast", [1.0, -1.0])
def test_a_blocky_mask_becomes_the_disc_of_the_image(known, coarse, contrast):
    image = 100 + contrast * 40 * known + np.random.default_rng(0).normal(0, 4, known.shape)
    assert iou(coarse, known) < 0.92
    assert iou(refine_mask(coarse, image, radius=16), known) > 0.97


def test_colours_without_a_difference_in_brightness_are_used(known, coarse):
    image = np.where(known[..., None], (180, 90, 90), (90, 180, 90)) + np.random.default_rng(1).normal(0, 5, (*known.shape, 3))
    assert iou(refine_mask(coarse, image.astype(np.uint8), radius=16), known) > 0.97


def test_a_uniform_image_only_rounds_corners(coarse):
    refined = refine_mask(coarse, np.full(coarse.shape, 7, np.uint8), radius=8)
    assert iou(refined, coarse) > 0.85
    moved = np.nonzero(refined != coarse)
    edge = np.zeros_like(coarse)
    for axis in (0, 1):
        edge |= coarse != np.roll(coarse, 8, axis)
        edge |= coarse != np.roll(coarse, -8, axis)
    assert edge[moved].all()


@pytest.mark.parametrize("value", [False, True])
def test_empty_and_full_masks_stay(value):
    mask = np.full((40, 40), value)
    np.testing.assert_array_equal(refine_mask(mask, np.random.default_rng(0).normal(size=(40, 40)), radius=32), mask)


def test_specks_of_noise_are_dropped(known):
    image = 50.0 * known
    image[5:8, 5:8] = 50
    near = known.copy()
    near[2:12, 2:12] = True
    assert not refine_mask(near, image, radius=8)[:20, :20].any()


def test_images_smaller_than_the_window_and_nan_are_no_trouble():
    mask = np.zeros((9, 7), bool)
    mask[2:, 3:] = True
    image = np.where(mask, 10.0, 0.0)
    image[0, 0] = np.nan
    np.testing.assert_array_equal(refine_mask(mask, image, radius=32), mask)


def test_an_image_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"mask of shape \(4, 4\)"):
        refine_mask(np.zeros((4, 4), bool), np.zeros((5, 4)), radius=3)


def test_tokencut_refines_where_the_image_is_given(known):
    known = np.pad(known, [(0, 0), (0, 6)])
    image = (100 + 60 * known).astype(np.uint8)
    features = np.stack([np.where(known, 0.0, 1.0), np.where(known, 1.0, 0.0)], axis=-1)[8::16, 8::16]
    cut = tokencut(features, image=image)
    assert cut.options == ONE_CLICK
    assert iou(cut.masks[0], known) > 0.97
    rows, cols = np.nonzero(cut.masks[0])
    np.testing.assert_array_equal(cut.boxes[0][0], [rows.min(), cols.min(), rows.max() + 1, cols.max() + 1])
    plain = cut.with_masks(refine=0)
    assert iou(plain.masks[0], known) < iou(cut.masks[0], known)
    np.testing.assert_array_equal(tokencut(features).masks, plain.masks)


def test_refining_without_an_image_is_refused():
    with pytest.raises(InputError, match="refine=8 without an image"):
        tokencut(np.random.default_rng(0).normal(size=(6, 6, 3)), tau=0.2, refine=8)
