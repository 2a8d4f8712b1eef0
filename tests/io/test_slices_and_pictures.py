from __future__ import annotations

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

import napari_dinov3 as nd
from napari_dinov3.errors import FileFormatError, InputError
from napari_dinov3.io.choices import needs_choice
from napari_dinov3.io.slices import list_slices, natural_key

RNG = np.random.default_rng(0)


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)


def test_natural_order() -> None:
    names = ["s10.png", "s2.png", "S1.png", "a3b10", "a3b9", "s02x.png"]
    assert sorted(names, key=natural_key) == ["a3b9", "a3b10", "S1.png", "s2.png", "s02x.png", "s10.png"]


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_folder_is_a_lazy_stack_in_natural_order(tmp_path, suffix) -> None:
    planes = RNG.integers(0, 255, (12, 20, 30), np.uint8)
    for i, plane in enumerate(planes):
        save(tmp_path / f"iso.{i}.{suffix}", plane)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / f".hidden.{suffix}").write_text("not an image")
    image = nd.read(tmp_path)
    assert image.axes == "zyx" and image.data.numblocks == (12, 1, 1)
    np.testing.assert_array_equal(np.asarray(image), planes)
    assert nd.read(tmp_path, stack_axis="t", spacing=(2, 1, 1)).axes == "tyx"


def test_only_the_plane_asked_for_is_read(tmp_path) -> None:
    for i in range(4):
        save(tmp_path / f"{i}.png", np.full((8, 8), i, np.uint8))
    image = nd.read(tmp_path)
    (tmp_path / "3.png").write_bytes(b"gone")
    assert image.planes().plane(2)[0, 0] == 2
    with pytest.raises(FileFormatError, match=r"3\.png"):
        image.planes().plane(3)


def test_grey_among_colour_becomes_colour_and_alpha_goes(tmp_path) -> None:
    grey, colour = RNG.integers(0, 255, (8, 9), np.uint8), RNG.integers(0, 255, (8, 9, 4), np.uint8)
    save(tmp_path / "0.png", grey)
    save(tmp_path / "1.png", colour)
    save(tmp_path / "2.png", colour[..., :3])
    data = np.asarray(nd.read(tmp_path))
    assert data.shape == (3, 8, 9, 3)
    np.testing.assert_array_equal(data[0], np.repeat(grey[..., None], 3, -1))
    np.testing.assert_array_equal(data[1:], np.stack([colour[..., :3]] * 2))


@pytest.mark.parametrize("odd", [np.zeros((8, 10), np.uint8), np.zeros((8, 9), np.uint16)])
def test_the_file_that_differs_is_named(tmp_path, odd) -> None:
    for i in range(3):
        save(tmp_path / f"{i}.png", np.zeros((8, 9), np.uint8))
    save(tmp_path / "1.png", odd)
    with pytest.raises(FileFormatError, match=r"1\.png is"):
        nd.read(tmp_path)


def test_folders_that_are_no_stack(tmp_path) -> None:
    with pytest.raises(InputError, match="holds no images"):
        list_slices(tmp_path)
    save(tmp_path / "0.png", np.zeros((8, 9), np.uint8))
    save(tmp_path / "0.jpg", np.zeros((8, 9), np.uint8))
    with pytest.raises(InputError, match="JPEG and PNG"):
        list_slices(tmp_path)


def test_folder_of_stacks_is_a_time_series(tmp_path) -> None:
    data = RNG.integers(0, 255, (3, 2, 16, 20), np.uint8)
    for i, stack in enumerate(data):
        tifffile.imwrite(tmp_path / f"time{i}.tif", stack)
    image = nd.read(tmp_path)
    assert image.axes == "tzyx"
    np.testing.assert_array_equal(np.asarray(image), data)


def test_spacing_of_the_files_is_kept(tmp_path) -> None:
    for i in range(2):
        tifffile.imwrite(
            tmp_path / f"{i}.tif", np.zeros((8, 9), np.uint16), imagej=True, resolution=(2, 2), metadata={"unit": "um"}
        )
    image = nd.read(tmp_path)
    assert image.spacing == (1.0, 0.5, 0.5) and image.units == ("pixel", "micrometer", "micrometer")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_picture_modes(tmp_path, mode) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    source = Image.fromarray(RNG.integers(0, 255, (16, 18, 3), np.uint8))
    picture = Image.fromarray(np.arange(288, dtype=np.uint16).reshape(16, 18) * 200) if mode == "I;16" else source.convert(mode)
    picture.save(tmp_path / f"a.{suffix}")
    from napari_dinov3.io.raster import read_header, read_picture

    pixels, header = read_picture(tmp_path / f"a.{suffix}"), read_header(tmp_path / f"a.{suffix}")
    colour = mode in ("P", "RGB", "RGBA", "CMYK")
    assert pixels.shape == ((16, 18, 3) if colour else (16, 18))
    assert (header.rows, header.cols, header.rgb, header.dtype) == (16, 18, colour, pixels.dtype)
    if mode == "I;16":
        np.testing.assert_array_equal(pixels, np.asarray(picture))


def _png_header(width: int, height: int, depth: int, colour: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunk = b"IHDR" + head
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0" * 30


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n", "cannot be read"),
        (_png_header(1_000_000, 1_000_000, 8, 0), "cannot be read"),
        (_png_header(64, 64, 16, 2), "16 bits"),
        (_png_header(64, 64, 8, 0), "cannot be read"),
    ],
)
def test_hostile_pictures(tmp_path, content, match) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(FileFormatError, match=match):
        nd.read(tmp_path / "a.png")


def test_numpy_files(tmp_path) -> None:
    data = RNG.normal(size=(3, 16, 18))
    np.save(tmp_path / "a.npy", data)
    np.savez(tmp_path / "b.npz", data)
    np.savez(tmp_path / "c.npz", data, data)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    for name in ("a.npy", "b.npz"):
        image = nd.read(tmp_path / name)
        assert image.axes == "zyx"
        np.testing.assert_array_equal(np.asarray(image), data)
    with pytest.raises(InputError, match=r"2 images.*arr_0 3 x 16 x 18; arr_1"):
        nd.read(tmp_path / "c.npz")
    with pytest.raises(FileFormatError, match="cannot be read"):
        nd.read(tmp_path / "objects.npy")


def test_archives_that_unpack_to_too_much(tmp_path, monkeypatch) -> None:
    from napari_dinov3.io import numpy_file

    np.savez_compressed(tmp_path / "ones.npz", np.ones((40, 50)))
    assert nd.read(tmp_path / "ones.npz").shape == (40, 50)
    monkeypatch.setattr(numpy_file, "_MOST_UNPACKED", 1000)
    with pytest.raises(FileFormatError, match="claims 16,000 bytes"):
        nd.read(tmp_path / "ones.npz")
    np.savez_compressed(tmp_path / "two.npz", a=np.ones((9, 9)), b=np.ones((40, 50)))
    assert nd.read(tmp_path / "two.npz", dataset="a").shape == (9, 9)
    with pytest.raises(FileFormatError, match=r"claims 16,000 bytes.*'b'"):
        nd.read(tmp_path / "two.npz", dataset="b")


def test_one_array_of_an_archive_is_chosen_by_its_name(tmp_path) -> None:
    images, ids = RNG.normal(size=(3, 16, 18)), RNG.integers(0, 9, (3, 16, 18))
    path = tmp_path / "set.npz"
    np.savez(path, images=images, **{"labels/cells": ids}, spacing=np.array([1.0, 2.0]), seed=3)
    chosen = nd.read(path, dataset="labels/cells")
    assert (chosen.kind, chosen.name) == ("labels", "set labels/cells")
    np.testing.assert_array_equal(np.asarray(chosen), ids)
    assert needs_choice(path) == {"images": (3, 16, 18), "labels/cells": (3, 16, 18)}
    with pytest.raises(InputError, match=r"none called 'cells'.*images 3 x 16 x 18; labels/cells 3 x 16 x 18"):
        nd.read(path, dataset="cells")
    np.savez(path, images=images, spacing=np.array([1.0, 2.0]))
    assert nd.read(path).name == "set" and needs_choice(path) is None
    np.savez(path, spacing=np.array([1.0, 2.0]), seed=3)
    with pytest.raises(InputError, match="holds 0 images"):
        nd.read(path)


def test_truncated_numpy_file(tmp_path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((64, 64)))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:5000])
    with pytest.raises(FileFormatError, match=r"a\.npy"):
        nd.read(tmp_path / "a.npy")


def test_real_slices(shared_data) -> None:
    image = nd.read(shared_data("em/flyem_medulla_fibsem") / "grayscale_maps")
    assert image.shape == (250, 250, 250) and image.dtype == np.uint8
    assert nd.read(shared_data("alignment/glta_mouse_coronal_series") / "GLTa").axes == "zyxs"
    assert nd.read(shared_data("calcium/thunder_zebrafish") / "images").axes == "tzyx"


@pytest.mark.parametrize("compressed", [False, True])
def test_of_thousands_of_files_some_are_looked_at_and_an_odd_one_is_named_at_the_latest_when_read(
    tmp_path, monkeypatch, compressed
) -> None:
    from napari_dinov3.io import slices

    monkeypatch.setattr(slices, "_CHECKED_ALL", 20)
    monkeypatch.setattr(slices, "_CHECKED_SOME", 6)
    for i in range(60):
        odd = np.zeros((10, 9), np.uint8) if i == 17 else RNG.integers(0, 255, (8, 9), np.uint8) // (1 + i)
        tifffile.imwrite(tmp_path / f"{i}.tif", odd, compression="zlib" if compressed else None, metadata=None)
    looked = []
    original = slices._header
    monkeypatch.setattr(slices, "_header", lambda file: looked.append(file) or original(file))
    if not compressed:  # its size gives it away
        with pytest.raises(FileFormatError, match=r"17\.tif is 10 x 9"):
            nd.read(tmp_path)
        return
    image = nd.read(tmp_path)
    assert image.shape == (60, 8, 9) and len(looked) <= 12
    with pytest.raises(FileFormatError, match=r"17\.tif has shape"):
        image.planes().plane(17)


def test_a_png_that_claims_more_than_it_packs_takes_no_memory(tmp_path) -> None:
    path = tmp_path / "bomb.png"
    save(path, np.zeros((64, 64), np.uint8))
    content = bytearray(path.read_bytes())
    struct.pack_into(">II", content, 16, 9_000, 9_000)
    struct.pack_into(">I", content, 29, zlib.crc32(bytes(content[12:29])))
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match="claims 9,000 x 9,000 pixels"):
            nd.read(path)
        assert tracemalloc.get_traced_memory()[1] < 1e7
    finally:
        tracemalloc.stop()
