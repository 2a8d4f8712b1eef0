"""The linear probe is a 1x1 convolution followed by bilinear interpolation, exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_dinov3.errors import FallbackWarning, InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.features.upsample import upsample
from napari_dinov3.segment.linear_probe import LinearProbe


def random_map(dim=8, grid=(10, 13), stride=4, seed=0):
    return FeatureMap.from_array(np.random.default_rng(seed).normal(size=(2, *grid, dim)) * 3 + 5, stride=stride)


def random_scribbles(features, classes, seed=1):
    labels = np.random.default_rng(seed).integers(0, classes + 1, size=(len(features), *features.image_shape))
    return labels


@pytest.mark.parametrize("classes", [2, 4])
def test_it_equals_a_linear_map_of_the_interpolated_features(classes):
    features = random_map()
    probe = LinearProbe().fit(features, random_scribbles(features, classes))
    weights, bias = probe.convolution()
    where = {"image_shape": features.image_shape, "stride": features.stride, "first_centre": features.first_centre}
    pixels = upsample(features.plane(0), **where) @ weights + bias
    if classes == 2:
        expected = 1 + (pixels[..., 0] > 0)
        margin = np.abs(pixels[..., 0])
    else:
        expected = 1 + pixels.argmax(axis=-1)
        best = np.sort(pixels, axis=-1)
        margin = best[..., -1] - best[..., -2]
    decided = margin > 1e-4  # closer than float32 rounding of either order of operations
    np.testing.assert_array_equal(probe.predict_plane(features, 0)[decided], expected[decided])
    scores = np.concatenate([np.zeros_like(pixels), pixels], axis=-1) if classes == 2 else pixels
    exponents = np.exp(scores - scores.max(axis=-1, keepdims=True))
    probabilities = exponents / exponents.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(np.moveaxis(probe.predict_proba_plane(features, 0), 0, -1), probabilities, atol=2e-5)


def test_a_linear_border_between_two_points_lies_half_way():
    array = np.linspace(-1, 1, 9)[None, None, :, None] * np.ones((1, 9, 1, 1))
    features = FeatureMap.from_array(array, stride=16)
    scribbles = np.zeros((1, *features.image_shape), int)
    scribbles[0, :, :16], scribbles[0, :, -16:] = 1, 2
    labels = LinearProbe().fit(features, scribbles).predict(features)[0]
    middle = features.image_shape[1] / 2
    border = (labels == 1).sum(axis=1)
    assert np.all(np.abs(border - middle) <= 1)


def test_standardisation_makes_units_irrelevant():
    features = random_map()
    units = np.float32([1e-3, 1e3, 1, 1, 10, 1, 1, 0.1])
    scaled = FeatureMap.from_array(features.array * units + 7 * units, stride=4)
    scribbles = random_scribbles(features, 2)
    first, second = (LinearProbe().fit(f, scribbles).predict_proba(f) for f in (features, scaled))
    np.testing.assert_allclose(first, second, atol=2e-3)


def test_a_constant_feature_does_no_harm():
    features = random_map()
    array = np.concatenate([features.array, np.full((*features.array.shape[:3], 1), 3, np.float32)], axis=-1)
    probe = LinearProbe().fit(FeatureMap.from_array(array, stride=4), random_scribbles(features, 2))
    assert all(np.isfinite(part).all() for part in probe.convolution())


def test_it_loads_as_what_it_was(tmp_path: Path):
    features = random_map()
    probe = LinearProbe(C=0.1, class_weight={1: 2.0}).fit(features, random_scribbles(features, 2))
    loaded = LinearProbe.load(probe.save(tmp_path / "membranes.npz"))
    assert isinstance(loaded, LinearProbe) and loaded.settings == probe.settings
    np.testing.assert_array_equal(loaded.predict(features), probe.predict(features))


def test_one_class_has_no_convolution():
    features = random_map()
    with pytest.warns(FallbackWarning):
        probe = LinearProbe().fit(features, random_scribbles(features, 1))
    with pytest.raises(InputError, match="one class"):
        probe.convolution()
