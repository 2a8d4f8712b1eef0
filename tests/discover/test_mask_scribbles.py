"""What a cut hands to the next step: scribbles, numbered pieces, the histogram of similarities."""

import numpy as np
import pytest

from napari_dinov3.discover.mask_scribbles import mask_to_scribbles
from napari_dinov3.discover.similarities import similarities
from napari_dinov3.discover.tokencut import tokencut
from napari_dinov3.features.feature_map import FeatureMap


@pytest.fixture
def features() -> np.ndarray:
    array = np.zeros((2, 12, 12, 2), np.float32)
    array[..., 0] = 1
    array[:, 2:6, 3:8] = (0, 1)
    array[1, 6:8, 3:8] = (0, 1)
    return array


def test_scribbles_keep_away_from_outlines():
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True
    mask[5:8, 5:50] = True  # thinner than the margin
    scribbles = mask_to_scribbles(mask, margin=6)
    assert set(np.unique(scribbles)) == {0, 1, 2}
    assert mask[scribbles == 2].all()
    assert not mask[scribbles == 1].any()
    assert not scribbles[14:26, 20:24].any()
    assert (scribbles[6, 10:45] == 2).all()


@pytest.mark.parametrize("value", [False, True])
def test_nothing_is_scribbled_without_an_outline(value):
    assert not mask_to_scribbles(np.full((8, 8), value), margin=2).any()


def test_a_cut_gives_scribbles_and_numbered_pieces(features):
    cut = tokencut(features, tau=0.5)
    scribbles = cut.scribbles()
    assert scribbles.shape == cut.masks.shape
    assert scribbles.dtype == np.uint8
    assert cut.masks[scribbles == 2].all()
    assert cut.labels.max() == 1  # the pieces of the two planes overlap
    np.testing.assert_array_equal(cut.labels > 0, cut.masks)


def test_the_histogram_says_how_many_pairs_a_tau_links(features):
    found = similarities(FeatureMap.from_array(features))
    unit = features.reshape(2, -1, 2)
    linked = np.mean([np.mean((plane @ plane.T)[np.triu_indices(144, 1)] > 0.5) for plane in unit])
    assert sum(found.shares) == pytest.approx(1)
    assert found.above(0.5) == pytest.approx(linked)
    assert found.above(1.0) == 0
    assert found.above(-1.0) == pytest.approx(1)


def test_maps_without_a_pair_have_an_empty_histogram():
    assert sum(similarities(FeatureMap.from_array(np.full((1, 3, 3, 2), np.nan))).shares) == 0
    assert sum(similarities(FeatureMap.from_array(np.ones((1, 1, 1, 2)))).shares) == 0
