"""Kinds of TIFF that instruments write: Hamamatsu slides, several images in a file, composites, bits, pages of one piece."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import napari_dinov3 as nd
from napari_dinov3.errors import FallbackWarning, FileFormatError
from napari_dinov3.io import tiff

UM = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}


def _as_ndpi(path: Path) -> None:
    """Give a classic TIFF the directories of Hamamatsu: offsets of 64 bits, the high halves of values after the tags."""
    content = bytearray(path.read_bytes())
    at, directories = struct.unpack_from("<I", content, 4)[0], []
    while at:
        count = struct.unpack_from("<H", content, at)[0]
        directories.append(bytes(content[at + 2 : at + 2 + 12 * count]))
        at = struct.unpack_from("<I", content, at + 2 + 12 * count)[0]
    where = 4
    for tags in directories:
        content += b"\0" * (len(content) % 2)
        struct.pack_into("<Q", content, where, len(content))
        content += struct.pack("<H", len(tags) // 12) + tags
        where = len(content)
        content += b"\0" * (8 + len(tags) // 3)
    path.write_bytes(content)


def _ndpi_tags(lens: float) -> list[Any]:
    return [(271, 2, None, "Hamamatsu", True), (65420, 4, 1, 1, True), (65421, 11, 1, lens, True)]


def test_a_hamamatsu_slide_opens_as_a_pyramid_without_its_overview(tmp_path: Path) -> None:
    colour = np.kron(np.arange(20 * 24 * 3).reshape(20, 24, 3) % 200, np.ones((16, 16, 1))).astype(np.uint8)
    path = tmp_path / "slide.ndpi"
    with tifffile.TiffWriter(path) as writer:
        for step, lens in ((1, 20.0), (4, 5.0), (16, 1.25)):
            level = np.ascontiguousarray(colour[::step, ::step])
            size: dict[str, Any] = {"resolution": (10_000 / (0.4416 * step),) * 2, "resolutionunit": "CENTIMETER"}
            writer.write(level, photometric="rgb", metadata=None, rowsperstrip=len(level), extratags=_ndpi_tags(lens), **size)
        overview = np.ascontiguousarray(colour[::8, ::6])
        writer.write(overview, photometric="rgb", metadata=None, rowsperstrip=40, extratags=_ndpi_tags(-1.0))
    _as_ndpi(path)
    with tifffile.TiffFile(path) as tif:
        assert tif.is_ndpi
    image = nd.read(path)
    assert [level.shape for level in image.levels] == [(320, 384, 3), (80, 96, 3), (20, 24, 3)]
    np.testing.assert_allclose(image.spacing, 0.4416)
    assert image.units == ("micrometer",) * 2
    np.testing.assert_array_equal(np.asarray(image.levels[1]), colour[::4, ::4])


def test_a_slide_that_holds_no_image_says_so(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ndpi", np.zeros((8, 9), np.uint8))  # classic offsets, which this ending does not have
    with pytest.raises(FileFormatError, match=r"a\.ndpi"):
        nd.read(tmp_path / "a.ndpi")


def test_every_image_of_an_ome_tiff_opens_with_its_own_spacing(tmp_path: Path) -> None:
    path = tmp_path / "positions.ome.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.full((3, 16, 20), 1, np.uint16), metadata={"axes": "ZYX", **UM}, photometric="minisblack")
        writer.write(np.full((8, 10), 2, np.uint8), metadata={"axes": "YX", "PhysicalSizeX": 4.0}, photometric="minisblack")
    first, second = nd.read_layers(path)
    assert (first.shape, second.shape) == ((3, 16, 20), (8, 10))
    assert (first.spacing[-1], second.spacing[-1]) == (0.25, 4.0)
    assert int(np.asarray(second).max()) == 2
    assert len({first.name, second.name}) == 2
    assert nd.read_layers(path, series=1)[0].shape == (8, 10)


def test_of_many_images_in_a_file_the_first_opens_and_the_others_are_told_of(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "plate.ome.tif") as writer:
        for number in range(20):
            writer.write(np.full((4 + number, 4), number, np.uint8), metadata={"axes": "YX"}, photometric="minisblack")
    with pytest.warns(FallbackWarning, match="20 images"):
        assert len(nd.read_layers(tmp_path / "plate.ome.tif")) == 1


def test_a_composite_of_imagej_keeps_the_display_range_of_each_channel(tmp_path: Path) -> None:
    data = np.arange(2 * 3 * 2 * 8 * 9, dtype=np.uint16).reshape(2, 3, 2, 8, 9)
    about = {
        "axes": "TZCYX",
        "spacing": 3.0,
        "unit": "um",
        "finterval": 0.5,
        "mode": "composite",
        "Ranges": [0.0, 90.0, 5.0, 50.0],
    }
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, resolution=(4, 2), metadata=about)
    image = nd.read(tmp_path / "a.tif")
    assert (image.axes, image.shape) == ("tzcyx", data.shape)
    assert image.spacing == (0.5, 3.0, 0.5, 0.25)
    assert image.units == ("second", *("micrometer",) * 3)
    assert [image.select(c=at).contrast_limits for at in (0, 1)] == [(0.0, 90.0), (5.0, 50.0)]
    np.testing.assert_array_equal(np.asarray(image), data)


def test_masks_of_one_bit_open(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((33, 50)) > 0.5
    tifffile.imwrite(tmp_path / "mask.tif", mask, photometric="minisblack")
    np.testing.assert_array_equal(np.asarray(nd.read(tmp_path / "mask.tif")), mask)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "rowsperstrip": 8}])
def test_large_pages_without_tiles_are_read_in_bands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Any, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(tiff, "_CHUNK_PIXELS", 1 << 12)
    page = np.arange(200 * 300, dtype=np.uint16).reshape(200, 300)
    tifffile.imwrite(tmp_path / "a.tif", page, byteorder=order, photometric="minisblack", metadata=None, **options)
    image = nd.read(tmp_path / "a.tif")
    assert image.data.chunksize == ((8, 300) if options else (13, 300))
    np.testing.assert_array_equal(np.asarray(image), page)
    np.testing.assert_array_equal(np.asarray(image.data[50:60, 7:9]), page[50:60, 7:9])


def test_big_tiff_in_either_byte_order_opens_exactly(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 2**32, (3, 20, 30), np.uint32)
    tifffile.imwrite(tmp_path / "a.btf", volume, bigtiff=True, byteorder=">", photometric="minisblack")
    image = nd.read(tmp_path / "a.btf")
    assert (image.axes, image.dtype) == ("zyx", np.uint32)
    np.testing.assert_array_equal(np.asarray(image), volume)
