"""Each rule between the eigenvector and the mask."""

import numpy as np
import pytest

from napari_dinov3.discover.masks import MaskOptions, boxes_of, patch_means, plane_mask, split_value
from napari_dinov3.errors import InputError


def vector_of(*rows):
    return np.array([[float(cell) for cell in row.split()] for row in rows], np.float32)


TWO_BLOBS = vector_of(
    "0 0 0 0 0 0 0",
    "0 5 5 0 0 4 0",
    "0 5 9 0 0 4 0",
    "0 0 0 0 0 4 0",
    "0 0 0 0 0 4 0",
    "0 0 0 0 0 4 0",
    "0 0 0 0 0 0 0",
)


def made(vector, **options):
    extra = {key: options.pop(key) for key in ("valid", "intensity", "clicked") if key in options}
    return plane_mask(vector, MaskOptions(**options), **extra)


def test_the_seed_component_holds_the_strongest_entry():
    result = made(TWO_BLOBS)
    assert result.seed == (2, 2)
    np.testing.assert_array_equal(result.mask, TWO_BLOBS >= 5)


def test_largest_and_all_components():
    np.testing.assert_array_equal(made(TWO_BLOBS, component="largest").mask, TWO_BLOBS == 4)
    np.testing.assert_array_equal(made(TWO_BLOBS, component="all").mask, TWO_BLOBS > 0)


def test_a_negative_strongest_entry_makes_the_lower_side_foreground():
    result = made(-TWO_BLOBS, component="all")
    np.testing.assert_array_equal(result.mask, TWO_BLOBS > 0)
    assert not result.above


def test_small_pieces_are_dropped_by_area():
    np.testing.assert_array_equal(made(TWO_BLOBS, component="all", min_area=5).mask, TWO_BLOBS == 4)
    assert not made(TWO_BLOBS, min_area=5).mask.any()


def test_invert_takes_the_other_side():
    np.testing.assert_array_equal(made(TWO_BLOBS, component="all", invert=True).mask, TWO_BLOBS == 0)


def test_the_border_rule_takes_the_side_that_touches_the_border_less():
    ring = np.zeros((6, 6), np.float32)
    ring[1:-1, 1:-1] = 0.5
    ring[0, 0] = -3  # the strongest entry lies on the border
    assert made(ring, bipartition="otsu", side="seed").mask[0, 0]
    result = made(ring - 0.01, side="border", bipartition="median", component="all")
    np.testing.assert_array_equal(result.mask, ring > 0)
    half = np.zeros((6, 6), np.float32)
    half[:, :3] = -1  # both sides touch the border alike: the strongest entry decides
    np.testing.assert_array_equal(made(half, side="border").mask, half < 0)


@pytest.mark.parametrize(("side", "expected"), [("bright", 1.0), ("dark", 0.0)])
def test_brightness_chooses_the_side(side, expected):
    vector = np.array([[3.0, 1.0, 1.0, 1.0]], np.float32)
    intensity = np.array([[0.0, 1.0, 1.0, 1.0]], np.float32)
    mask = made(vector, side=side, intensity=intensity, component="all").mask
    assert set(intensity[mask]) == {expected}


def test_a_click_chooses_side_and_component():
    result = made(TWO_BLOBS, side="click", click=(0, 0), clicked=(3, 5))
    np.testing.assert_array_equal(result.mask, TWO_BLOBS == 4)
    background = made(TWO_BLOBS, side="click", click=(0, 0), clicked=(0, 0))
    np.testing.assert_array_equal(background.mask, TWO_BLOBS == 0)


def test_opening_drops_specks_and_closing_bridges_gaps():
    speck = np.zeros((9, 9), np.float32)
    speck[2:7, 2:7] = 1
    speck[0, 8] = 1
    assert not made(speck, component="all", opening=1).mask[0, 8]
    gap = np.zeros((7, 9), np.float32)
    gap[2:5, 1:4] = gap[2:5, 5:8] = 1
    assert made(gap, component="all", closing=1).mask[3, 4]
    assert not made(gap, component="all").mask[3, 4]


@pytest.mark.parametrize("option", ["opening", "closing"])
def test_morphology_does_not_eat_a_mask_at_the_border(option):
    half = np.zeros((8, 8), np.float32)
    half[:, :4] = 1
    half[0, 0] = 1.1
    np.testing.assert_array_equal(made(half, **{option: 2}).mask, half > 0.5)


def test_an_opening_that_drops_the_seed_leaves_the_largest_piece():
    vector = np.zeros((9, 9), np.float32)
    vector[3:8, 3:8] = 1
    vector[0, 0] = 9
    np.testing.assert_array_equal(made(vector, opening=1, bipartition="gap").mask, np.zeros((9, 9), bool))
    kept = made(vector, opening=1, bipartition="median").mask
    assert kept[5, 5]
    assert not kept[0, 0]


def test_holes_are_filled_only_when_enclosed():
    ring = np.zeros((7, 7), np.float32)
    ring[1:6, 1:6] = 1
    ring[3, 3] = 0
    assert not made(ring).mask[3, 3]
    assert made(ring, fill_holes=True).mask[3, 3]
    ring[3, :] = 0
    assert not made(ring, fill_holes=True, component="all").mask[3, 3]


def test_invalid_patches_are_never_foreground():
    valid = np.ones((7, 7), bool)
    valid[1, 1] = False
    result = made(TWO_BLOBS, valid=valid, closing=2, fill_holes=True)
    assert not result.mask[1, 1]


@pytest.mark.parametrize("value", [0.0, -2.5])
def test_a_constant_eigenvector_gives_an_empty_mask(value):
    assert not made(np.full((4, 4), value, np.float32), invert=True).mask.any()


def test_split_rules_on_known_values():
    values = np.array([0, 0, 0, 1, 1, 7, 8, 8, 9, 30], np.float32)
    assert split_value(values, "mean") == pytest.approx(6.4)
    assert split_value(values, "median") == pytest.approx(4.0)
    assert split_value(values, "gap") == pytest.approx(19.5)
    balanced = np.concatenate([np.linspace(0, 1, 50), np.linspace(5, 6, 50)])
    assert 1 <= split_value(balanced, "otsu") <= 5


def test_the_gap_rule_leaves_a_hundredth_on_either_side():
    values = np.concatenate([np.linspace(0, 1, 150), np.linspace(2, 3, 150), [100.0]])
    assert 1 < split_value(values, "gap") < 2


@pytest.mark.parametrize("rule", ["mean", "gap", "otsu"])
def test_no_side_of_a_split_is_empty(rule):
    rng = np.random.default_rng(0)
    for n in (2, 3, 5, 100, 1000):
        values = rng.normal(size=n)
        above = values > split_value(values, rule)
        assert above.any()
        assert not above.all()


def test_boxes_cover_exactly_the_pixels_of_the_mask():
    mask = np.zeros((5, 6), bool)
    mask[1:3, 2:4] = mask[4, 5] = True
    boxes = boxes_of(mask, stride=16, first_centre=7.5, image_shape=(80, 96))
    np.testing.assert_array_equal(boxes, [[16, 32, 48, 64], [64, 80, 80, 96]])
    assert boxes_of(~mask & mask, stride=16, first_centre=7.5, image_shape=(80, 96)).shape == (0, 4)


def test_boxes_agree_with_upsampled_masks_at_any_stride():
    from napari_dinov3.features.upsample import upsample_nearest

    rng = np.random.default_rng(1)
    places = ((2, 0.5, (19, 24)), (16, 7.5, (150, 190)), (4, 1.5, (40, 47)), (2, 0.0, (20, 23)), (16, 8.0, (161, 170)))
    for stride, first, shape in places:
        mask = np.zeros((10, 12), bool)
        row, col = rng.integers(0, 7, 2)
        mask[row : row + 3, col : col + 4] = True
        pixels = upsample_nearest(mask, image_shape=shape, stride=stride, first_centre=first)
        rows, cols = np.nonzero(pixels)
        box = boxes_of(mask, stride=stride, first_centre=first, image_shape=shape)[0]
        np.testing.assert_array_equal(box, [rows.min(), cols.min(), rows.max() + 1, cols.max() + 1])


def test_patch_means_average_each_square():
    plane = np.arange(48).reshape(6, 8).astype(np.uint8)
    expected = plane.reshape(3, 2, 4, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(patch_means(plane, grid=(3, 4), stride=2, first_centre=0.5), expected)
    colour = np.stack([plane] * 3, axis=-1)
    np.testing.assert_allclose(patch_means(colour, grid=(3, 4), stride=2, first_centre=0.5), expected)


def test_patch_means_reach_over_a_ragged_edge():
    means = patch_means(np.ones((5, 7)), grid=(3, 4), stride=2, first_centre=0.5)
    np.testing.assert_array_equal(means, np.ones((3, 4)))


@pytest.mark.parametrize("options", [{"side": "left"}, {"component": "some"}, {"closing": -2}, {"min_area": float("nan")}])
def test_wrong_options_are_refused(options):
    with pytest.raises(InputError):
        MaskOptions(**options)
