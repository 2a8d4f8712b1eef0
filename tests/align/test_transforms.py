"""Matrices: fitting, scaling, and what a layer needs."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinov3.align.channels import shrink
from napari_dinov3.align.transforms import (
    fit_matrix,
    layer_affine,
    nearest,
    point_grid,
    rotation_degrees,
    rotation_matrix,
    scaled,
    translation_matrix,
)
from napari_dinov3.align.warp import warp
from napari_dinov3.errors import InputError
from napari_dinov3.geometry import transform_points

POINTS = np.random.default_rng(0).uniform(0, 100, (12, 2))
TRUTH = {
    "translation": translation_matrix(3.5, -2),
    "rigid": rotation_matrix(25, (50, 50)) @ translation_matrix(3, 4),
    "similarity": rotation_matrix(-70, (20, 30), 1.3),
    "affine": np.array([[1.1, 0.2, 3], [-0.1, 0.9, -5], [0, 0, 1]]),
}


@pytest.mark.parametrize("model", TRUTH)
def test_exact_pairs_give_the_transform_back(model):
    got = fit_matrix(POINTS, transform_points(TRUTH[model], POINTS), model=model)
    np.testing.assert_allclose(got, TRUTH[model], atol=1e-9)


def test_weights_silence_a_wrong_pair():
    moving = transform_points(TRUTH["rigid"], POINTS)
    moving[0] += 50
    weights = np.ones(len(POINTS))
    weights[0] = 0
    np.testing.assert_allclose(fit_matrix(POINTS, moving, model="rigid", weights=weights), TRUTH["rigid"], atol=1e-9)


def test_rigid_never_mirrors():
    mirrored = POINTS * [1, -1]
    got = fit_matrix(POINTS, mirrored, model="rigid")
    assert np.linalg.det(got[:2, :2]) == pytest.approx(1)


def test_too_few_points_are_refused():
    with pytest.raises(InputError, match="at least 3"):
        fit_matrix(POINTS[:2], POINTS[:2], model="affine")
    with pytest.raises(InputError, match="one of translation"):
        fit_matrix(POINTS, POINTS, model="projective")


def test_rotation_angle_reads_back():
    assert rotation_degrees(rotation_matrix(33, (5, 9), 1.7)) == pytest.approx(33)


@pytest.mark.parametrize("factor", [2, 3])
def test_scaling_follows_block_averages(factor):
    """A blob moved in the full image is where the scaled transform says in the averaged one."""
    rows, cols = np.mgrid[:96, :96]
    full = translation_matrix(9, -6) @ rotation_matrix(5, (40, 40))

    def blob(at):
        return np.exp(-((rows - at[0]) ** 2 + (cols - at[1]) ** 2) / 50).astype(np.float32)

    def centre(image):
        return np.array([(image * axis).sum() / image.sum() for axis in np.indices(image.shape)])

    place = np.array([[41.0, 52.0]])
    moved = transform_points(full, place)[0]
    small_from = scaled(full, 1 / factor)
    got = transform_points(small_from, centre(shrink(blob(place[0]), factor))[None])[0]
    np.testing.assert_allclose(got, centre(shrink(blob(moved), factor)), atol=0.02)
    np.testing.assert_allclose(scaled(small_from, factor), full, atol=1e-9)


def test_nearest_keeps_the_image_in_place():
    matrix = nearest(TRUTH["affine"], "rigid", (80, 60))
    assert np.linalg.det(matrix[:2, :2]) == pytest.approx(1)
    points = point_grid((80, 60), 10)
    gap = transform_points(matrix, points) - transform_points(TRUTH["affine"], points)
    assert np.abs(gap.mean(axis=0)).max() < 1


def test_layer_affine_puts_moving_points_on_fixed_ones():
    matrix, world = TRUTH["affine"], np.diag([0.5, 0.25, 1])
    moving = transform_points(matrix, POINTS)
    np.testing.assert_allclose(
        transform_points(layer_affine(matrix, world_from_fixed=world), moving), POINTS * [0.5, 0.25], atol=1e-9
    )


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.float32, np.float64, np.int32])
def test_warp_keeps_type_and_range(dtype):
    image = (np.indices((20, 24)).sum(0) % 7 > 3).astype(dtype)
    out = warp(image, rotation_matrix(10, (10, 10)))
    assert out.dtype == image.dtype
    assert out.shape == image.shape
    assert set(np.unique(out)) <= {0, 1} or np.dtype(dtype).kind == "f"
    assert out.min() >= 0
    assert out.max() <= 1


def test_warp_pulls_back():
    image = np.zeros((30, 30, 3), np.uint8)
    image[20, 12] = (9, 8, 7)
    out = warp(image, translation_matrix(5, -3), shape=(25, 28), order=0)
    assert out.shape == (25, 28, 3)
    assert tuple(out[15, 15]) == (9, 8, 7)


def test_large_labels_survive_exactly():
    labels = np.full((16, 16), 614454277, np.uint32)
    assert set(np.unique(warp(labels, translation_matrix(0.4, 0.4)))) <= {0, 614454277}


def test_nan_does_not_spread():
    image = np.ones((20, 20), np.float32)
    image[3, 3] = np.nan
    assert np.isfinite(warp(image, translation_matrix(0.5, 0))).all()


def test_a_hole_stays_a_hole_and_tints_nothing_beside_it():
    image = np.full((40, 40), 100.0, np.float32)
    image[10:20, 10:20] = np.nan
    moved = warp(image, translation_matrix(2.3, -1.6))
    assert np.isnan(moved[10:16, 13:20]).all()
    seen = moved[2:30, 5:35][np.isfinite(moved[2:30, 5:35])]
    np.testing.assert_allclose(seen, 100, atol=1e-3)
