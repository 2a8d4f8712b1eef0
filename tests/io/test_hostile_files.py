"""Files that lie: each is refused with its name in the message, quickly, and without memory of the size it claims."""

from __future__ import annotations

import gzip
import io
import json
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import napari_dinov3 as nd
from napari_dinov3.errors import InputError

Make = Callable[[Path], None]
BIG = 1_000_000


def _tiff(rows: int, cols: int, compression: int) -> bytes:
    tags = [(256, 4, cols), (257, 4, rows), (258, 3, 8), (259, 3, compression), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 4, max(1, rows)), (279, 4, 100)]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(tags)) + body + b"\0" * 200


def _png(rows: int, cols: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", cols, rows, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def _npy(shape: tuple[int, ...]) -> bytes:
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + b"\0" * 64


def _npz(claimed: int) -> bytes:
    """A zip whose member says it unpacks to `claimed` bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../evil.npy", _npy((claimed // 8,)))
    content = bytearray(out.getvalue())
    at = content.rfind(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", min(claimed, 0xFFFF_FFF0))
    return bytes(content)


def _nifti(shape: tuple[int, ...], *, zoom: float = 1.0) -> bytes:
    head = bytearray(352)
    head[:4], head[344:348] = struct.pack("<i", 348), b"n+1\0"
    head[40:56] = struct.pack("<8h", len(shape), *shape, *(1,) * (7 - len(shape)))
    head[70:74], head[108:112] = struct.pack("<hh", 4, 16), struct.pack("<f", 352)
    head[76:108] = struct.pack("<8f", 1, zoom, zoom, zoom, 1, 1, 1, 1)
    return bytes(head) + b"\0" * 64


def _nrrd(sizes: str, extra: str = "") -> bytes:
    return f"NRRD0004\ntype: uint8\nencoding: raw\ndimension: 3\nsizes: {sizes}\n{extra}\n".encode() + b"\0" * 64


def _mha(sizes: str, data: str = "LOCAL", extra: str = "") -> bytes:
    return (
        f"ObjectType = Image\nNDims = 3\nDimSize = {sizes}\n{extra}ElementType = MET_UCHAR\nElementDataFile = {data}\n".encode()
    )


def _bytes(content: bytes) -> Make:
    return lambda path: path.write_bytes(content) and None


def _hdf5(path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:  # chunked and never written: claims 10^12 pixels and holds none
        file.create_dataset("volumes/raw", shape=(BIG, BIG), dtype="u1", chunks=(1024, 1024))


def _zarr(metadata: Any) -> Make:
    def make(path: Path) -> None:
        pytest.importorskip("ome_zarr")
        path.mkdir()
        (path / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"ome": metadata}}))

    return make


def _multiscales(where: str, scale: float = 1.0) -> dict[str, Any]:
    axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    data = {"path": where, "coordinateTransformations": [{"type": "scale", "scale": [scale, scale]}]}
    return {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [data]}]}


def _neurofinder(regions: str) -> Make:
    def make(path: Path) -> None:
        (path / "images").mkdir(parents=True)
        (path / "regions").mkdir()
        tifffile.imwrite(path / "images" / "image00000.tiff", np.zeros((8, 9), np.uint8))
        (path / "regions" / "regions.json").write_text(regions)

    return make


def _optional(package: str, content: bytes) -> Make:
    def make(path: Path) -> None:
        pytest.importorskip(package)
        path.write_bytes(content)

    return make


NII, NRRD, MHA = "nibabel", "nrrd", "SimpleITK"
HOSTILE: dict[str, tuple[str, Make]] = {
    "tiff of 10^12 pixels": ("a.tif", _bytes(_tiff(BIG, BIG, 1))),
    "packed tiff of 10^12 pixels": ("a.tif", _bytes(_tiff(BIG, BIG, 8))),
    "tiff of no rows": ("a.tif", _bytes(_tiff(0, 10, 1))),
    "png called tiff": ("a.tif", _bytes(_png(8, 8))),
    "truncated tiff": ("a.tif", _bytes(_tiff(100, 100, 1)[:40])),
    "ome.tif of text": ("a.ome.tif", _bytes(b"not an image" * 20)),
    "png of 10^12 pixels": ("a.png", _bytes(_png(BIG, BIG))),
    "truncated png": ("a.png", _bytes(_png(64, 64)[:30])),
    "png bomb of 1.7e8 pixels": ("a.png", _bytes(_png(13_000, 13_500))),
    "text called png": ("a.png", _bytes(b"hello" * 20)),
    "npy of 10^12 numbers": ("a.npy", _bytes(_npy((BIG, BIG)))),
    "npy of no planes": ("a.npy", _bytes(_npy((0, 8, 8)))),
    "npy of negative size": ("a.npy", _bytes(_npy((-5, 8)))),
    "truncated npy": ("a.npy", _bytes(_npy((8, 8))[:60])),
    "npy of objects": ("a.npy", _bytes(_npy((8, 8)).replace(b"'<f8'", b"'|O' "))),
    "npz that unpacks to 4 GB": ("a.npz", _bytes(_npz(4 << 30))),
    "npz that unpacks to 10 MB and says 1 kB": ("a.npz", _bytes(_npz(1000))),
    "no zip": ("a.npz", _bytes(b"PK\x03\x04 nothing")),
    "nifti of 32,000^3 voxels": ("a.nii", _optional(NII, _nifti((32_000, 32_000, 32_000)))),
    "nifti of no planes": ("a.nii", _optional(NII, _nifti((8, 8, 0)))),
    "nifti of negative size": ("a.nii", _optional(NII, _nifti((8, 8, -4)))),
    "packed nifti bomb": ("a.nii.gz", _optional(NII, gzip.compress(_nifti((32_000, 32_000, 32_000))))),
    "nifti of text": ("a.nii", _optional(NII, b"hello" * 100)),
    "truncated nifti": ("a.nii", _optional(NII, _nifti((8, 8, 8))[:200])),
    "nrrd of 10^12 voxels": ("a.nrrd", _optional(NRRD, _nrrd("10000 10000 10000"))),
    "nrrd of no planes": ("a.nrrd", _optional(NRRD, _nrrd("4 4 0"))),
    "nrrd of negative size": ("a.nrrd", _optional(NRRD, _nrrd("4 4 -4"))),
    "nrrd outside its folder": ("a.nhdr", _optional(NRRD, _nrrd("4 4 4", "data file: ../../../etc/hostname\n"))),
    "nrrd of text": ("a.nrrd", _optional(NRRD, b"hello")),
    "mha of 10^12 voxels": ("a.mha", _bytes(_mha("10000 10000 10000"))),
    "packed mha of 10^12 voxels": ("a.mha", _bytes(_mha("10000 10000 10000", extra="CompressedData = True\n"))),
    "mha of no planes": ("a.mha", _bytes(_mha("4 4 0"))),
    "mhd outside its folder": ("a.mhd", _bytes(_mha("4 4 4", "../../secret.raw"))),
    "mhd of a list of files": ("a.mhd", _bytes(_mha("4 4 4", "LIST"))),
    "mhd of a pattern of files": ("a.mhd", _bytes(_mha("4 4 4", "%03d.raw 1 4 1"))),
    "mha of text": ("a.mha", _bytes(b"hello" * 10)),
    "truncated mha": ("a.mha", _bytes(_mha("4 4 4")[:50])),
    "mha of no spacing": ("a.mha", _optional(MHA, _mha("2 2 2", extra="ElementSpacing = 0 1 1\n") + b"\0" * 8)),
    "hdf5 of text": ("a.h5", _optional("h5py", b"hello" * 100)),
    "truncated hdf5": ("a.h5", _optional("h5py", b"\x89HDF\r\n\x1a\n" + b"\0" * 40)),
    "zarr outside its folder": ("a.zarr", _zarr(_multiscales("../../other"))),
    "zarr of negative spacing": ("a.zarr", _zarr(_multiscales("0", -1.0))),
    "zarr of text": ("a.zarr", _zarr("hello")),
    "zarr of nothing": ("a.zarr", _zarr(_multiscales("0"))),
    "swc of text": ("a.swc", _bytes(b"hello world")),
    "swc of bytes": ("a.swc", _bytes(bytes(range(256)))),
    "geojson of text": ("a.geojson", _bytes(b"hello")),
    "geojson of no polygons": ("a.geojson", _bytes(b'{"type": "FeatureCollection", "features": []}')),
    "geojson nested 10^5 deep": ("a.geojson", _bytes(b"[" * 100_000)),
    "regions outside the image": ("neurofinder.00.00", _neurofinder('[{"coordinates": [[9999999999, 0]]}]')),
    "regions nested 10^5 deep": ("neurofinder.00.00", _neurofinder("[" * 100_000)),
    "an empty file": ("a.nii.gz", _bytes(b"")),
    "an empty folder": ("folder", lambda path: path.mkdir()),
}


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """Load the libraries first: their own memory and time are not the files'."""
    import dask.array
    import PIL.Image
    import zarr

    assert dask.array and PIL.Image and zarr
    for name in ("nibabel", "h5py", "nrrd", "SimpleITK"):
        try:
            __import__(name)
        except ImportError:
            continue
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)
        try:
            import ome_zarr.io
            import ome_zarr.reader

            assert ome_zarr.io and ome_zarr.reader
        except ImportError:
            pass


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_at_once_and_takes_no_memory(tmp_path: Path, case: str) -> None:
    name, make = HOSTILE[case]
    make(tmp_path / name)
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(InputError) as caught:
            nd.read_layers(tmp_path / name)
        seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert name.split(".")[0] in str(caught.value) or "region" in str(caught.value).lower()
    assert caught.value.expected and caught.value.action
    assert peak < 32 << 20, f"{peak:,} bytes"
    assert seconds < 5  # a second, on a computer that does nothing else


def test_a_sparse_hdf5_of_a_million_million_pixels_opens_lazily(tmp_path: Path) -> None:
    """The claim is true there: nothing was ever written, and every pixel is the fill value."""
    _hdf5(tmp_path / "a.h5")
    tracemalloc.start()
    try:
        image = nd.read(tmp_path / "a.h5")
        part = np.asarray(image.data[500_000:500_010, :10])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert image.shape == (BIG, BIG)
    assert part.max() == 0
    assert peak < 64 << 20, f"{peak:,} bytes"


def test_a_tiff_that_unpacks_to_more_than_it_says_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8), compression="zlib", metadata=None)
    with tifffile.TiffFile(path) as tif:
        offset, length = tif.pages[0].dataoffsets[0], tif.pages[0].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + length] = b"\0" * length
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tif"):
        np.asarray(nd.read(path))


def test_blocks_of_gigabytes_are_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", shape=(BIG, BIG), dtype="u1", chunks=(50_000, 50_000))
    with pytest.raises(InputError, match="blocks of"):
        nd.read(tmp_path / "a.h5")


def test_a_spacing_that_cannot_be_is_warned_of_and_counts_for_nothing(tmp_path: Path) -> None:
    from napari_dinov3.errors import FallbackWarning

    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((8, 9), np.uint8), metadata={"axes": "YX", "PhysicalSizeX": -4.0})
    with pytest.warns(FallbackWarning, match=r"-4\.0"):
        assert nd.read(tmp_path / "a.ome.tif").units[-1] == "pixel"
    h5py, _ = pytest.importorskip("h5py"), pytest.importorskip("nrrd")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["volumes/raw"] = np.zeros((2, 8, 9), np.uint8)
        file["volumes/raw"].attrs["resolution"] = (40.0, -4.0, 4.0)
    with pytest.warns(FallbackWarning, match=r"a\.h5 states a spacing of -4"):
        assert nd.read(tmp_path / "a.h5").units == ("pixel",) * 3
    (tmp_path / "a.nrrd").write_bytes(_nrrd("2 2 2", "spacings: 1 -1 1\n"))
    with pytest.warns(FallbackWarning, match=r"a\.nrrd"):
        assert nd.read(tmp_path / "a.nrrd").spacing == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("zoom", [0.0, -2.0, float("nan")])
def test_a_nifti_without_a_sensible_voxel_size_has_a_positive_one_or_is_refused(tmp_path: Path, zoom: float) -> None:
    pytest.importorskip("nibabel")
    (tmp_path / "a.nii").write_bytes(_nifti((2, 2, 2), zoom=zoom))
    try:
        image = nd.read(tmp_path / "a.nii")
    except InputError as error:
        assert "a.nii" in str(error)
    else:
        assert np.isfinite(image.spacing).all() and min(image.spacing) > 0
