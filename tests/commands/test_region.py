"""A region of a pyramid on the command line: only it is worked on, and results lie where it lies."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

import napari_dinov3 as nd
from napari_dinov3.cli import main

REGION, BOX = "100,160,228,320", (slice(140, 180), slice(200, 260))
QUICK = ("--backbone", "filter-bank")


@pytest.fixture
def slide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(0).integers(30, 60, (256, 384), np.uint8)
    image[BOX] += 120
    with tifffile.TiffWriter("slide.ome.tif") as writer:
        size = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        writer.write(image, tile=(64, 64), subifds=1, metadata=size)
        writer.write(image[::2, ::2], tile=(64, 64), subfiletype=1)
    painted = np.zeros(image.shape, np.uint8)
    painted[150:170, 210:250], painted[105:130, 170:310] = 1, 2
    nd.write("painted.ome.tif", painted, kind="labels")
    return tmp_path


def _world_box(name: str) -> np.ndarray:
    """First and last row and column that are class 1, in micrometres."""
    planes = nd.read(name).planes()
    found = np.argwhere(planes.plane(0) == 1)[:, -2:]
    place = planes.world_from_pixel
    return np.array([found.min(0), found.max(0)]) * np.diag(place)[1:3] + place[1:3, 3]


@pytest.mark.parametrize("level", [0, 1])
def test_labels_and_masks_of_a_region_lie_over_the_slide(slide, level) -> None:
    options = [*QUICK, "--region", REGION, "--level", str(level)]
    assert main(["segment", "slide.ome.tif", "painted.ome.tif", "labels.ome.tif", *options]) == 0
    assert main(["discover", "slide.ome.tif", "mask.ome.tif", *options]) == 0
    truth = np.array([[140, 200], [179, 259]]) * 0.5
    for name in ("labels.ome.tif", "mask.ome.tif"):
        result = nd.read(name)
        assert result.shape == ((128, 160), (64, 80))[level]
        np.testing.assert_allclose(result.spacing, 0.5 * 2**level)
        # a coarser pixel's centre lies half a fine pixel further in
        np.testing.assert_allclose(result.world_from_pixel[:2, 2], np.array([100, 160]) * 0.5 + 0.25 * level)
        # the filter bank sees 16 pixels at once, so that classes end within that of the edge
        np.testing.assert_allclose(_world_box(name), truth, atol=8 * 2**level)


def test_features_and_colours_of_a_region_lie_over_the_slide(slide) -> None:
    options = [*QUICK, "--region", REGION, "--pca", "colours.ome.tif"]
    assert main(["extract", "slide.ome.tif", "features.zarr", *options]) == 0
    assert nd.io.read_features("features.zarr").image_shape == (128, 160)
    colours = nd.read("colours.ome.tif").planes()
    first = colours.world_from_pixel[1:3, 3]
    assert np.all((first >= [50, 80]) & (first < [52, 82]))


def test_probabilities_and_a_recipe_of_a_region(slide) -> None:
    common = ["segment", "slide.ome.tif", "painted.ome.tif"]
    options = [*QUICK, "--region", REGION]
    assert main([*common, "a.ome.tif", *options, "--probabilities", "p.ome.tif"]) == 0
    assert main([*common, "b.ome.tif", *options, "--recipe", "r.json"]) == 0
    np.testing.assert_array_equal(np.asarray(nd.read("a.ome.tif")), np.asarray(nd.read("b.ome.tif")))
    chances = nd.read("p.ome.tif")
    assert chances.shape == (2, 128, 160)
    np.testing.assert_allclose(chances.world_from_pixel[:2, 2], (50, 80))
    nd.read("b.ome.tif").path.unlink()
    assert main(["run", "r.json"]) == 0
    np.testing.assert_allclose(nd.read("b.ome.tif").world_from_pixel[:2, 2], (50, 80))


def test_a_stack_is_aligned_by_a_region_and_it_is_written_in_its_place(slide) -> None:
    image = np.asarray(nd.read("slide.ome.tif"))
    stack = np.stack([np.roll(image, 3 * z, axis=1) for z in range(3)])
    nd.write("stack.ome.tif", stack, spacing=(2, 0.5, 0.5), units="micrometer")
    options = ["--model", "translation", "--backbone", "none", "--region", REGION]
    assert main(["align", "stack.ome.tif", "aligned.ome.tif", *options]) == 0
    aligned = nd.read("aligned.ome.tif")
    assert aligned.shape == (3, 128, 160)
    np.testing.assert_allclose(aligned.world_from_pixel[:3, 3], (0, 50, 80))
    boxes = [np.argwhere(plane > 130).mean(0) for plane in np.asarray(aligned)]
    assert np.ptp(boxes, axis=0).max() < 0.5


@pytest.mark.parametrize("region", ["1,2,3", "a,b,c,d", "900,900,999,999"])
def test_a_region_that_cannot_be_is_refused_before_anything_is_written(slide, region, capsys) -> None:
    assert main(["discover", "slide.ome.tif", "mask.ome.tif", *QUICK, "--region", region]) == 2
    assert "region" in capsys.readouterr().err
    assert not (slide / "mask.ome.tif").exists()
