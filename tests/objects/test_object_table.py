"""Measures of objects are those of scikit-image, in the image's units."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from skimage.data import binary_blobs
from skimage.measure import regionprops_table

import napari_dinov3 as nd
from napari_dinov3.errors import InputError

SPACING = (3.0, 0.5, 0.25)


@pytest.fixture
def blobs():
    masks = np.stack([binary_blobs(64, rng=seed, volume_fraction=0.3, blob_size_fraction=0.15) for seed in range(3)])
    return nd.objects_from_labels(nd.as_planes(masks, spacing=SPACING, units="micrometer"))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).random((3, 64, 64))


def test_measures_in_a_plane_equal_regionprops(blobs, image) -> None:
    table = nd.measure_objects(blobs, image)
    pairs = {
        "area": "area",
        "eccentricity": "eccentricity",
        "major_axis": "axis_major_length",
        "minor_axis": "axis_minor_length",
        "intensity_mean": "intensity_mean",
        "row_start": "bbox-0",
        "col_end": "bbox-3",
        "centre_y": "centroid-0",
        "centre_x": "centroid-1",
    }
    names = ("label", *{name.split("-")[0] for name in pairs.values()})
    for plane in range(3):
        truth = regionprops_table(blobs.labels[plane], image[plane], spacing=SPACING[1:], properties=names)
        mine = np.isin(table["label"], truth["label"])
        for ours, theirs in pairs.items():
            # the root amplifies the rounding of nearly equal variances
            np.testing.assert_allclose(table[ours][mine], truth[theirs], rtol=1e-6, atol=1e-6, err_msg=ours)
        assert set(table["plane"][mine]) == {plane}
    assert table.units["area"] == "um^2"


def test_measures_across_planes_equal_regionprops(blobs, image) -> None:
    solid = nd.as_planes((blobs.labels > 0).astype(np.uint8), spacing=SPACING, units="micrometer")
    objects = nd.objects_from_labels(solid, across="stack")
    table = nd.measure_objects(objects, image)
    truth = regionprops_table(
        objects.labels, image, spacing=SPACING, properties=("area", "axis_major_length", "intensity_mean", "centroid", "bbox")
    )
    assert table.units["volume"] == "um^3"
    for ours, theirs in {
        "volume": "area",
        "major_axis": "axis_major_length",
        "intensity_mean": "intensity_mean",
        "centre_z": "centroid-0",
        "plane_end": "bbox-3",
    }.items():
        np.testing.assert_allclose(table[ours], truth[theirs], rtol=1e-6, atol=1e-6, err_msg=ours)


def test_colours_probability_and_classes_have_their_columns(blobs) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
    probability = np.random.default_rng(1).random((3, 64, 64)).astype(np.float32)
    table = nd.measure_objects(blobs, colours, probability=probability)
    first = blobs.labels == 1
    assert table["intensity_mean_green"][0] == pytest.approx(colours[first][:, 1].mean())
    assert table["class_probability"][0] == pytest.approx(probability[first].mean())
    assert set(table["class"]) == {1}


def test_pixels_that_are_not_finite_are_not_measured() -> None:
    labels, image = np.zeros((8, 8), int), np.ones((8, 8))
    labels[2:4, 2:4], labels[5:7, 5:7] = 1, 2
    image[2, 2] = image[5:7, 5:7] = np.nan
    table = nd.measure_objects(labels, image)
    assert table["intensity_mean"][0] == 1
    assert np.isnan(table["intensity_mean"][1])


def test_no_objects_make_an_empty_table() -> None:
    table = nd.measure_objects(np.zeros((2, 8, 8), int), np.zeros((2, 8, 8)))
    assert len(table) == 0
    assert len({len(column) for column in table.columns.values()}) == 1


def test_a_single_pixel_is_measured() -> None:
    labels = np.zeros((8, 8), int)
    labels[3, 4] = 9
    table = nd.measure_objects(labels)
    assert (table["label"][0], table["centre_row"][0], table["centre_col"][0]) == (9, 3, 4)
    assert table["eccentricity"][0] == 0


@pytest.mark.parametrize(
    "labels, image, message",
    [
        (np.ones((8, 8)), None, "decimals"),
        (np.ones((8, 8, 3), np.uint8), None, "colour"),
        (np.ones((8, 8), int), np.ones((8, 9)), "8, 9"),
        (-np.ones((8, 8), int), None, "from -1"),
        (np.full((8, 8), 1 << 40), None, str(1 << 40)),
    ],
)
def test_what_cannot_be_measured_is_refused(labels, image, message) -> None:
    with pytest.raises(InputError, match=message):
        nd.measure_objects(nd.as_planes(labels) if labels.ndim == 3 else labels, image)


def test_a_table_is_written_with_units_and_how_it_was_made(blobs, image, tmp_path) -> None:
    table = nd.measure_objects(blobs, image)
    path = nd.write(tmp_path / "objects.csv", table)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(table)
    assert float(rows[3]["area (um^2)"]) == table["area"][3]
    facts = json.loads((tmp_path / "objects.csv.json").read_text())
    assert facts["task"] == "measure_objects"
    assert facts["units"] == ["micrometer"] * 3
    with pytest.raises(InputError, match="exists"):
        nd.write(path, table)
    whole = json.loads(nd.write(tmp_path / "objects.json", table).read_text())
    assert whole["table"]["label"] == table["label"].tolist()
