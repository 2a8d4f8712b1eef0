"""Images at the edge of what can be aligned: the right answer, or a refusal that says why."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

import napari_dinov3 as nd
from napari_dinov3.align.transforms import MODELS
from napari_dinov3.errors import IllPosedWarning, InputError

SIDE = 144


@pytest.fixture(scope="module")
def tissue() -> np.ndarray:
    return data.immunohistochemistry()[:SIDE, :SIDE].astype(np.float32).mean(-1)


@pytest.mark.parametrize("model", MODELS)
def test_identical_images_stay_where_they_are(tissue, model):
    pair = nd.align_pair(tissue, tissue, model=model, backbone=None)
    np.testing.assert_allclose(pair.map_points([[3, 5], [100, 140]]), [[3, 5], [100, 140]], atol=1e-6)


@pytest.mark.parametrize(
    ("hopeless", "why"),
    [
        (np.arange(9.0).reshape(3, 3), r"too small \(3 x 3 pixels; 16 a side needed\)"),
        (np.full((64, 64), 7.0), "of one brightness"),
        (np.full((64, 64), np.nan), "too few pixels with a value"),
    ],
)
def test_hopeless_images_are_refused_by_name(tissue, hopeless, why):
    for model in ("rigid", "elastic"):
        pair = nd.align_pair(tissue, hopeless, model=model, backbone=None)
        assert pair.refused
        with pytest.raises(InputError, match=f"do not match: the moving image .*{why}"):
            pair.map_points([[0, 0]])
        assert "the fixed image" in nd.align_pair(hopeless, tissue, model=model, backbone=None).reason


def test_images_without_pixels_are_refused(tissue):
    for empty in (np.zeros((0, 0)), np.zeros((0, 20)), np.zeros((0, 20, 20))):
        with pytest.raises(InputError, match="no pixels"):
            nd.align_pair(tissue, empty)
        with pytest.raises(InputError, match="no pixels"):
            nd.align_stack(empty)


@pytest.mark.parametrize(("turns", "model"), [(1, "affine"), (2, "rigid")])
def test_quarter_turns_of_images_that_are_not_square(tissue, turns, model):
    fixed = tissue[:, :112]
    pair = nd.align_pair(fixed, np.rot90(fixed, turns), model=model, backbone=None)
    assert not pair.refused
    np.testing.assert_allclose(pair.apply(np.rot90(fixed, turns))[8:-8, 8:-8], fixed[8:-8, 8:-8], atol=1.0)


@pytest.mark.parametrize(("kind", "model"), [("unrelated", "affine"), ("noise", "rigid"), ("mirrored", "translation")])
def test_what_does_not_match_is_refused_over_the_whole_circle(tissue, kind, model):
    rng = np.random.default_rng(0)
    other = {"unrelated": data.camera()[100:244, 60:204], "noise": rng.random((SIDE, SIDE)), "mirrored": tissue[:, ::-1]}[kind]
    pair = nd.align_pair(tissue, other, model=model, backbone=None)
    assert pair.refused
    assert "standard deviations" in pair.reason


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int32, np.float64])
def test_any_type_of_number_will_do(tissue, dtype):
    image = tissue > 128 if dtype is bool else (tissue * (100 if np.dtype(dtype).itemsize > 1 else 1)).astype(dtype)
    pair = nd.align_pair(image, np.roll(image, (4, -7), (0, 1)), model="rigid", backbone=None)
    np.testing.assert_allclose(pair.map_points([[60, 60]]), [[64, 53]], atol=0.05)


def test_colour_against_grey_and_a_small_image_in_a_large_one():
    colour = data.immunohistochemistry()[:200, :200]
    grey = colour.mean(-1)[30:130, 50:170]
    pair = nd.align_pair(colour, grey, model="rigid", backbone=None)
    np.testing.assert_allclose(pair.map_points([[80, 100]]), [[50, 50]], atol=0.05)
    assert pair.apply(grey).shape == (200, 200)
    back = nd.align_pair(grey, colour, model="rigid", backbone=None)
    assert back.apply(colour).shape == (100, 120, 3)


def test_a_stack_of_quarter_turns(tissue):
    stack = np.stack([np.rot90(tissue, k) for k in range(4)])
    path = nd.align_stack(stack, model="rigid", backbone=None, drift="first", reach=(1,))
    assert path.bad == ()
    inner = (slice(30, -30),) * 2
    for plane in path.apply(stack):
        np.testing.assert_allclose(plane[inner], tissue[inner], atol=2.0)


@pytest.mark.parametrize("model", MODELS)
def test_stacks_of_one_and_of_copies_stay_where_they_are(tissue, model):
    for count in (1, 3):
        path = nd.align_stack(np.stack([tissue[:96, :96]] * count), model=model, backbone=None)
        assert path.bad == ()
        np.testing.assert_allclose(path.transforms, np.tile(np.eye(3), (count, 1, 1)), atol=1e-6)


def test_a_stack_of_three_pixels_a_side_says_that_nothing_matches():
    with pytest.warns(IllPosedWarning, match="No section matches"):
        path = nd.align_stack(np.arange(36.0).reshape(4, 3, 3), backbone=None)
    assert path.bad == (0, 1, 2, 3)
