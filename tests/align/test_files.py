"""Alignments on disk, ours and other tools'."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.align.elastic import SplineField, control_shape
from napari_dinov3.align.files import elastix_parameters, export_transforms, itk_transform, load_alignment, save_alignment
from napari_dinov3.align.pairwise import PairAlignment
from napari_dinov3.align.quality import MatchQuality
from napari_dinov3.align.transforms import rotation_matrix, translation_matrix
from napari_dinov3.errors import FileFormatError
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
    with pytest.raises(FileFormatError, match="linear one"):
        export_transforms(tmp_path, pair(bend()))
    with pytest.raises(FileFormatError, match="tool"):
        export_transforms(tmp_path, pair(), tool="ants")


def test_other_tools_read_them(tmp_path):
    """Where SimpleITK is installed, its own reader maps points as we do."""
    sitk = pytest.importorskip("SimpleITK")
    (file,) = export_transforms(tmp_path, pair())
    x, y = sitk.ReadTransform(str(file)).TransformPoint((20.0, 10.0))
    np.testing.assert_allclose((y, x), pair().map_points([[10, 20]])[0])
