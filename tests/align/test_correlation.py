"""Patch correlation and the two reference rules."""

from __future__ import annotations

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.align.correlation import (
    blank_patches,
    comparable_features,
    cross_correlate,
    estimate_translation,
    offset_scores,
    patch_correlation,
)
from napari_dinov3.errors import FeatureMismatchError, InputError
from napari_dinov3.features.feature_map import FeatureMap

SHIFTS = ((1, 1), (0, 2), (-2, -1))
RULES = ("median", "diagonal")


def grid(rows: int = 6, cols: int = 7, dim: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, cols, dim)).astype(np.float32)


def moved_image(image: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """Roll an image by pixels and blank what came in from the other side."""
    out = np.roll(image, (rows, cols), (0, 1))
    out[: max(rows, 0)] = 0
    out[out.shape[0] + min(rows, 0) :] = 0
    out[:, : max(cols, 0)] = 0
    out[:, out.shape[1] + min(cols, 0) :] = 0
    return out


def test_correlation_is_the_cosine_of_every_pair():
    a, b = grid(3, 4), grid(2, 5, seed=1)
    got = patch_correlation(a, FeatureMap.from_array(b))
    flat_a, flat_b = a.reshape(-1, 5), b.reshape(-1, 5)
    want = [[x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in flat_b] for x in flat_a]
    assert got.shape == (12, 10)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_zero_patches_correlate_with_nothing():
    a = grid(2, 2)
    a[0, 0] = 0
    assert np.all(patch_correlation(a, a)[0] == 0)


@pytest.mark.parametrize("shapes", [((3, 4), (3, 4)), ((5, 3), (2, 4)), ((1, 6), (4, 1))])
def test_fft_sums_equal_the_dense_diagonals(shapes):
    """The sum along each diagonal of the N x N matrix, written out, is what the FFT gives."""
    a, b = grid(*shapes[0]), grid(*shapes[1], seed=1)
    sums, first = cross_correlate(a, b)
    for i in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            step = (i + first[0], j + first[1])
            want = sum(
                float(a[r, c] @ b[r + step[0], c + step[1]])
                for r in range(a.shape[0])
                for c in range(a.shape[1])
                if 0 <= r + step[0] < b.shape[0] and 0 <= c + step[1] < b.shape[1]
            )
            assert sums[i, j] == pytest.approx(want, abs=1e-5)


def test_offset_scores_equal_the_mean_of_dense_diagonals():
    a, b = grid(4, 5), grid(4, 5, seed=1)
    dense = patch_correlation(comparable_features(a)[0], comparable_features(b)[0]).reshape(4, 5, 4, 5)
    scores = offset_scores(a, b)
    for row in range(-3, 4):
        for col in range(-4, 5):
            pairs = [dense[r, c, r + row, c + col] for r in range(4) for c in range(5) if 0 <= r + row < 4 and 0 <= c + col < 5]
            at = (row - scores.first[0], col - scores.first[1])
            assert scores.overlap[at] == len(pairs)
            assert scores.mean[at] == pytest.approx(float(np.mean(pairs)), abs=1e-5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("step", [(0, 0), (2, -1), (-3, 2)])
def test_both_rules_find_a_known_shift_of_random_features(rule, step):
    world = grid(20, 20, 8)
    fixed, moving = world[5:15, 5:15], world[5 - step[0] : 15 - step[0], 5 - step[1] : 15 - step[1]]
    assert tuple(estimate_translation(fixed, moving, rule=rule)) == step


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("modality", ["em", "mri", "histology", "connectomics", "atlas", "calcium"])
def test_reference_registration_table_is_zero(modality, rule):
    """Twelve cells of the reference table: always answering (0, 0) would score 2.33 patches in each."""
    for seed in (3, 11):
        image = getattr(nd.synthetic, modality)(planes=1, size=128, rng=seed).images[0]
        for backbone in ("random-projection-cnx-tiny", "random-projection-vit-large"):
            fixed = nd.extract(image, backbone=backbone)
            for step in SHIFTS:
                moving = nd.extract(moved_image(image, step[0] * 16, step[1] * 16), backbone=backbone)
                assert tuple(nd.estimate_translation(fixed, moving, rule=rule)) == step


def test_brightness_and_contrast_do_not_matter():
    image = nd.synthetic.mri(planes=1, size=128, rng=0).images[0].astype(np.float32)
    fixed = nd.extract(image, backbone="random-projection-cnx-tiny", rgb=True)
    moving = nd.extract(moved_image(image, 16, 16) * 0.5 + 40, backbone="random-projection-cnx-tiny", rgb=True)
    for rule in RULES:
        assert tuple(estimate_translation(fixed, moving, rule=rule)) == (1, 1)


def test_unrelated_maps_have_no_preferred_zero():
    """Null test: over unrelated pairs, no shift is the answer hardly more often than any other."""
    found = [tuple(estimate_translation(grid(8, 8, seed=i), grid(8, 8, seed=100 + i), rule="diagonal")) for i in range(40)]
    assert found.count((0.0, 0.0)) <= 4


def test_padding_is_blank_and_noise_is_not():
    a = grid(5, 5)
    a[:, :2] = a[0, 0]
    assert blank_patches(a).sum() == 10
    assert not blank_patches(grid(5, 5)).any()


@pytest.mark.parametrize("rule", RULES)
def test_blank_maps_do_not_move(rule):
    assert tuple(estimate_translation(np.zeros((4, 4, 3)), grid(4, 4, 3), rule=rule)) == (0, 0)
    assert tuple(estimate_translation(np.ones((4, 4, 3)), np.ones((4, 4, 3)), rule=rule)) == (0, 0)


def test_the_answer_is_an_array_of_two():
    assert np.asarray(estimate_translation(grid(), grid()), float).shape == (2,)


def test_maps_that_do_not_fit_are_refused():
    a = FeatureMap.from_array(grid())
    with pytest.raises(FeatureMismatchError, match="do not fit"):
        estimate_translation(a, FeatureMap.from_array(grid(), backbone="other"))
    with pytest.raises(InputError, match="2 planes"):
        patch_correlation(FeatureMap.from_array(np.stack([grid(), grid()])), grid())
    with pytest.raises(InputError, match="width"):
        patch_correlation(grid(dim=4), grid(dim=5))
    with pytest.raises(InputError, match="rule"):
        estimate_translation(grid(), grid(), rule="mean")


def test_matches_do_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_dinov3.align import correlation

    rng = np.random.default_rng(5)
    fixed = rng.normal(size=(9, 11, 6))
    moving = np.roll(fixed, (2, -1), (0, 1)) + rng.normal(scale=0.2, size=fixed.shape)
    whole = correlation.estimate_translation(fixed, moving)
    monkeypatch.setattr(correlation, "_BLOCK", 150)
    assert correlation.estimate_translation(fixed, moving) == whole == (2, -1)


def test_a_correlation_too_large_is_refused_with_its_size() -> None:
    grid = np.ones((20, 20, 2))
    with pytest.raises(InputError, match="GB"):
        patch_correlation(grid, grid, memory_gb=1e-4)
