"""Elastic fits at the edges: nothing to find, nothing to see, contrast the other way round, more than can be followed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_dinov3.align.deform import SMALLEST_JACOBIAN, fit_field
from napari_dinov3.align.elastic import SplineField

SIDE, MARGIN = 192, 32
INNER = (slice(24, -24),) * 2


def scene(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    size = (SIDE + 2 * MARGIN,) * 2
    parts = [ndimage.gaussian_filter(rng.normal(size=size), s) * s for s in (1.5, 4, 9)]
    image = np.sum(parts, axis=0)
    return (image - image.min()) / np.ptp(image)


def bent(image: np.ndarray, amount: float, sigma: float = 32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fixed, moving and the displacement from fixed to moving."""
    rng = np.random.default_rng(1)
    move = np.stack([ndimage.gaussian_filter(rng.normal(size=image.shape), sigma, mode="reflect") for _ in range(2)])
    move *= amount / np.abs(move).max()
    fixed = ndimage.map_coordinates(image, np.indices(image.shape) + move, order=5, mode="mirror")
    crop = (slice(MARGIN, MARGIN + SIDE),) * 2
    return fixed[crop].astype(np.float32), image[crop].astype(np.float32), move[(slice(None), *crop)]


def error(field: SplineField, move: np.ndarray) -> float:
    return float(np.median(np.linalg.norm((field.on_grid((SIDE, SIDE)) - move)[(slice(None), *INNER)], axis=0)))


def test_identical_images_do_not_move():
    image = bent(scene(), 1)[1]
    field = fit_field(image, image, np.eye(3))
    np.testing.assert_allclose(field.coefficients, 0, atol=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_bend_is_found_whatever_the_polarity(sign):
    fixed, moving, move = bent(scene(), 4)
    assert error(fit_field(fixed, sign * moving, np.eye(3)), move) < 0.03


def test_noise_limits_it_to_a_tenth_of_a_pixel():
    fixed, moving, move = bent(scene(), 4)
    rng = np.random.default_rng(2)
    noisy = [image + rng.normal(0, 0.05, image.shape).astype(np.float32) for image in (fixed, moving)]
    assert error(fit_field(*noisy, np.eye(3)), move) < 0.15


def test_noise_alone_bends_nothing():
    image = bent(scene(), 1)[1]
    rng = np.random.default_rng(2)
    noisy = [image + rng.normal(0, 0.05, image.shape).astype(np.float32) for _ in range(2)]
    assert np.abs(fit_field(*noisy, np.eye(3)).on_grid((SIDE, SIDE))).max() < 0.25


def test_an_empty_half_stays_smooth():
    fixed, moving, move = bent(scene(), 3)
    empty = ndimage.gaussian_filter((np.arange(SIDE) > SIDE // 2).astype(float), 4)[None, :]
    rng = np.random.default_rng(2)
    fixed, moving = ((i * (1 - empty) + 0.5 * empty + rng.normal(0, 0.02, i.shape)).astype(np.float32) for i in (fixed, moving))
    field = fit_field(fixed, moving, np.eye(3))
    u = field.on_grid((SIDE, SIDE))
    bends = [np.abs(np.diff(u, 2, axis=axis)).max() for axis in (1, 2)]
    truth = max(np.abs(np.diff(move, 2, axis=axis)).max() for axis in (1, 2))
    assert max(bends) < 3 * truth
    seen = (slice(None), slice(24, -24), slice(24, SIDE // 2 - 16))
    assert np.median(np.linalg.norm((u - move)[seen], axis=0)) < 0.15


@pytest.mark.parametrize("sigma", [6, 12])
def test_it_never_folds(sigma):
    """Bends too sharp for the spline, some of which fold themselves."""
    fixed, moving, _ = bent(scene(), 12, sigma)
    field = fit_field(fixed, moving, np.eye(3))
    assert field.smallest_jacobian(np.eye(3), fixed.shape) >= SMALLEST_JACOBIAN


def test_images_with_nothing_in_common_do_not_fold_either():
    one, other = bent(scene(0), 1)[0], bent(scene(5), 1)[1]
    field = fit_field(one, other, np.eye(3))
    assert np.isfinite(field.coefficients).all()
    assert field.smallest_jacobian(np.eye(3), one.shape) >= SMALLEST_JACOBIAN


def test_missing_regions_and_constant_images_are_survived():
    fixed, moving, move = bent(scene(), 3)
    moving[60:100, 60:100] = np.nan
    assert error(fit_field(fixed, moving, np.eye(3)), move) < 0.1
    flat = np.ones_like(fixed)
    assert np.abs(fit_field(fixed, flat, np.eye(3)).coefficients).max() == 0
