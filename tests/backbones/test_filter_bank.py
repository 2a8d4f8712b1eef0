"""The filter bank: what its numbers mean, and that tiles, batches and channels do not change them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

import napari_dinov3 as nd
from napari_dinov3.backbones.filter_bank import SIGMAS
from napari_dinov3.backbones.registry import backbone_facts, load_backbone

PER_SIGMA = {0.5: 4, 1.0: 6, 2.0: 6, 4.0: 6, 8.0: 6, 16.0: 4}
FIRST = dict(zip(SIGMAS, np.cumsum([0, *PER_SIGMA.values()])[:-1], strict=True))
SMOOTH, EDGE, LARGER, SMALLER = range(4)  # within a scale; structure tensor follows


def embed(image, stride=2):
    return load_backbone("filter-bank", stride=stride).embed(np.asarray(image, np.float32)[None]).patches[0]


def texture(shape, seed=0):
    image = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1.5)
    return ((image - image.min()) / np.ptp(image)).astype(np.float32)


def disc(size, radius):
    rows, cols = np.indices((size, size)) - (size - 1) / 2
    return (np.hypot(rows, cols) <= radius).astype(np.float32)


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_the_grid_covers_the_image_and_the_width_is_as_registered(stride):
    facts = backbone_facts("filter-bank")
    assert embed(texture((64, 48)), stride).shape == (64 // stride, 48 // stride, facts.width)
    assert embed(texture((64, 48, 3)), stride).shape[-1] == facts.width_rgb
    assert stride in facts.strides


def test_colours_are_their_channels_side_by_side():
    image = texture((40, 40, 3))
    np.testing.assert_array_equal(embed(image), np.concatenate([embed(image[..., c]) for c in range(3)], axis=-1))


def test_a_batch_equals_its_images():
    images = np.stack([texture((40, 40), seed) for seed in range(3)])
    batch = load_backbone("filter-bank").embed(images).patches
    for image, patches in zip(images, batch, strict=True):
        np.testing.assert_array_equal(patches, embed(image))


def test_a_constant_image_has_no_edges():
    patches = embed(np.full((64, 64), 0.25))
    smooth = [FIRST[sigma] + SMOOTH for sigma in SIGMAS]
    np.testing.assert_allclose(patches[..., smooth], 0.25, atol=1e-6)
    assert np.abs(np.delete(patches, smooth, axis=-1)).max() < 1e-5


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_smoothed_image_is_a_gaussian_even_where_it_was_computed_on_a_smaller_image(sigma):
    image = texture((256, 256))
    full = ndimage.gaussian_filter(image, sigma, mode="nearest").reshape(128, 2, 128, 2).mean(axis=(1, 3))
    inside = slice(32, 96)  # at the border the outermost cell, not the outermost pixel, is continued
    np.testing.assert_allclose(embed(image)[inside, inside, FIRST[sigma]], full[inside, inside], atol=0.005)


@pytest.mark.parametrize("radius, best", [(3, 2.0), (6, 4.0), (12, 8.0), (23, 16.0)])
def test_a_disc_answers_most_at_its_own_scale(radius, best):
    # scale-normalised, the Hessian of a disc of radius r peaks at sigma = r / sqrt(2)
    patches = embed(disc(256, radius))
    answers = {sigma: -patches[63:65, 63:65, FIRST[sigma] + SMALLER].mean() for sigma in SIGMAS}
    assert max(answers, key=answers.__getitem__) == best


def test_a_bright_line_curves_one_way_and_an_edge_is_found_where_it_is():
    image = np.zeros((64, 64), np.float32)
    image[:, 31:33] = 1
    line = embed(image)[16, 15:17, FIRST[1.0] + LARGER : FIRST[1.0] + SMALLER + 1].mean(axis=0)
    assert line[1] < -0.1 and abs(line[0]) < 0.02
    step = np.repeat(np.float32([0, 1]), 32)[None] * np.ones((64, 1), np.float32)
    assert embed(step)[16, :, FIRST[1.0] + EDGE].argmax() in (15, 16)


def test_turning_the_image_turns_the_features():
    image = texture((64, 64))
    np.testing.assert_allclose(embed(np.rot90(image)), np.rot90(embed(image)), atol=1e-5)


@pytest.mark.parametrize("image", [disc(128, 20), np.random.default_rng(0).random((128, 128)), np.indices((128, 128)).sum(0) % 2])
def test_half_precision_is_enough(image):
    patches = embed(image)
    assert np.abs(patches).max() < 100  # float16 holds 65504
    spread = patches.std(axis=(0, 1))
    error = np.abs(patches.astype(np.float16).astype(np.float32) - patches).max(axis=(0, 1))
    assert np.all(error <= 0.02 * spread + 2.0**-11)  # half a unit in the last place of numbers up to 2


@pytest.mark.parametrize("tile_size", [64, 90, 128])
@pytest.mark.parametrize("stride", [1, 2, 8])
def test_tiles_change_nothing(stride, tile_size):
    image = np.random.default_rng(1).random((230, 300))  # sides that are no multiple of anything
    whole, tiled = (nd.extract(image, backbone="filter-bank", stride=stride, tile_size=side).array for side in (512, tile_size))
    np.testing.assert_array_equal(tiled, whole)


@pytest.mark.parametrize("shape", [(2, 2), (2, 40), (8, 6)])
def test_images_smaller_than_the_filters_are_embedded(shape):
    patches = embed(texture((64, 64))[: shape[0], : shape[1]])
    assert patches.shape == (shape[0] // 2, shape[1] // 2, 32) and np.isfinite(patches).all()
