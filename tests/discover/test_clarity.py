"""Noise is well posed and yet not clear; what stands out is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import napari_dinov3 as nd
from napari_dinov3.discover.clarity import clarity, scrambled
from napari_dinov3.discover.cut import CutOptions

SIDE = 128
WHITE = "white"
NOISES: dict[str, Callable[[np.random.Generator], Any]] = {
    WHITE: lambda rng: rng.normal(size=(SIDE, SIDE)),
    "counts": lambda rng: rng.poisson(3, (SIDE, SIDE)),
    "coarse": lambda rng: ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 4, mode="wrap"),
    "colours": lambda rng: rng.random((SIDE, SIDE, 3)),
    "lines": lambda rng: rng.normal(size=(SIDE, SIDE)) + 2 * rng.normal(size=(SIDE, 1)),
}


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("backbone", ["filter-bank", "random-projection-vit-large"])
def test_noise_is_not_clear(kind: str, backbone: str) -> None:
    image = NOISES[kind](np.random.default_rng(1)).astype(np.float32)
    cut = nd.tokencut(nd.extract(image, backbone=backbone, axes="yxs" if image.ndim == 3 else None))
    assert not cut.clear[0]


@pytest.mark.parametrize("stack", ["planes", "joint"])
def test_an_object_in_noise_is_clear(stack: Any) -> None:
    images = NOISES[WHITE](np.random.default_rng(0))[None].repeat(2, axis=0)
    images[:, 40:80, 50:90] += 3
    images[1] = NOISES[WHITE](np.random.default_rng(1))
    features = nd.extract(images.astype(np.float32), backbone="filter-bank")
    cut = nd.tokencut(features, stack=stack)
    assert cut.well_posed.tolist() == [True, True]
    assert cut.clear.tolist() == [True, False]


def test_scrambling_keeps_means_spectra_and_the_relation_of_features() -> None:
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.normal(size=(24, 31)), 2)
    features = np.stack([field, field**2, rng.normal(size=(24, 31))], axis=-1).astype(np.float32)
    other = scrambled(features, rng)
    np.testing.assert_allclose(other.mean(axis=(0, 1)), features.mean(axis=(0, 1)), atol=1e-6)
    flat, scrambled_flat = features.reshape(-1, 3), other.reshape(-1, 3)
    np.testing.assert_allclose(np.cov(scrambled_flat.T), np.cov(flat.T), rtol=0.02, atol=1e-3)
    assert abs(np.corrcoef(flat[:, 0], scrambled_flat[:, 0])[0, 1]) < 0.5


def test_what_cannot_be_cut_is_not_clear() -> None:
    options, everywhere = CutOptions(), np.ones((8, 8), bool)
    alike = np.ones((8, 8, 3), np.float32)
    assert not clarity(alike, everywhere, 0.5, options).clear
    assert not clarity(np.full((8, 8, 3), np.nan, np.float32), ~everywhere, 0.5, options).clear
    assert np.isnan(clarity(alike, everywhere, 0.5, CutOptions(tau=0.5)).distance)  # not asked
    two = alike.copy()
    two[2:5, 3:6] = (-1, 0, 1)
    assert clarity(two, everywhere, 0.5, options).clear
