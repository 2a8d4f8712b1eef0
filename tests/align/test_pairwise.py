"""A pair: right to a fraction of a pixel, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage import data

import napari_dinov3 as nd
from napari_dinov3.align.channels import without_specks
from napari_dinov3.align.transforms import point_grid, rotation_matrix, translation_matrix
from napari_dinov3.errors import InputError
from napari_dinov3.geometry import transform_points

SIDE, MARGIN = 192, 56
CENTRE = ((SIDE - 1) / 2, (SIDE - 1) / 2)
POINTS = point_grid((SIDE, SIDE), 24)
TRUTH = {
    "translation": translation_matrix(17.3, -9.6),
    "rigid": rotation_matrix(-7, CENTRE) @ translation_matrix(6.2, 4.1),
    "similarity": rotation_matrix(4, CENTRE, 1.03) @ translation_matrix(-5, 3),
    "affine": translation_matrix(3.3, -2.2) @ np.array([[1.02, 0.03, -3], [-0.02, 0.98, 2], [0, 0, 1]]),
}


@pytest.fixture(scope="module")
def tissue() -> np.ndarray:
    wide = SIDE + 2 * MARGIN
    return data.immunohistochemistry()[:wide, :wide].astype(np.float64).mean(-1)


def pair_of(base: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Warp once and crop afterwards, so that no border betrays the answer."""
    whole = translation_matrix(MARGIN, MARGIN) @ matrix @ translation_matrix(-MARGIN, -MARGIN)
    back = np.linalg.inv(whole)
    moved = ndimage.affine_transform(base, back[:2, :2], back[:2, 2], order=5, mode="mirror")
    return tuple(np.ascontiguousarray(x[MARGIN:-MARGIN, MARGIN:-MARGIN], np.float32) for x in (base, moved))


def error(pair, matrix) -> float:
    return float(np.median(np.linalg.norm(pair.map_points(POINTS) - transform_points(matrix, POINTS), axis=1)))


@pytest.mark.parametrize("model", TRUTH)
def test_clean_pairs_are_right_to_a_hundredth_of_a_pixel(tissue, model):
    fixed, moving = pair_of(tissue, TRUTH[model])
    pair = nd.align_pair(fixed, moving, model=model)
    assert not pair.refused
    assert error(pair, TRUTH[model]) < 0.01


@pytest.mark.parametrize("degrees", [90, -120])
def test_large_turns_are_found(tissue, degrees):
    truth = rotation_matrix(degrees, CENTRE)
    fixed, moving = pair_of(tissue, truth)
    assert error(nd.align_pair(fixed, moving, model="rigid", backbone=None), truth) < 0.02


def test_inverted_contrast_and_shading_do_not_matter(tissue):
    fixed, moving = pair_of(tissue, TRUTH["rigid"])
    shade = np.linspace(0.7, 1.3, SIDE, dtype=np.float32)
    changed = (255 - moving) * shade + np.random.default_rng(0).normal(0, 5, moving.shape).astype(np.float32)
    pair = nd.align_pair(fixed, changed, model="rigid", backbone=None)
    assert error(pair, TRUTH["rigid"]) < 0.05


@pytest.mark.parametrize("kind", ["uint8", "uint16", "rgb", "nan", "smaller"])
def test_any_image_will_do(tissue, kind):
    fixed, moving = pair_of(tissue, TRUTH["translation"])
    truth = TRUTH["translation"]
    if kind == "uint8":
        fixed, moving = fixed.astype(np.uint8), moving.astype(np.uint8)
    elif kind == "uint16":
        fixed, moving = (fixed * 200).astype(np.uint16), (moving * 200).astype(np.uint16)
    elif kind == "rgb":
        moving = np.stack([moving] * 3, -1).astype(np.uint8)
    elif kind == "nan":
        moving = moving.copy()
        moving[:20, 50:90] = np.nan
    else:
        moving, truth = moving[10:170, 20:], translation_matrix(-10, -20) @ truth
    pair = nd.align_pair(fixed, moving, model="translation", backbone=None)
    assert pair.moving_shape == moving.shape[:2]
    assert error(pair, truth) < 0.1


def test_identical_images_do_not_move(tissue):
    fixed, _ = pair_of(tissue, np.eye(3))
    pair = nd.align_pair(fixed, fixed, model="affine", backbone=None)
    np.testing.assert_allclose(pair.matrix, np.eye(3), atol=1e-6)


def test_unrelated_images_are_refused(tissue):
    fixed = tissue[:128, :128]
    pair = nd.align_pair(fixed, data.camera()[100:228, 60:188], model="rigid", rotation=15)
    assert pair.refused
    assert "do not match" in pair.reason
    assert pair.quality < 6.5 or pair.match.lead < 1.4
    with pytest.raises(InputError, match="do not match"):
        pair.map_points(POINTS)
    with pytest.raises(InputError, match="do not match"):
        pair.apply(fixed)


@pytest.mark.parametrize("hopeless", [np.full((64, 64), 7.0), np.zeros((64, 64)), np.eye(3), np.full((64, 64), np.nan)])
def test_empty_and_tiny_images_are_refused(hopeless):
    image = nd.synthetic.em(planes=1, size=64, rng=0).images[0]
    for a, b in ((image, hopeless), (hopeless, image), (hopeless, hopeless)):
        assert nd.align_pair(a, b, model="rigid").refused


def test_apply_lays_moving_on_fixed(tissue):
    fixed, moving = pair_of(tissue, TRUTH["rigid"])
    pair = nd.align_pair(fixed, moving, model="rigid", backbone=None)
    inner = (slice(40, 150), slice(40, 150))
    assert np.abs(pair.apply(moving)[inner] - fixed[inner]).mean() < 1.0
    labels = (moving > 150).astype(np.int32) * 70000
    assert set(np.unique(pair.apply(labels))) <= {0, 70000}
    with pytest.raises(InputError, match="same size"):
        pair.apply(moving[:50])


def test_stacks_and_wrong_models_are_refused():
    stack = np.zeros((3, 20, 20))
    with pytest.raises(InputError, match="3 planes"):
        nd.align_pair(stack, stack)
    with pytest.raises(InputError, match="model='perspective'"):
        nd.align_pair(stack[0], stack[0], model="perspective")
    with pytest.raises(InputError, match="rotation"):
        nd.align_pair(np.eye(30), np.eye(30), rotation=400, backbone=None)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_scattered_missing_pixels_do_not_hide_a_match(share):
    rng = np.random.default_rng(0)
    moving = nd.synthetic.em(planes=1, size=128, rng=0).images[0].astype(np.float32)
    fixed = np.roll(moving, (-3, -4), (0, 1))
    fixed[rng.random(fixed.shape) < share] = np.nan
    pair = nd.align_pair(fixed, moving, model="translation", backbone=None)
    np.testing.assert_allclose(pair.matrix[:2, 2], [3, 4], atol=0.1)


def test_only_specks_and_thin_lines_are_filled():
    ramp = np.add.outer(np.arange(20.0), np.arange(20.0)).astype(np.float32)
    holed = ramp.copy()
    holed[3, 4] = holed[:, 15] = holed[8:12, 5:9] = np.nan
    filled = without_specks(holed)
    hole = np.zeros(ramp.shape, bool)
    hole[8:12, 5:9] = True
    np.testing.assert_array_equal(np.isnan(filled), hole)
    np.testing.assert_allclose(filled[[3, 5], [4, 15]], ramp[[3, 5], [4, 15]], atol=0.2)
