"""One intensity window a stack; NaN and infinities never leak into features."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinov3.image import as_planes
from napari_dinov3.normalize import BT601, BT709, Normalization, estimate_normalization, grey_of_colour

RNG = np.random.default_rng(0)


def test_the_window_is_that_of_the_stack_not_of_a_plane() -> None:
    stack = np.stack([np.full((16, 16), level) for level in (0.0, 1.0, 2.0, 3.0)])
    window = estimate_normalization(as_planes(stack))
    assert (window.low, window.high) == (0, 3)
    assert window.apply(stack[2]).mean() == pytest.approx(2 / 3)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_intensities_land_in_0_to_1(dtype: str) -> None:
    image = (RNG.normal(1000, 200, (3, 40, 40)) / (8 if dtype == "uint8" else 1)).astype(dtype)
    out = estimate_normalization(as_planes(image)).apply(image[0])
    assert out.dtype == np.float32
    assert 0 <= out.min() < 0.05
    assert 0.95 < out.max() <= 1


def test_large_integers_keep_their_differences() -> None:
    image = np.full((32, 32), 2**40, np.int64)
    image[:16] += 10
    out = estimate_normalization(as_planes(image)).apply(image)
    assert set(np.unique(out)) == {0, 1}


def test_nan_and_infinities_do_not_count_and_become_finite() -> None:
    image = RNG.random((64, 64))
    clean = estimate_normalization(as_planes(image.copy()))
    image[0, :3] = np.nan, np.inf, -np.inf
    window = estimate_normalization(as_planes(image))
    assert window.low == pytest.approx(clean.low, abs=0.01)
    np.testing.assert_array_equal(window.apply(image)[0, :3], [0, 1, 0])


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_a_constant_or_empty_image_is_all_zero(value: float) -> None:
    image = np.full((8, 8), value)
    assert not estimate_normalization(as_planes(image)).apply(image).any()


def test_few_bright_pixels_survive_on_a_constant_ground() -> None:
    image = np.zeros((100, 100))
    image[5, 5] = 9
    assert estimate_normalization(as_planes(image)) == Normalization(0.0, 9.0)


@pytest.mark.parametrize(("dtype", "high"), [("uint8", 255.0), ("float32", 1.0)])
def test_colours_are_taken_as_they_are(dtype: str, high: float) -> None:
    image = (RNG.random((20, 20, 3)) * high * 0.5).astype(dtype)
    assert estimate_normalization(as_planes(image)) == Normalization(0.0, high)


def test_masks_are_0_and_1() -> None:
    assert estimate_normalization(as_planes(np.zeros((9, 9), bool))) == Normalization(0.0, 1.0)


@pytest.mark.parametrize("weights", [BT601, BT709])
def test_grey_stays_as_it_is_and_a_colour_weighs_what_the_standard_says(weights: tuple[float, float, float]) -> None:
    grey = RNG.random((5, 7), np.float32)
    np.testing.assert_allclose(grey_of_colour(np.repeat(grey[..., None], 3, axis=-1), weights), grey, rtol=1e-6)
    np.testing.assert_allclose(grey_of_colour(np.eye(3, 4, dtype=np.float32)[None], weights), [weights], rtol=1e-6)
