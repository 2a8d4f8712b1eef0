"""Files of plain arrays: whatever a file holds, it is read in bounded memory or refused by name."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from napari_dinov3.classify.images import ImageClassifier
from napari_dinov3.errors import FileFormatError
from napari_dinov3.learn.array_file import FileKind, read_arrays, write_arrays
from napari_dinov3.objects.classifier import ObjectClassifier
from napari_dinov3.segment.probe import Probe

KIND = FileKind("napari-dinov3 test", 1, "test", "write_arrays()")


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npy_claiming(shape: str, dtype: str = "<f4", content: bytes = bytes(64)) -> bytes:
    """Write an npy file whose header names a shape its content does not have."""
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def archive(path: Path, header: bytes, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("header.npy", header)
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


GOOD = npy(np.array(json.dumps({"format": KIND.format, "version": 1})))
HOSTILE = {
    "more numbers than there are bytes": {"a": npy_claiming("(1000000000000,)")},
    "a shape beyond any integer": {"a": npy_claiming("(9223372036854775807, 9223372036854775807)")},
    "a negative shape": {"a": npy_claiming("(-4,)")},
    "fewer numbers than there are bytes": {"a": npy_claiming("(2,)")},
    "a header that is no dictionary": {"a": npy_claiming("(2,) + exit()")},
    "records": {"a": npy(np.zeros(2, [("x", "f4"), ("y", "O")]))},
    "dates": {"a": npy(np.zeros(2, "M8[s]"))},
    "objects": {"a": npy(np.array([print], dtype=object))},
    "no array": {"a": b"import os"},
    "nothing": {"a": b""},
    "header of numbers": {"header": npy(np.zeros(3))},
    "header of several texts": {"header": npy(np.array(["{}", "{}"]))},
    "header nested without end": {"header": npy(np.array("[" * 200_000))},
    "header that is a list": {"header": npy(np.array("[1, 2]"))},
    "header that is no JSON": {"header": npy(np.array("{'a': 1}"))},
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE)
def test_hostile_content_is_refused(members: dict[str, bytes], tmp_path: Path):
    with pytest.raises(FileFormatError, match="not a usable test file"):
        read_arrays(archive(tmp_path / "a.npz", **{"header": GOOD, **members}), KIND)


def test_an_unpacked_gigabyte_is_refused_unread(tmp_path: Path):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("header.npy", GOOD)
        for number in range(65):
            file.writestr(f"{number}.npy", bytes(1 << 24))
    with pytest.raises(FileFormatError, match="unpacks to more than 1024 MiB"):
        read_arrays(path, KIND)


@pytest.mark.parametrize("at", [0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("what", ["cut", "changed"])
def test_damaged_files_are_refused(what: str, at: float, tmp_path: Path):
    path = write_arrays(tmp_path / "a.npz", KIND, {}, {"a": np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)})
    content = bytearray(path.read_bytes())
    place = int(at * len(content))
    path.write_bytes(content[:place] if what == "cut" else content[:place] + b"\xff" * 24 + content[place + 24 :])
    with pytest.raises(FileFormatError, match="not a usable test file"):
        read_arrays(path, KIND)


def test_packing_that_nothing_here_writes_is_refused(tmp_path: Path):
    path = archive(tmp_path / "a.npz", GOOD, a=npy(np.zeros(3)))
    content = bytearray(path.read_bytes())
    for signature, flag in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # mark every member as encrypted
        at = content.find(signature)
        while at >= 0:
            content[at + flag] |= 1
            at = content.find(signature, at + 4)
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="not a usable test file"):
        read_arrays(path, KIND)


def test_what_was_written_is_read(tmp_path: Path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "seed": np.array(7), "head.b": np.zeros((0, 4), np.float32)}
    header, read = read_arrays(write_arrays(tmp_path / "a", KIND, {"classes": [1, 2]}, arrays), KIND)
    assert header["classes"] == [1, 2] and list(read) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype


@pytest.mark.parametrize("load", [Probe.load, ObjectClassifier.load, ImageClassifier.load])
def test_every_reader_refuses_arrays_larger_than_their_file(load, tmp_path: Path):
    path = archive(tmp_path / "a.npz", GOOD, mean=npy_claiming("(1000000000000,)"))
    with pytest.raises(FileFormatError, match=r"not a usable .* file"):
        load(path)
