"""Elastic stacks: bends that differ from section to section are taken out, and solved again without matching again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

import napari_dinov3 as nd
from napari_dinov3.align.deform import fit_coefficients
from napari_dinov3.align.elastic import SplineField, control_shape
from napari_dinov3.align.files import load_alignment, save_alignment
from napari_dinov3.align.links import Link
from napari_dinov3.align.quality import MatchQuality
from napari_dinov3.align.stack import solve_stack
from napari_dinov3.align.stack_elastic import solve_fields
from napari_dinov3.align.transforms import point_grid

SIDE, PLANES, MARGIN = 160, 5, 24


@pytest.fixture(scope="module")
def bent():
    """One scene, bent differently in every plane; the truth is where each plane's points lie in the scene."""
    rng = np.random.default_rng(3)
    whole = SIDE + 2 * MARGIN
    scene = sum(ndimage.gaussian_filter(rng.normal(size=(whole, whole)), s) * s for s in (1.5, 4, 9))
    grid = np.indices(scene.shape).astype(float)
    bends, planes = [], []
    for _ in range(PLANES):
        bend = np.stack([ndimage.gaussian_filter(rng.normal(size=scene.shape), 22) for _ in range(2)])
        bend *= 4 / np.abs(bend).max()
        planes.append(ndimage.map_coordinates(scene, grid + bend, order=5, mode="mirror"))
        bends.append(bend)
    crop = (slice(MARGIN, MARGIN + SIDE),) * 2
    images = np.stack([p[crop] for p in planes]).astype(np.float32)
    images += rng.normal(0, 0.02 * images.std(), images.shape).astype(np.float32)
    return images, np.stack(bends)


def scatter(path, bends) -> float:
    """Median disagreement, between sections, of where aligned points lie in the scene, in pixels."""
    points = point_grid((SIDE, SIDE), 12)
    points = points[np.all((points > 20) & (points < SIDE - 20), axis=1)]
    places = []
    for z in range(len(path)):
        there = points @ path.transforms[z][:2, :2].T + path.transforms[z][:2, 2]
        if path.field_of(z) is not None:
            there = there + path.field_of(z).at(points)
        moved = [ndimage.map_coordinates(part, (there + MARGIN).T, order=3) for part in bends[z]]
        places.append(there + np.stack(moved, axis=1))
    return float(np.median(np.linalg.norm(places - np.mean(places, axis=0), axis=-1)))


@pytest.fixture(scope="module")
def paths(bent):
    images, _ = bent
    return {m: nd.align_stack(images, model=m, backbone=None, reach=(1, 2)) for m in ("affine", "elastic")}


def test_elastic_takes_out_what_affine_leaves(bent, paths):
    _, bends = bent
    assert paths["elastic"].bad == ()
    assert scatter(paths["elastic"], bends) < 0.25 * scatter(paths["affine"], bends)


def test_an_edit_is_solved_again_from_the_links(bent, paths):
    images, _bends = bent
    again = solve_stack(paths["elastic"].links, nd.as_planes(images), model="elastic", exclude=[2])
    assert again.bad == (2,)
    assert again.field_of(2) is not None
    assert again.field_of(1).smallest_jacobian(again.transforms[1], again.shape) > 0.2


def test_points_go_back_through_a_bend(paths):
    path = paths["elastic"]
    aligned = np.array([[80.0, 70.0], [40.0, 120.0]])
    raw = aligned @ path.transforms[1][:2, :2].T + path.transforms[1][:2, 2] + path.field_of(1).at(aligned)
    moved = path.map_points(np.column_stack([[1, 1], raw]))
    np.testing.assert_allclose(moved[:, 1:], aligned, atol=1e-3)


def test_a_file_keeps_links_and_bends(paths, tmp_path):
    path = paths["elastic"]
    back = load_alignment(save_alignment(tmp_path / "a.json", path))
    np.testing.assert_allclose(back.fields[1].coefficients, path.fields[1].coefficients)
    assert back.links[0].field is not None
    assert back.model == "elastic"


def test_lazy_and_eager_agree(bent, paths):
    import dask.array as da

    images, _ = bent
    lazy = paths["elastic"].apply(da.from_array(images, chunks=(2, 160, 160)))
    np.testing.assert_array_equal(np.asarray(lazy[3]), paths["elastic"].apply(images)[3])


def test_large_bends_are_solved_exactly_from_exact_links():
    """Links that follow from known displacements: what is left is well below displacement times slope, 0.21 px here."""
    shape, spacing, count = (160, 200), 24.0, 4
    rng = np.random.default_rng(0)
    truth = [SplineField(rng.normal(0, 4, (2, *control_shape(shape, spacing))), spacing) for _ in range(count)]
    points = point_grid(shape, 6)
    exact = MatchQuality(z=30.0, lead=3.0, agreement=0.9, overlap=1.0)
    links = []
    for a, b in ((0, 1), (1, 2), (2, 3), (0, 2), (1, 3)):
        here, there = points + truth[a].at(points), points + truth[b].at(points)
        finer = control_shape(shape, 8.0)
        bend = fit_coefficients(here, there - here, np.ones(len(here)), finer, 8.0, stiffness=1e-5)
        links.append(Link(a, b, np.eye(3), exact, field=SplineField(bend, 8.0)))
    fields = solve_fields(links, np.tile(np.eye(3), (count, 1, 1)), np.ones(count, bool), shape)
    inner = points[np.all((points > 16) & (points < np.array(shape) - 17), axis=1)]
    missed = []
    for link in links:
        here, there = (inner + fields[z].at(inner) for z in (link.first, link.second))
        missed.append(np.linalg.norm(here + link.field.at(here) - there, axis=1))
    assert np.median(missed) < 0.1
