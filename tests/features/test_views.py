"""PCA colours, similarity and Gram matrix of feature maps with known structure."""

from __future__ import annotations

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.errors import InputError
from napari_dinov3.features.feature_map import FeatureMap

RNG = np.random.default_rng(0)


def _two_kinds(planes: int = 3) -> tuple[FeatureMap, np.ndarray]:
    """Patches of two kinds: the left half points one way, the right half another."""
    kinds = RNG.normal(size=(2, 8))
    grid = np.zeros((planes, 6, 8, 8))
    grid[:, :, :4], grid[:, :, 4:] = kinds[0], kinds[1]
    return FeatureMap.from_array(grid + RNG.normal(scale=0.01, size=grid.shape), stride=4), kinds


def test_colours_are_the_same_for_the_same_patch_on_every_plane() -> None:
    base = RNG.normal(size=(5, 6, 16))
    features = FeatureMap.from_array(np.stack([base, base[::-1]]))
    colours = features.pca()
    np.testing.assert_allclose(colours[0], colours[1][::-1], atol=1e-6)
    assert colours.shape == (2, 5, 6, 3)
    assert colours.min() >= 0 and colours.max() <= 1


def test_the_first_component_tells_the_two_kinds_apart() -> None:
    features, _ = _two_kinds()
    red = features.pca()[..., 0]
    assert abs(red[:, :, :4].mean() - red[:, :, 4:].mean()) > 0.9


@pytest.mark.parametrize("dim", [1, 2])
def test_missing_components_are_grey(dim: int) -> None:
    colours = FeatureMap.from_array(RNG.normal(size=(1, 4, 4, dim))).pca()
    assert (colours[..., dim:] == 0.5).all()


def test_uniform_features_are_grey() -> None:
    assert (FeatureMap.from_array(np.ones((2, 4, 4, 8))).pca() == 0.5).all()


def test_similarity_to_a_point_is_the_cosine_on_all_planes() -> None:
    features, kinds = _two_kinds()
    heat = features.similarity(plane=1, row=10, col=2)
    assert heat.shape == (3, 6, 8)
    cosine = kinds[0] @ kinds[1] / np.prod(np.linalg.norm(kinds, axis=1))
    np.testing.assert_allclose(heat[:, :, :4], 1, atol=0.01)
    np.testing.assert_allclose(heat[:, :, 4:], cosine, atol=0.02)
    np.testing.assert_array_equal(features.similarity(plane=1, row=10, col=2, planes=[2]), heat[2:])


def test_similarity_to_a_region_is_that_of_its_patches() -> None:
    features, _ = _two_kinds()
    mask = np.zeros((3, 24, 32), bool)
    mask[2, 3:9, 2:12] = True
    heat = features.similarity_to_region(mask)
    assert heat[:, :, :4].min() > 0.99 > heat[:, :, 4:].max()
    np.testing.assert_allclose(features.similarity_to_region(mask[2], plane=2), heat)


def test_filter_bank_similarity_is_not_ruled_by_the_largest_number() -> None:
    image = np.zeros((64, 64), np.float32)
    image[:, 32:] = RNG.normal(size=(64, 32)) * 0.2
    heat = nd.extract(image + 0.5).similarity(plane=0, row=32, col=8)[0]
    assert heat[8:24, 2:10].mean() > heat[8:24, 22:30].mean() + 0.5


@pytest.mark.parametrize(
    ("mask", "options", "names"),
    [
        (np.zeros((3, 24, 32)), {}, "empty"),
        (np.ones((24, 32)), {}, "plane="),
        (np.ones((3, 20, 32)), {}, "shape"),
        (np.ones((24, 32)), {"plane": 3}, "shape"),
    ],
)
def test_an_unfit_region_is_refused(mask: np.ndarray, options: dict, names: str) -> None:
    with pytest.raises(InputError, match=names):
        _two_kinds()[0].similarity_to_region(mask, **options)


def test_the_gram_matrix_holds_all_cosines() -> None:
    features = FeatureMap.from_array(RNG.normal(size=(2, 3, 4, 8)))
    gram = features.gram(plane=1)
    unit = features.array[1].reshape(12, 8)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    np.testing.assert_allclose(gram, unit @ unit.T, atol=1e-6)


def test_a_gram_matrix_too_large_is_refused_with_its_size() -> None:
    with pytest.raises(InputError, match="GB"):
        FeatureMap.from_array(np.zeros((1, 20, 20, 2))).gram(max_patches=100)
    with pytest.raises(InputError, match="Plane 1"):
        FeatureMap.from_array(np.zeros((1, 2, 2, 2))).gram(plane=1)
