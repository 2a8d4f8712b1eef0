"""The polish: as precise as noise allows, and no further than noise explains."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_dinov3.align.channels import comparable_channels
from napari_dinov3.align.matched import matched_terms
from napari_dinov3.align.refine import polish, refine
from napari_dinov3.align.tones import same_tones
from napari_dinov3.align.transforms import translation_matrix

SHIFT = (3.4, -2.7)


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    rng = np.random.default_rng(0)
    image = sum(ndimage.gaussian_filter(rng.normal(size=(300, 300)), s) * s for s in (2, 5, 11))
    return (image - image.min()) / np.ptp(image)


def noisy_pair(scene: np.ndarray, seed: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    moved = ndimage.shift(scene, SHIFT, order=5, mode="mirror")
    return tuple((i[40:260, 40:260] + rng.normal(0, noise, (220, 220))).astype(np.float32) for i in (scene, moved))


def test_polish_is_more_precise_than_the_channels_where_noise_is_the_limit(scene):
    errors = []
    for seed in range(4):
        fixed, moving = noisy_pair(scene, seed, 0.15)
        start = refine(comparable_channels(fixed), moving, translation_matrix(3, -3), model="translation")
        done = polish(fixed, moving, start, model="translation")
        errors.append([np.linalg.norm(m[:2, 2] - SHIFT) for m in (start, done)])
    before, after = np.sqrt(np.mean(np.square(errors), axis=0))
    assert after < 0.9 * before


def test_the_standard_error_it_states_is_the_error_it_makes(scene):
    found = []
    for seed in range(8):
        fixed, moving = noisy_pair(scene, seed, 0.1)
        done = polish(fixed, moving, translation_matrix(*SHIFT), model="translation")
        found.append(done[:2, 2] - SHIFT)
    pulled = ndimage.shift(moving, np.negative(SHIFT), order=3, mode="nearest").astype(np.float32)
    stated = matched_terms(fixed, pulled).standard_error
    made = np.sqrt(np.mean(np.square(found)))
    assert 0.4 < made / stated < 2.5


def test_a_brightness_curve_and_shading_do_not_pull(scene):
    shaded = scene**1.4 * np.linspace(0.85, 1.15, 300)
    moved = ndimage.shift(shaded, SHIFT, order=5, mode="mirror")
    rng = np.random.default_rng(1)
    fixed, moving = ((i[40:260, 40:260] + rng.normal(0, 0.01, (220, 220))).astype(np.float32) for i in (scene, moved))
    done = polish(fixed, moving, translation_matrix(*SHIFT), model="translation")
    assert np.abs(done[:2, 2] - SHIFT).max() < 0.02


def test_tones_follow_an_inverted_curve(scene):
    image = scene.astype(np.float32)
    known = np.ones(image.shape, bool)
    same = same_tones(image, 1 - image**1.3, known)
    assert np.abs(same - image)[20:-20, 20:-20].mean() < 0.02


def test_noise_alone_has_nothing_to_polish():
    rng = np.random.default_rng(2)
    a, b = (rng.normal(size=(128, 128)).astype(np.float32) for _ in range(2))
    assert matched_terms(a, b) is None or matched_terms(a, b).standard_error > 0.1


def test_resampling_does_not_pull_the_finest_detail():
    rng = np.random.default_rng(3)
    fine = ndimage.gaussian_filter(rng.normal(size=(300, 300)), 0.8)  # much of it near the finest frequencies
    moved = ndimage.shift(fine, SHIFT, order=5, mode="mirror")
    fixed, moving = (i[40:260, 40:260].astype(np.float32) for i in (fine, moved))
    done = polish(fixed, moving, translation_matrix(3.38, -2.68), model="translation")
    np.testing.assert_allclose(done[:2, 2], SHIFT, atol=2e-3)
