"""Pairs whose pixels differ in size, the way back of a pair, and outlines that can be bent."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import napari_dinov3 as nd
from napari_dinov3.align.elastic import SplineField
from napari_dinov3.align.outlines import outline
from napari_dinov3.align.pair_alignment import PairAlignment
from napari_dinov3.align.pixel_size import CommonPixels
from napari_dinov3.align.quality import MatchQuality
from napari_dinov3.align.transforms import rotation_matrix
from napari_dinov3.align.warp import warp
from napari_dinov3.geometry import transform_points

SURE = MatchQuality(z=50.0, lead=5.0, agreement=0.9, overlap=1.0)


def blobs(size: int = 240) -> np.ndarray:
    return gaussian_filter(np.random.default_rng(3).normal(size=(size, size)), 3).astype(np.float32)


@pytest.mark.parametrize("coarser", ["fixed", "moving"])
def test_a_rigid_fit_holds_in_the_world_whichever_image_is_coarser(coarser: str) -> None:
    image, turn = blobs(), rotation_matrix(6, (120, 120))
    other = warp(image, turn)
    fine, coarse = nd.as_planes(image, spacing=1.0), nd.as_planes(other.reshape(80, 3, 80, 3).mean(axis=(1, 3)), spacing=3.0)
    step = np.diag([3.0, 3.0, 1.0])
    step[:2, 2] = 1.0
    truth = np.linalg.inv(step) @ np.linalg.inv(turn)  # fine to coarse
    pair = [fine, coarse]
    if coarser == "fixed":
        pair, truth = pair[::-1], np.linalg.inv(truth)
    found = nd.align_pair(*pair, model="rigid", backbone=None)
    assert found.fixed_shape == pair[0].shape[1:]
    points = np.array([[0.3, 0.3], [0.3, 0.7], [0.7, 0.4]]) * found.fixed_shape
    off = np.linalg.norm(found.map_points(points) - transform_points(truth, points), axis=1)
    assert off.max() < (0.1 if coarser == "moving" else 0.3)  # a tenth of a coarse pixel, in pixels of the moving image


def test_an_elastic_fit_of_common_pixels_means_the_same_in_own_pixels() -> None:
    fixed, moving = nd.as_planes(blobs(), spacing=1.0), nd.as_planes(blobs(60), spacing=(4.0, 8.0))
    common = CommonPixels(fixed, moving)
    bend = SplineField(np.random.default_rng(0).normal(0, 2, (2, 11, 11)), 30.0)
    shapes = {"fixed_shape": common.fixed.shape, "moving_shape": common.moving.shape}
    pair = PairAlignment(matrix=rotation_matrix(3), field=bend, model="elastic", match=SURE, **shapes)
    own = common.in_own_pixels(pair)
    at = np.random.default_rng(1).uniform(20, 200, (20, 2))
    there = pair.map_points(transform_points(np.linalg.inv(common.fixed_from_common), at))
    np.testing.assert_allclose(own.map_points(at), transform_points(common.moving_from_common, there), atol=1e-9)


def test_map_back_undoes_map_points_of_an_elastic_pair() -> None:
    bend = SplineField(np.random.default_rng(0).normal(0, 2, (2, 11, 11)), 30.0)
    pair = PairAlignment(
        matrix=rotation_matrix(10, (100, 100)),
        field=bend,
        model="elastic",
        fixed_shape=(240, 240),
        moving_shape=(240, 240),
        match=SURE,
    )
    at = np.random.default_rng(1).uniform(20, 200, (50, 2))
    np.testing.assert_allclose(pair.map_back(pair.map_points(at)), at, atol=1e-3)


def test_outlines_keep_their_shape() -> None:
    box = np.array([[1, 10, 20], [1, 10, 60], [1, 30, 60], [1, 30, 20]], float)
    edge = outline(box, "rectangle")
    assert {tuple(corner) for corner in box} <= {tuple(point) for point in edge}
    assert len(edge) > 8
    round_ = outline(box, "ellipse") - (1, 20, 40)
    np.testing.assert_allclose((round_[:, 1] / 10) ** 2 + (round_[:, 2] / 20) ** 2, 1)
    np.testing.assert_allclose(outline(box, "path")[[0, -1]], box[[0, -1]])
