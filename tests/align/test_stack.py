"""Stacks: known shifts to a fraction of a pixel, through bad sections, lazily."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import napari_dinov3 as nd
from napari_dinov3.align.stack import align_stack_steps, match_steps, solve_stack
from napari_dinov3.align.transforms import rotation_degrees, rotation_matrix, translation_matrix
from napari_dinov3.align.warp import warp
from napari_dinov3.errors import IllPosedWarning, InputError
from napari_dinov3.progress import Progress, collect

SHIFTS = np.cumsum(np.random.default_rng(5).normal(0, 2.5, (7, 2)), axis=0)


def shifts_of(path) -> np.ndarray:
    """Displacement of the image centre in each section, relative to the first."""
    centre = np.array([(path.shape[0] - 1) / 2, (path.shape[1] - 1) / 2, 1.0])
    found = (path.transforms @ centre)[:, :2]
    return found - found[0]


def sample(modality: str = "em", planes: int = 7, **options):
    return getattr(nd.synthetic, modality)(planes=planes, size=128, rng=1, shifts=SHIFTS[:planes], **options)


@pytest.mark.parametrize("modality", ["em", "mri", "histology", "connectomics", "calcium"])
def test_known_shifts_are_recovered_to_a_fraction_of_a_pixel(modality):
    """Objects change from plane to plane, so what a plane shows moves a little by itself: 0.3 px is that, not the method."""
    path = nd.align_stack(sample(modality, 4).images, model="translation", backbone=None)
    assert path.bad == ()
    assert np.abs(shifts_of(path) - (SHIFTS[:4] - SHIFTS[0])).max() < 0.3


@pytest.fixture(scope="module")
def damaged():
    """A stack with one section of noise and one blank one, and its alignment."""
    stack = sample().images.copy()
    stack[2] = np.random.default_rng(0).integers(0, 255, stack[2].shape)
    stack[5] = 80
    return stack, nd.align_stack(stack, model="rigid", backbone="random-projection-cnx-tiny", rotation=10)


def test_bad_sections_are_named_and_bridged(damaged):
    _, path = damaged
    assert path.bad == (2, 5)
    good = [0, 1, 3, 4, 6]
    assert np.abs(shifts_of(path) - (SHIFTS - SHIFTS[0]))[good].max() < 0.3
    assert (path.quality[good] > 5).all()
    assert (path.quality[[2, 5]] == 0).all()
    assert np.isnan(path.residuals[[2, 5]]).all()


def test_bad_sections_lie_between_their_neighbours(damaged):
    _, path = damaged
    found = shifts_of(path)
    np.testing.assert_allclose(found[5], (found[4] + found[6]) / 2, atol=0.05)


def test_an_edit_solves_again_without_matching(damaged):
    stack, path = damaged
    edited = solve_stack(path.links, nd.as_planes(stack), model="rigid", exclude=[3])
    assert edited.bad == (2, 3, 5)
    assert edited.links == path.links


def test_known_links_are_not_computed_again(damaged):
    stack, path = damaged
    known = {(link.first, link.second): link for link in path.links}
    again = collect(match_steps(nd.as_planes(stack), model="rigid", known=known))
    assert all(a is b for a, b in zip(again, path.links, strict=True))


def test_minimum_drift_centres_the_frame_and_first_keeps_the_first_section(damaged):
    stack, path = damaged
    first = solve_stack(path.links, nd.as_planes(stack), model="rigid", drift="first")
    np.testing.assert_allclose(first.transforms[0], np.eye(3), atol=1e-9)
    good = [0, 1, 3, 4, 6]
    assert np.abs((path.transforms @ [63.5, 63.5, 1])[good, :2].mean(axis=0) - 63.5).max() < 0.05


def test_aligned_planes_agree_as_well_as_with_the_known_shifts(damaged):
    stack, path = damaged
    inner = (slice(20, 108), slice(20, 108))

    def agreement(a, b):
        return np.corrcoef(a[inner].ravel(), b[inner].ravel())[0, 1]

    raw, aligned = stack.astype(np.float64), path.apply(stack.astype(np.float64))
    known = [warp(raw[z], translation_matrix(*SHIFTS[z])) for z in (0, 1)]
    assert agreement(aligned[0], aligned[1]) > agreement(raw[0], raw[1])
    assert agreement(aligned[0], aligned[1]) > agreement(*known) - 0.02


def test_dask_in_dask_out_plane_by_plane(damaged):
    stack, path = damaged
    lazy = path.apply(da.from_array(stack, chunks=(3, 64, 64)))
    assert isinstance(lazy, da.Array)
    assert lazy.chunks[0] == (1,) * 7
    np.testing.assert_array_equal(lazy.compute(), path.apply(stack))
    labels = (stack > 120).astype(np.int32) * 99999
    assert set(np.unique(path.apply(da.from_array(labels, chunks=(1, 128, 128))).compute())) <= {0, 99999}


def test_points_move_with_their_section(damaged):
    _, path = damaged
    raw = np.concatenate([[[z, *(np.array([60.0, 60.0]) + SHIFTS[z])] for z in (0, 3, 6)]])
    moved = path.map_points(raw)
    assert np.ptp(moved[:, 1:], axis=0).max() < 0.4
    np.testing.assert_array_equal(moved[:, 0], [0, 3, 6])


def test_colour_stacks_apply_to_every_colour():
    stack = sample("histology", 3)
    path = nd.align_stack(stack.images, model="translation", backbone=None)
    assert path.apply(stack.images).shape == stack.images.shape
    assert path.apply(stack.masks).dtype == bool


def test_a_stack_of_one_stays_where_it_is():
    path = nd.align_stack(sample(planes=1).images, backbone=None)
    np.testing.assert_array_equal(path.transforms, np.eye(3)[None])
    assert path.bad == ()


NOTHING_IN_COMMON = {
    "blank": np.zeros((4, 100, 100)),
    "noise": np.random.default_rng(0).normal(size=(4, 100, 100)),
}


@pytest.mark.parametrize("content", NOTHING_IN_COMMON)
def test_a_stack_in_which_nothing_matches_stays_where_it_is_and_says_so(content):
    with pytest.warns(IllPosedWarning, match="No section matches another"):
        path = nd.align_stack(NOTHING_IN_COMMON[content], model="translation", backbone=None)
    assert path.bad == (0, 1, 2, 3)
    np.testing.assert_array_equal(path.transforms, np.tile(np.eye(3), (4, 1, 1)))
    assert (path.quality == 0).all()


def test_progress_counts_sections_and_can_be_cancelled():
    steps = align_stack_steps(sample(planes=3).images, model="translation", backbone=None)
    event = next(steps)
    assert event == Progress(0, 3, "Section 1 of 3")
    steps.close()


def test_wrong_requests_are_refused(damaged):
    stack, path = damaged
    with pytest.raises(InputError, match="drift"):
        nd.align_stack(stack, drift="none")
    with pytest.raises(InputError, match="one of translation"):
        nd.align_stack(stack, model="cubic")
    with pytest.raises(InputError, match="same size"):
        path.apply(stack[:3])


def test_a_section_the_user_vouches_for_is_placed_by_its_best_link(damaged):
    stack, path = damaged
    again = solve_stack(path.links, nd.as_planes(stack), model="rigid", include=[2])
    assert again.bad == (5,)
    assert np.abs(shifts_of(again) - (SHIFTS - SHIFTS[0]))[[0, 1, 3, 4, 6]].max() < 0.3


@pytest.mark.parametrize("drift", ["median", "mean"])
def test_templates_are_a_choice_of_the_common_frame(drift):
    path = nd.align_stack(sample("calcium", 5).images, model="translation", backbone=None, drift=drift)
    assert np.abs(shifts_of(path) - (SHIFTS[:5] - SHIFTS[0])).max() < 0.3


def test_content_that_changes_does_not_pull_the_last_steps_away():
    """Three planes on, bodies have come and gone: the most likely place of what is left was once 2.3 px off."""
    shifts = np.cumsum(np.random.default_rng(5).uniform(-4, 4, (12, 2)), axis=0)
    images = nd.synthetic.em(planes=12, size=256, rng=1, shifts=shifts).images[[3, 6]]
    path = nd.align_stack(images, model="rigid", backbone=None)
    assert np.abs(shifts_of(path)[1] - (shifts[6] - shifts[3])).max() < 0.3


def test_sections_of_different_size_are_matched_when_turned():
    """An organ cut from its tip on: a rigid fit alone agrees too badly, and an outline upside down as well as the right one."""
    rows, cols = np.mgrid[:128, :160]
    texture = 3 + gaussian_filter(np.random.default_rng(0).normal(0, 30, (128, 160)), 5)
    heart = (np.hypot((rows - 60) / 30, (cols - 62) / 26) < 1) | (np.hypot((rows - 60) / 30, (cols - 98) / 26) < 1)
    small = np.where(heart & (rows > 34), texture, 0)
    centre = (63.5, 79.5)
    grown = warp(small, rotation_matrix(40, centre, scale=0.87))
    path = nd.align_stack(np.stack([small, grown]), model="rigid", backbone=None)
    assert path.bad == ()
    assert rotation_degrees(path.transforms[1] @ np.linalg.inv(path.transforms[0])) == pytest.approx(-40, abs=3)
