from __future__ import annotations

import gc
import pickle
import struct

import numpy as np
import pytest
import tifffile

import napari_dinov3 as nd
from napari_dinov3.errors import FileFormatError, InputError

RNG = np.random.default_rng(0)


def make_ome(path, data, axes, **metadata):
    tifffile.imwrite(path, data, ome=True, metadata={"axes": axes, **metadata})
    return path


def test_ome_tiff_spacing_units_and_channels(tmp_path) -> None:
    data = RNG.integers(0, 4000, (3, 2, 32, 40), np.uint16)
    path = make_ome(
        tmp_path / "a.ome.tif",
        data,
        "ZCYX",
        PhysicalSizeX=4.0,
        PhysicalSizeXUnit="nm",
        PhysicalSizeY=5.0,
        PhysicalSizeYUnit="nm",
        PhysicalSizeZ=0.05,
        PhysicalSizeZUnit="µm",
        Channel={"Name": ["DAPI", "GFP"]},
    )
    image = nd.read(path)
    assert image.axes == "zcyx" and image.space == "zyx" and image.lazy
    assert image.spacing == (0.05, 5.0, 4.0) and image.units == ("micrometer", "nanometer", "nanometer")
    assert image.channel_names == ("DAPI", "GFP")
    np.testing.assert_array_equal(np.asarray(image), data)
    assert image.select(c=1).channel_names == ("GFP",)
    np.testing.assert_array_equal(np.asarray(image.planes(channel=1).data), data[:, 1])


def test_imagej_hyperstack(tmp_path) -> None:
    data = RNG.integers(0, 255, (2, 3, 32, 40), np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif",
        data,
        imagej=True,
        resolution=(1 / 0.25, 1 / 0.5),
        metadata={"axes": "TZYX", "spacing": 2.0, "unit": "um", "finterval": 0.1},
    )
    image = nd.read(tmp_path / "a.tif")
    assert image.axes == "tzyx"
    assert image.spacing == pytest.approx((0.1, 2.0, 0.5, 0.25))
    assert image.units == ("second", "micrometer", "micrometer", "micrometer")
    with pytest.raises(InputError, match=r"image\.select\(t=0\)"):
        image.planes()
    planes = image.select(t=1).planes()
    assert planes.axes == "zyx" and planes.spacing == pytest.approx((2.0, 0.5, 0.25))
    np.testing.assert_array_equal(planes.plane(2), data[1, 2])


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_plain_pages_are_a_stack_with_one_chunk_a_page(tmp_path, compression, bigtiff) -> None:
    data = RNG.normal(size=(5, 33, 41)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", data, compression=compression, bigtiff=bigtiff, metadata=None)
    image = nd.read(tmp_path / "a.tif")
    assert image.axes == "zyx" and image.units == ("pixel",) * 3
    assert image.data.chunks == ((1,) * 5, (33,), (41,))
    np.testing.assert_array_equal(np.asarray(image), data)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_is_last_and_alpha_is_dropped_by_planes(tmp_path, planar) -> None:
    data = RNG.integers(0, 255, (32, 40, 4), np.uint8)
    stored = data if planar == "contig" else np.moveaxis(data, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, extrasamples=["unassalpha"])
    image = nd.read(tmp_path / "a.tif")
    assert image.axes == "yxs" and image.rgb
    np.testing.assert_array_equal(image.planes().plane(0), data[..., :3])


def test_pyramid_levels_lie_over_each_other(tmp_path) -> None:
    data = RNG.integers(0, 255, (512, 768), np.uint8)
    options = {"tile": (64, 64), "photometric": "minisblack"}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        writer.write(data, subifds=1, metadata={"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}, **options)
        writer.write(data[::2, ::2], subfiletype=1, **options)
    image = nd.read(tmp_path / "a.ome.tif")
    assert [level.shape for level in image.levels] == [(512, 768), (256, 384)]
    fine, coarse = image.planes(level=0), image.planes(level=1)
    assert coarse.spacing[1:] == (1.0, 1.0)
    np.testing.assert_allclose(coarse.world_from_pixel @ [0, -0.5, -0.5, 1], fine.world_from_pixel @ [0, -0.5, -0.5, 1])
    np.testing.assert_array_equal(coarse.plane(0), data[::2, ::2])
    np.testing.assert_array_equal(fine.plane(0), data)


def test_a_part_of_a_tiled_image_reads_only_its_tiles(tmp_path, monkeypatch) -> None:
    data = RNG.integers(0, 255, (4096, 8192), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, tile=(256, 256), compression="zlib")
    image = nd.read(tmp_path / "a.tif")
    assert max(image.data.chunksize) <= 2048
    seen = []
    original = tifffile.FileHandle.read_segments

    def counted(self, *args, **kwargs):
        for segment in original(self, *args, **kwargs):
            seen.append(segment)
            yield segment

    monkeypatch.setattr(tifffile.FileHandle, "read_segments", counted)
    np.testing.assert_array_equal(np.asarray(image.data[100:200, 300:400]), data[100:200, 300:400])
    assert len(seen) <= 64


def test_slide_resolution_is_read_and_printing_resolution_is_not(tmp_path) -> None:
    data = np.zeros((32, 32), np.uint8)
    tifffile.imwrite(tmp_path / "slide.tif", data, description="Aperio|AppMag = 40|MPP = 0.2520", metadata=None)
    assert nd.read(tmp_path / "slide.tif").spacing == (0.252, 0.252)
    tifffile.imwrite(tmp_path / "print.tif", data, resolution=(300, 300), resolutionunit="INCH")
    assert nd.read(tmp_path / "print.tif").units == ("pixel", "pixel")
    tifffile.imwrite(tmp_path / "scan.tif", data, resolution=(10000, 5000), resolutionunit="CENTIMETER")
    assert nd.read(tmp_path / "scan.tif").spacing == (2.0, 1.0)


def test_series_are_chosen_by_number(tmp_path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(np.zeros((8, 9), np.uint8))
        writer.write(np.ones((10, 11), np.uint16))
    assert nd.read(tmp_path / "a.tif", series=1).shape == (10, 11)
    with pytest.raises(FileFormatError, match="Image 2"):
        nd.read(tmp_path / "a.tif", series=2)


def test_given_axes_spacing_and_units_win(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 8, 9), np.uint8))
    image = nd.read(tmp_path / "a.tif", axes="tyx", spacing=(2, 3, 4), units=("s", "µm", "um"))
    assert image.axes == "tyx" and image.spacing == (2.0, 3.0, 4.0)
    assert image.units == ("second", "micrometer", "micrometer")
    for wrong in ({"axes": "yx"}, {"spacing": (1, 2, 3, 4)}, {"spacing": -1}, {"spacing": (1, float("nan"), 1)}):
        with pytest.raises(InputError):
            nd.read(tmp_path / "a.tif", **wrong)


def test_an_opened_file_goes_into_extract_as_it_is(tmp_path) -> None:
    path = make_ome(
        tmp_path / "a.ome.tif",
        RNG.integers(0, 255, (2, 32, 32), np.uint8),
        "ZYX",
        PhysicalSizeX=2.0,
        PhysicalSizeY=2.0,
        PhysicalSizeZ=8.0,
    )
    features = nd.extract(nd.read(path), backbone="random-projection-cnx-tiny")
    assert features.spacing == (8.0, 2.0, 2.0) and features.units == ("micrometer",) * 3
    with pytest.raises(InputError, match="read"):
        nd.extract(nd.read(path), spacing=3)


def test_lazy_arrays_survive_pickling_and_close_their_file(tmp_path) -> None:
    data = RNG.integers(0, 255, (5, 16, 16), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, compression="zlib")
    lazy = nd.read(tmp_path / "a.tif").data
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(lazy)).compute(), data)
    lazy.compute()
    del lazy
    gc.collect()  # a file left open would warn here, and warnings are errors
    (tmp_path / "a.tif").unlink()


@pytest.mark.parametrize("cut", [4, 100, 2000])
def test_truncated_files_are_refused(tmp_path, cut) -> None:
    tifffile.imwrite(tmp_path / "whole.tif", RNG.integers(0, 255, (5, 64, 64), np.uint8))
    (tmp_path / "cut.tif").write_bytes((tmp_path / "whole.tif").read_bytes()[:cut])
    with pytest.raises(FileFormatError, match=r"cut\.tif"):
        nd.read(tmp_path / "cut.tif")


def test_damage_inside_is_named_when_it_is_read(tmp_path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RNG.integers(0, 255, (5, 64, 64), np.uint8), compression="zlib", metadata=None)
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[2].dataoffsets[0]
    broken = bytearray(path.read_bytes())
    broken[offset : offset + 200] = b"\xff" * 200
    path.write_bytes(broken)
    image = nd.read(path)
    assert image.planes().plane(0).shape == (64, 64)
    with pytest.raises(FileFormatError, match="cannot be decoded"):
        image.planes().plane(2)


@pytest.mark.parametrize("content", [b"", b"II*\0", b"not a tiff at all", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_other_content_is_refused(tmp_path, content) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"a\.tif"):
        nd.read(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", [1, 8])
def test_a_header_of_a_million_million_pixels_is_refused(tmp_path, compression) -> None:
    tags = [
        (256, 4, 1_000_000),
        (257, 4, 1_000_000),
        (258, 3, 8),
        (259, 3, compression),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, 1_000_000),
        (279, 4, 100),
    ]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    (tmp_path / "a.tif").write_bytes(struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(tags)) + body + b"\0" * 200)
    with pytest.raises(FileFormatError, match=r"a\.tif"):
        nd.read(tmp_path / "a.tif")


def test_nothing_there_and_unknown_kinds(tmp_path) -> None:
    with pytest.raises(InputError, match="nothing at"):
        nd.read(tmp_path / "missing.tif")
    (tmp_path / "a.xyz").write_text("?")
    with pytest.raises(InputError, match=r"a\.xyz ends in \.xyz"):
        nd.read(tmp_path / "a.xyz")


def test_a_slide_of_aperio_is_a_pyramid_without_its_thumbnail_and_label(tmp_path) -> None:
    data = RNG.integers(0, 255, (1024, 1536, 3), np.uint8)
    head = "Aperio Image Library v11.2.1\r\n1536x1024 [0,0 1536x1024] (256x256) JPEG/RGB Q=30"
    options = {"photometric": "rgb", "metadata": None, "software": None}
    with tifffile.TiffWriter(tmp_path / "slide.svs") as writer:
        writer.write(data, tile=(256, 256), description=f"{head}|AppMag = 20|MPP = 0.5", **options)
        writer.write(data[::8, ::8], description=f"{head} -> 192x128", rowsperstrip=16, **options)
        writer.write(data[::4, ::4], tile=(256, 256), description=f"{head} -> 384x256", **options)
        writer.write(data[:100, :80], description="Aperio Image Library v11.2.1\r\nlabel 80x100", subfiletype=1, **options)
    image = nd.read(tmp_path / "slide.svs")
    assert [level.shape for level in image.levels] == [(1024, 1536, 3), (256, 384, 3)]
    assert image.facts["format"] == "SVS" and image.rgb and image.lazy
    assert image.spacing == (0.5, 0.5) and image.units == ("micrometer",) * 2
    np.testing.assert_allclose(image.planes(level=1).spacing[1:], (2.0, 2.0))
    np.testing.assert_array_equal(np.asarray(image.levels[1]), data[::4, ::4])
