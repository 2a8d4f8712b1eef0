"""From scores to labels: smoothing along z, edges of the image, the majority; and what each needs."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinov3.errors import FeatureMismatchError, InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.features.guided_filter import guided
from napari_dinov3.features.upsample import upsample
from napari_dinov3.segment.probe import Probe


def stack(planes=7, seed=0, stride=4, noise=1.0):
    """A square that stays in place along z, in noise; returns the map, the truth and the image."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((planes, 64, 64), int)
    truth[:, 18:45, 18:45] = 1
    coarse = truth[:, stride // 2 :: stride, stride // 2 :: stride, None]
    array = coarse * [1.5, 1.0, 0.0] + rng.normal(size=(planes, 64 // stride, 64 // stride, 3)) * noise
    image = truth * 100.0 + rng.normal(size=truth.shape) * 3
    return FeatureMap.from_array(array, stride=stride), truth + 1, image


def strokes(truth):
    scribbles = np.zeros(truth.shape, int)
    scribbles[0, 5, 4:60], scribbles[0, 60, 4:60], scribbles[0, 22:42:4, 22:42] = 1, 1, 2
    return scribbles


def right(labels, truth):
    return (labels == truth).mean()


def test_neighbouring_planes_average_out_noise():
    features, truth, _ = stack()
    plain = Probe(head="linear").fit(features, strokes(truth))
    smooth = Probe(head="linear", smooth_z=1.5).fit(features, strokes(truth))
    assert right(smooth.predict(features), truth) > right(plain.predict(features), truth) + 0.02
    np.testing.assert_array_equal(smooth.predict_plane(features, 3), smooth.predict(features)[3])


def test_smoothing_along_z_is_the_gaussian_mean_of_the_scores():
    features, truth, _ = stack(planes=3)
    probe = Probe(head="linear", smooth_z=1.0).fit(features, strokes(truth))
    scores = np.stack([probe.fitted.scores(features.plane(z))[..., 0] for z in range(3)])
    weights = np.exp(-0.5 * np.arange(3) ** 2)
    expected = np.tensordot(weights / weights.sum(), scores, 1)
    shape = {"image_shape": features.image_shape, "stride": 4, "first_centre": 1.5}
    chance = 1 / (1 + np.exp(-upsample(expected, **shape)))
    np.testing.assert_allclose(probe.predict_proba_plane(features, 0)[1], chance, atol=1e-5)


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_classes_follow_the_edges_of_the_image(colour):
    features, truth, image = stack(planes=1, noise=0.1)
    image = np.stack([image, 50 - image, image * 0], axis=-1) if colour else image
    probe = Probe(head="linear", refine=6.0).fit(features, strokes(truth))
    plain = Probe(head="linear").fit(features, strokes(truth))
    assert right(probe.predict(features, image=image), truth) > 0.995 > right(plain.predict(features), truth)
    chances = probe.predict_proba(features, image=image)
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(chances[0, 1] > 0.5, probe.predict(features, image=image)[0] == 2)


def test_following_edges_needs_the_image_of_the_features():
    features, truth, image = stack(planes=1)
    probe = Probe(head="linear", refine=6.0).fit(features, strokes(truth))
    with pytest.raises(InputError, match="no image was given"):
        probe.predict(features)
    with pytest.raises(InputError, match=r"An image of shape \(1, 32, 32\)"):
        probe.predict(features, image=image[:, ::2, ::2])
    assert probe.predict_plane(features, 0, step=2).shape == (64, 64)  # a coarse answer is not refined


def test_the_majority_removes_specks_and_keeps_the_rest():
    features, truth, _ = stack(planes=1, stride=1, noise=0.8)
    plain = Probe(head="linear").fit(features, strokes(truth)).predict(features)
    clean = Probe(head="linear", median=5).fit(features, strokes(truth)).predict(features)
    assert right(clean, truth) > right(plain, truth) + 0.02
    assert clean.dtype == plain.dtype and set(np.unique(clean)) <= {1, 2}


def test_a_guided_filter_leaves_a_constant_and_steps_with_its_guide():
    guide = np.repeat(np.float32([-1, 1]), 32)[None] * np.ones((64, 1), np.float32)
    np.testing.assert_allclose(guided(np.full((64, 64), 0.3, np.float32), guide, radius=4), 0.3, atol=1e-4)
    off = np.zeros((64, 64), np.float32)
    off[:, 36:] = 1
    moved = guided(off, guide, radius=12)
    assert (moved[:, 32:36] > moved[:, 28:32].max()).all() and np.abs(np.diff(moved[32])).argmax() == 31


@pytest.mark.parametrize("head", ["linear", "kernel"])
def test_features_that_are_not_finite_are_named(head):
    features, truth, _ = stack()
    probe = Probe(head=head, smooth_z=1.0).fit(features, strokes(truth))
    features.array[4, 2, 2, 0] = np.nan
    with pytest.raises(InputError, match="Features of plane 4 hold NaN"):
        probe.predict_plane(features, 3)


def test_a_probe_names_each_difference_of_features_that_do_not_fit():
    features, truth, _ = stack()
    probe = Probe(head="linear").fit(features, strokes(truth))
    other = FeatureMap.from_array(np.zeros((1, 8, 8, 5)), stride=8, backbone="filter-bank", revision="2")
    with pytest.raises(FeatureMismatchError, match=r"backbone.*'filter-bank'.*revision.*stride 8\.0 and 4\.0; dim 5 and 3"):
        probe.predict(other)
