"""Alignments on disk, ours and other tools'."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.align.elastic import SplineField, control_shape
from napari_dinov3.align.files import load_alignment, save_alignment
from napari_dinov3.align.pairwise import PairAlignment
from napari_dinov3.align.quality import MatchQuality
from napari_dinov3.align.tool_files import elastix_parameters, export_transforms, itk_transform
from napari_dinov3.align.transforms import rotation_matrix, translation_matrix
from napari_dinov3.errors import FileFormatError, InputError
from napari_dinov3.geometry import transform_points

SHAPE = (80, 100)
MATRIX = translation_matrix(5, -3) @ rotation_matrix(20, (40, 50), 1.1)


@pytest.fixture(scope="module")
def stack():
    sample = nd.synthetic.em(planes=4, size=64, rng=0, shifts=[[0, 0], [2, 1], [0, 3], [-1, 1]])
    images = sample.images.copy()
    images[2] = 0
    return images, nd.align_stack(images, model="translation", backbone=None, spacing=(30, 4, 4), units="nanometer")


def pair(field=None) -> PairAlignment:
    return PairAlignment(MATRIX, field, "elastic" if field else "affine", SHAPE, (90, 90), MatchQuality(20.0, 3.0, 0.8, 0.9))


def bend() -> SplineField:
    return SplineField(np.random.default_rng(0).normal(size=(2, *control_shape(SHAPE, 20))), 20.0)


def numbers(text: str, key: str) -> np.ndarray:
    return np.array(re.search(rf"{key}:? ([^\n)]+)", text).group(1).split(), float)


def test_a_stack_comes_back_as_it_was(stack, tmp_path):
    images, path = stack
    again = load_alignment(save_alignment(tmp_path / "path.json", path, provenance={"by": "test"}))
    np.testing.assert_array_equal(again.transforms, path.transforms)
    np.testing.assert_array_equal(again.residuals, path.residuals)
    assert (again.bad, again.model, again.shape, again.spacing, again.units) == (
        (2,),
        "translation",
        (64, 64),
        (30.0, 4.0, 4.0),
        ("nanometer",) * 3,
    )
    assert [k.match for k in again.links] == [k.match for k in path.links]
    np.testing.assert_array_equal(again.apply(images), path.apply(images))


def test_an_elastic_pair_comes_back_as_it_was(tmp_path):
    before = pair(bend())
    after = load_alignment(save_alignment(tmp_path / "pair.json", before))
    points = np.random.default_rng(1).uniform(0, 80, (9, 2))
    np.testing.assert_array_equal(after.map_points(points), before.map_points(points))
    assert after.match == before.match


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[]",
        '{"format": "other"}',
        '{"format": "napari-dinov3 alignment", "version": 99}',
        '{"format": "napari-dinov3 alignment", "version": 1, "kind": "stack"}',
    ],
)
def test_other_files_are_refused(content, tmp_path):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(FileFormatError):
        load_alignment(tmp_path / "bad.json")


def test_the_file_tells_its_convention(tmp_path):
    content = json.loads(save_alignment(tmp_path / "pair.json", pair()).read_text())
    assert content["version"] == 1
    assert "(row, col, 1)" in content["convention"]


def test_itk_text_maps_world_points_like_the_matrix():
    spacing = (0.5, 0.25)
    text = itk_transform(MATRIX, spacing=spacing)
    p = numbers(text, "\nParameters")
    points = np.array([[3.0, 7.0], [60.0, 20.0]])
    xy = (points * spacing)[:, ::-1]
    got = xy @ p[:4].reshape(2, 2).T + p[4:]
    np.testing.assert_allclose(got[:, ::-1] / spacing, transform_points(MATRIX, points))


def test_elastix_files_hold_the_spline():
    linear, elastic = elastix_parameters(MATRIX, SHAPE, field=bend(), spacing=(2.0, 3.0), initial="a.txt")
    assert len(numbers(linear, "TransformParameters")) == 6
    np.testing.assert_array_equal(numbers(elastic, "GridSize"), bend().coefficients.shape[:0:-1])
    np.testing.assert_array_equal(numbers(elastic, "GridSpacing"), [60, 40])
    np.testing.assert_array_equal(numbers(elastic, "GridOrigin"), [-60, -40])
    moves = numbers(elastic, "TransformParameters").reshape(2, *bend().coefficients.shape[1:])
    np.testing.assert_allclose(moves[0], bend().coefficients[1] * 3)
    assert '(InitialTransformParametersFileName "a.txt")' in elastic


def test_export_writes_a_file_a_section(stack, tmp_path):
    assert [p.name for p in export_transforms(tmp_path / "itk", stack[1])][:2] == ["section_0000.tfm", "section_0001.tfm"]
    names = [p.name for p in export_transforms(tmp_path / "elastix", pair(bend()), tool="elastix")]
    assert names == ["pair.TransformParameters.0.txt", "pair.TransformParameters.1.txt"]
    with pytest.raises(InputError, match="tool"):
        export_transforms(tmp_path, pair(), tool="ants")
    with pytest.raises(InputError, match="too far"):
        export_transforms(tmp_path, dataclasses.replace(pair(), reason="too far apart"))


def in_world(pair: PairAlignment, xy: np.ndarray) -> np.ndarray:
    """Map world points as the other tools do, from our own transform."""
    pixels = xy[:, ::-1] / pair.fixed_spacing
    return (pair.map_points(pixels) * pair.moving_spacing)[:, ::-1]


def itk_composite(text: str, xy: np.ndarray) -> np.ndarray:
    """Read a composite as ITK does: the spline first, p + u(p), then the affine; u from the cubic B-spline basis."""
    p, place = ([np.array(line.split()[1:], float) for line in text.splitlines() if line.startswith(key)] for key in ("P", "F"))
    size, origin, step = place[1][:2].astype(int), place[1][2:4], place[1][4:6]
    moves = p[1].reshape(2, size[1], size[0])
    at = (xy - origin) / step
    basis = [np.array([[cubic(x - i) for i in range(n)] for x in at[:, axis]]) for axis, n in enumerate(size)]
    bent = xy + np.einsum("ni,nj,kji->nk", basis[0], basis[1], moves)
    return bent @ p[0][:4].reshape(2, 2).T + p[0][4:]


def cubic(t: float) -> float:
    t = abs(t)
    return (4 - 6 * t**2 + 3 * t**3) / 6 if t < 1 else max(0.0, 2 - t) ** 3 / 6


@pytest.mark.parametrize("origin", [0.0, 3.5])
def test_an_elastic_pair_of_two_pixel_sizes_is_exact_for_itk(origin, tmp_path):
    bent = dataclasses.replace(bend(), origin=origin)
    both = dataclasses.replace(pair(bent), fixed_spacing=(0.5, 0.25), moving_spacing=(2.0, 1.5))
    (file,) = export_transforms(tmp_path, both)
    inside = np.random.default_rng(3).uniform(origin, 78, (40, 2)) * (0.25, 0.5)
    np.testing.assert_allclose(itk_composite(file.read_text(), inside), in_world(both, inside), atol=1e-9)
    grid = re.findall(r"FixedParameters: ([^\n]+)", file.read_text())[1].split()
    first, last = (np.array(grid[2:4], float) + np.array(grid[4:6], float) * k for k in (1, int(grid[0]) - 2))
    assert (first <= 0).all()  # ITK knows no displacement beyond the cells of the grid
    assert last[0] >= (SHAPE[1] - 1) * 0.25


@pytest.mark.parametrize("field", [None, bend()])
def test_other_tools_read_them(field, tmp_path):
    """Where SimpleITK is installed, its own reader maps points as we do."""
    sitk = pytest.importorskip("SimpleITK")
    both = dataclasses.replace(pair(field), fixed_spacing=(0.5, 0.25), moving_spacing=(2.0, 1.5))
    (file,) = export_transforms(tmp_path, both)
    read = sitk.ReadTransform(str(file))
    xy = np.random.default_rng(4).uniform(0, 79, (20, 2)) * (0.25, 0.5)
    np.testing.assert_allclose([read.TransformPoint(tuple(map(float, point))) for point in xy], in_world(both, xy), atol=1e-9)


def test_a_pair_remembers_pixel_sizes_and_damaged_poses_are_refused(tmp_path):
    before = dataclasses.replace(pair(), fixed_spacing=(0.5, 0.25), moving_spacing=(2.0, 1.5), units=("micrometer",) * 2)
    path = save_alignment(tmp_path / "pair.json", before)
    after = load_alignment(path)
    assert (after.fixed_spacing, after.moving_spacing, after.units) == ((0.5, 0.25), (2.0, 1.5), ("micrometer",) * 2)
    content = json.loads(path.read_text())
    content["matrix"][0] = [0.0, 0.0, 5.0]
    path.write_text(json.dumps(content))
    with pytest.raises(FileFormatError, match="flattens"):
        load_alignment(path)


def test_sections_that_are_missing_in_a_file_are_noticed(stack, tmp_path):
    path = save_alignment(tmp_path / "path.json", stack[1])
    content = json.loads(path.read_text())
    del content["sections"][1]
    path.write_text(json.dumps(content))
    with pytest.raises(FileFormatError, match="numbered"):
        load_alignment(path)
