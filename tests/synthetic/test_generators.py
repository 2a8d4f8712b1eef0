"""Every modality: shapes, seeds, scale, continuity through planes and known shifts."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.errors import InputError
from napari_dinov3.synthetic import MODALITIES

COLOUR = {"mri", "histology", "atlas"}
NAMES = sorted(MODALITIES)


@pytest.mark.parametrize("name", NAMES)
def test_default_is_one_reference_plane(name):
    sample = MODALITIES[name]()
    assert sample.images.shape == (1, 128, 128) + ((3,) if name in COLOUR else ())
    assert sample.images.dtype == np.uint8 and sample.masks.dtype == bool
    assert sample.masks.shape == (1, 128, 128)
    assert sample.rgb == (name in COLOUR)
    assert sample.modality == name
    assert not sample.shifts.any() and sample.shifts.shape == (1, 2)


@pytest.mark.parametrize("name", NAMES)
def test_name_is_the_function_even_after_importing_the_module(name):
    module = importlib.import_module(f"napari_dinov3.synthetic.{name}")
    assert getattr(nd.synthetic, name) is MODALITIES[name] is getattr(module, name)
    assert getattr(nd.synthetic, name)(size=16).images.shape[1:3] == (16, 16)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_sample_and_other_seed_other_sample(name):
    first, again, other = (MODALITIES[name](planes=3, size=64, rng=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.masks, again.masks)
    assert (first.masks != other.masks).any()
    passed = MODALITIES[name](planes=3, size=64, rng=np.random.default_rng(4))
    np.testing.assert_array_equal(first.images, passed.images)


@pytest.mark.parametrize("name", NAMES)
def test_objects_differ_from_their_surround_in_the_way_of_the_modality(name):
    inside, outside = [], []
    for seed in range(8):
        sample = MODALITIES[name](rng=seed)
        image = sample.images[0].astype(float)
        if name == "mri":  # red stands out against the other channels; the gradient hides it in each alone
            image = image[..., 0] - image[..., 1]
        elif name == "atlas":  # greenish: green above the mean of red and blue
            image = image[..., 1] - image[..., [0, 2]].mean(axis=-1)
        elif name == "histology":
            image = -image.mean(axis=-1)
        inside.append(image[sample.masks[0]].mean())
        outside.append(image[~sample.masks[0]].mean())
    assert np.mean(inside) > np.mean(outside) + 5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [100, (48, 130)])
def test_any_size_and_objects_in_proportion(name, size):
    rows, cols = (size, size) if isinstance(size, int) else size
    sample = MODALITIES[name](planes=2, size=size, rng=1)
    assert sample.masks.shape == (2, rows, cols)
    np.testing.assert_allclose(sample.spacing[1] * min(rows, cols), MODALITIES[name]().spacing[1] * 128)


@pytest.mark.parametrize("name", NAMES)
def test_a_finer_image_shows_the_same_scene(name):
    coarse, fine = (MODALITIES[name](size=size, rng=2).masks[0] for size in (128, 512))
    pooled = fine.reshape(128, 4, 128, 4).mean(axis=(1, 3)) > 0.5
    overlap = (coarse & pooled).sum() / (coarse | pooled).sum()
    assert overlap > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_objects_continue_through_planes(name):
    masks = MODALITIES[name](planes=12, size=128, rng=3).masks
    both = (masks[1:] & masks[:-1]).sum()
    assert both / ((masks[1:].sum() + masks[:-1].sum()) / 2) > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_texture_continues_through_planes(name):
    images = MODALITIES[name](planes=2, size=128, rng=3).images.astype(float)
    images = images if images.ndim == 3 else images[..., 0]
    grain = images[:, :, 1:] - images[:, :, :-1]  # differences of neighbours are mostly noise
    quiet = np.abs(grain).max(axis=0) < 60
    assert np.corrcoef(grain[0][quiet], grain[1][quiet])[0, 1] > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_whole_shifts_move_image_and_mask_exactly(name):
    shifts = [(0, 0), (5, -3), (-16, 16)]
    moved = MODALITIES[name](planes=3, size=80, rng=6, shifts=shifts)
    still = MODALITIES[name](planes=3, size=80, rng=6)
    np.testing.assert_array_equal(moved.shifts, shifts)
    for ours, theirs in ((moved.images, still.images), (moved.masks, still.masks)):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1, 5:, :-3], theirs[1, :-5, 3:])
        np.testing.assert_array_equal(ours[2, :-16, 16:], theirs[2, 16:, :-16])


def test_half_pixel_shift_lies_between_whole_ones():
    half, zero, one = (
        nd.synthetic.histology(planes=2, size=96, rng=1, shifts=[(0, 0), shift]).images[1].astype(float)
        for shift in ((0, 0.5), (0, 0), (0, 1))
    )
    between = (zero + one) / 2
    assert np.corrcoef(half.ravel(), between.ravel())[0, 1] > 0.97
    assert np.abs(half - between).mean() < 0.7 * np.abs(half - zero).mean()


def test_drift_is_a_walk_of_bounded_steps_from_the_first_plane():
    sample = nd.synthetic.em(planes=30, size=32, rng=0, drift=2.5)
    steps = np.diff(sample.shifts, axis=0)
    assert not sample.shifts[0].any()
    assert np.abs(steps).max() <= 2.5 and np.abs(steps).max() > 1.5


def test_moved_planes_show_drawn_content_up_to_the_border():
    sample = nd.synthetic.em(planes=2, size=64, rng=0, shifts=[(0, 0), (20.5, -20.5)])
    border = sample.images[1, :20].astype(float)
    assert border.min() > 40 and border.std() > 3  # neither filled with black nor with one value


def test_calcium_flashes_in_place():
    movie = nd.synthetic.calcium(planes=40, size=64, rng=0)
    assert movie.axes == "tyx" and movie.units[0] == "second"
    assert (movie.masks == movie.masks[:1]).all()
    cells = movie.images[:, movie.masks[0]].astype(float)
    background = movie.images[:, ~movie.masks[0]].astype(float)
    assert np.std(cells.mean(axis=1)) > 5 * np.std(background.mean(axis=1))


@pytest.mark.parametrize("name", NAMES)
def test_planes_carry_scale_and_units(name):
    sample = MODALITIES[name](planes=2, size=32)
    planes = sample.to_planes()
    assert planes.spacing == pytest.approx(sample.spacing)
    assert planes.units == sample.units and planes.axes == sample.axes
    assert planes.rgb == sample.rgb and len(planes) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"planes": 0},
        {"size": 8},
        {"drift": -1},
        {"drift": 1, "shifts": [(0, 0)]},
        {"shifts": [(0, 0), (1, 1)]},
        {"shifts": [(np.nan, 0)]},
    ],
)
def test_impossible_options_are_refused_in_three_parts(options):
    with pytest.raises(InputError) as caught:
        nd.synthetic.em(**options)
    assert all((caught.value.problem, caught.value.expected, caught.value.action))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"rng": -1}, "rng=-1"),
        ({"rng": 0.5}, "rng=0.5"),
        ({"size": 12.5}, "size=12.5"),
        ({"size": (64, 64, 64)}, "size="),
        ({"size": "big"}, "size='big'"),
        ({"planes": 2.5}, "planes=2.5"),
    ],
)
def test_numbers_that_are_not_whole_are_refused_with_what_to_write(options, match) -> None:
    with pytest.raises(InputError, match=match) as caught:
        nd.synthetic.em(**options)
    assert caught.value.expected and caught.value.action
