"""Known groups are found again, like planes come first, backbones that agree are at distance 0."""

from __future__ import annotations

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.errors import FeatureMismatchError, InputError
from napari_dinov3.features.grouping import (
    cluster_patches,
    first_component,
    foreground,
    gram_distance,
    nearest_planes,
    plane_vectors,
    similarity_across,
)

RNG = np.random.default_rng(0)
TRUTH = np.zeros((3, 8, 10), int)
TRUTH[:, 2:5, 3:7] = 1
TRUTH[1:, 6:, :3] = 2
CENTRES = np.eye(3, 12) * 5
FEATURES = nd.FeatureMap.from_array((CENTRES[TRUTH] + RNG.normal(0, 0.3, (3, 8, 10, 12))).astype(np.float32))


def test_the_foreground_is_the_smaller_side_of_the_first_component() -> None:
    score = first_component(FEATURES)
    inside, outside = score[TRUTH == 1], score[TRUTH == 0]
    assert inside.min() > outside.max() or inside.max() < outside.min()
    mask = foreground(FEATURES)
    assert mask[TRUTH == 1].all() and not mask[TRUTH == 0].any()
    np.testing.assert_array_equal(foreground(FEATURES, side="larger"), ~mask)
    assert (foreground(FEATURES, side="positive") ^ foreground(FEATURES, side="negative")).all()


def test_a_constant_map_has_no_foreground() -> None:
    assert not foreground(nd.FeatureMap.from_array(np.ones((1, 4, 4, 3)))).any()


def test_known_groups_are_found_and_ordered_by_size() -> None:
    labels = cluster_patches(FEATURES, clusters=3)
    np.testing.assert_array_equal(labels, TRUTH + 1)
    np.testing.assert_array_equal(labels, cluster_patches(FEATURES, clusters=3))


def test_patches_with_nan_belong_to_no_group() -> None:
    array = FEATURES.array.copy()
    array[0, 0, 0] = np.nan
    labels = cluster_patches(nd.FeatureMap.from_array(array), clusters=3)
    assert labels[0, 0, 0] == 0 and np.count_nonzero(labels == 0) == 1


@pytest.mark.parametrize("by", ["cls", "mean"])
def test_the_most_like_plane_comes_first(by: str) -> None:
    cls = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 1]], np.float32)
    array = np.broadcast_to(cls[:, None, None], (4, 2, 2, 2)).copy()
    features = nd.FeatureMap.from_array(array, cls=cls)
    planes, similarity = nearest_planes(features, 2, by=by)
    np.testing.assert_array_equal(planes, [3, 1, 0])
    assert np.all(np.diff(similarity) < 0) and similarity[0] > 0.99
    planes, similarity = nearest_planes(features, 2, among=features, count=1, by=by)
    assert (planes[0], round(float(similarity[0]), 5)) == (2, 1)
    np.testing.assert_allclose(np.linalg.norm(plane_vectors(features, by=by), axis=1), 1, rtol=1e-5)


def test_a_patch_finds_its_like_in_another_image() -> None:
    other = nd.FeatureMap.from_array(FEATURES.array[:1, ::-1].copy())
    heat = similarity_across(FEATURES, other, plane=0, row=3 * 16 + 8, col=4 * 16 + 8)
    same = TRUTH[:1, ::-1] == 1
    assert heat[same].min() > 0.9 and heat[~same].max() < 0.5


def test_backbones_that_agree_on_relations_are_at_distance_zero() -> None:
    turned = nd.FeatureMap.from_array(FEATURES.array @ np.linalg.qr(RNG.normal(size=(12, 12)))[0].astype(np.float32))
    noise = nd.FeatureMap.from_array(RNG.normal(size=(3, 8, 10, 20)).astype(np.float32))
    assert gram_distance(FEATURES, turned) < 1e-5
    assert gram_distance(FEATURES, noise) > 0.3
    with pytest.raises(FeatureMismatchError, match="Images of"):
        gram_distance(FEATURES, nd.FeatureMap.from_array(FEATURES.array[:, 1:]))


def test_a_finer_grid_is_averaged_before_backbones_are_compared() -> None:
    finer = nd.FeatureMap.from_array(FEATURES.array.repeat(2, axis=1).repeat(2, axis=2), stride=8)
    assert finer.image_shape == FEATURES.image_shape
    assert gram_distance(FEATURES, finer) < 1e-5
    assert gram_distance(finer, FEATURES) < 1e-5


def test_colours_of_the_foreground_leave_the_rest_black() -> None:
    mask = foreground(FEATURES, side="smaller")
    colours = FEATURES.pca(foreground="smaller")
    assert not colours[~mask].any()
    np.testing.assert_array_equal(colours[mask].min(axis=0), 0)  # its own components fill the range
    np.testing.assert_array_equal(colours[mask].max(axis=0), 1)
    assert np.abs(colours[mask] - FEATURES.pca()[mask]).max() > 0.1


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(InputError, match="clusters=1"):
        cluster_patches(FEATURES, clusters=1)
    with pytest.raises(InputError, match="Plane 3"):
        nearest_planes(FEATURES, 3)
    with pytest.raises(InputError, match="by='cls'"):
        plane_vectors(FEATURES, by="cls")
    with pytest.raises(InputError, match="at least two patches"):
        first_component(nd.FeatureMap.from_array(np.ones((1, 1, 1, 3))))
