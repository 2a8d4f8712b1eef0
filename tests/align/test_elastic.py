"""Splines, and elastic fits of known deformations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage import data

import napari_dinov3 as nd
from napari_dinov3.align.deform import fit_coefficients, resampled
from napari_dinov3.align.elastic import SplineField, bending_matrix, control_shape
from napari_dinov3.align.transforms import point_grid
from napari_dinov3.align.warp import warp

SHAPE = (90, 70)


def random_field(spacing: float = 24.0, size: float = 3.0) -> SplineField:
    control = control_shape(SHAPE, spacing)
    return SplineField(np.random.default_rng(0).normal(0, size, (2, *control)), spacing)


def test_points_and_pixels_agree():
    field = random_field()
    grid = field.on_grid(SHAPE)
    points = np.array([[0, 0], [10, 33], [89, 69], [45, 0]], float)
    np.testing.assert_allclose(field.at(points), [grid[:, int(r), int(c)] for r, c in points], atol=1e-12)


def test_equal_coefficients_are_a_shift():
    field = SplineField(np.full((2, *control_shape(SHAPE, 16)), 2.5), 16)
    np.testing.assert_allclose(field.on_grid(SHAPE), 2.5)
    assert field.smallest_jacobian(np.eye(3), SHAPE) == pytest.approx(1)


def test_scaling_keeps_places():
    field = random_field()
    points = np.array([[20.0, 31.0], [60.0, 12.0]])
    half = field.scaled(0.5)
    np.testing.assert_allclose(half.at((points + 0.5) * 0.5 - 0.5), field.at(points) * 0.5, atol=1e-12)


def test_halving_the_spacing_changes_nothing():
    field = random_field()
    finer = resampled(field, SHAPE, 12.0)
    np.testing.assert_allclose(finer.on_grid(SHAPE), field.on_grid(SHAPE), atol=1e-3)


def test_bending_is_zero_for_affine_displacements_only():
    energy = bending_matrix((6, 7))
    rows, cols = np.indices((6, 7))
    plane = (2.0 * rows - 3.0 * cols + 1).ravel()
    assert plane @ energy @ plane == pytest.approx(0, abs=1e-9)
    assert (rows.ravel() ** 2.0) @ energy @ (rows.ravel() ** 2.0) > 1


def test_stiff_fits_of_noise_are_flat():
    points = point_grid(SHAPE, 5)
    noise = np.random.default_rng(0).normal(size=points.shape)
    control = control_shape(SHAPE, 16)
    stiff, loose = (fit_coefficients(points, noise, np.ones(len(points)), control, 16, stiffness=s) for s in (1e3, 1e-3))
    assert stiff.std() < 0.3 * loose.std()


def test_folding_shows_in_the_jacobian():
    assert random_field(size=40).smallest_jacobian(np.eye(3), SHAPE) < 0


def deformed_pair(size: int = 224, amount: float = 6.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    base = data.immunohistochemistry()[: size + 64, : size + 64].astype(float).mean(-1)
    rng = np.random.default_rng(3)
    field = np.stack([ndimage.gaussian_filter(rng.normal(size=base.shape), 40, mode="reflect") for _ in range(2)])
    field *= amount / np.abs(field).max()
    fixed = ndimage.map_coordinates(base, np.indices(base.shape) + field, order=5, mode="mirror")
    inner = (slice(32, -32),) * 2
    return fixed[inner].astype(np.float32), base[inner].astype(np.float32), field[(slice(None), *inner)]


@pytest.fixture(scope="module")
def elastic_pair():
    fixed, moving, field = deformed_pair()
    return fixed, moving, field, nd.align_pair(fixed, moving, model="elastic", backbone=None)


def test_a_known_deformation_is_found_to_a_few_hundredths_of_a_pixel(elastic_pair):
    fixed, _, field, pair = elastic_pair
    points = point_grid(fixed.shape, 16)
    at = points.astype(int)
    truth = at + np.stack([f[tuple(at.T)] for f in field], 1)
    error = np.linalg.norm(pair.map_points(at) - truth, axis=1)
    assert np.median(error) < 0.05
    assert np.quantile(error, 0.9) < 0.3


def test_elastic_explains_more_than_affine(elastic_pair):
    fixed, moving, _, pair = elastic_pair
    affine = nd.align_pair(fixed, moving, model="affine", backbone=None)
    inner = (slice(20, -20),) * 2
    rest = [np.abs(p.apply(moving)[inner] - fixed[inner]).mean() for p in (pair, affine)]
    assert rest[0] < 0.3 * rest[1]
    assert pair.field.smallest_jacobian(pair.matrix, fixed.shape) > 0.2


def test_warp_follows_the_field():
    image = np.random.default_rng(0).random(SHAPE)
    shift = SplineField(np.stack([np.full(control_shape(SHAPE, 16), v) for v in (3.0, -2.0)]), 16)
    np.testing.assert_allclose(warp(image, np.eye(3), field=shift, order=1)[10:80, 10:60], image[13:83, 8:58], atol=1e-12)
