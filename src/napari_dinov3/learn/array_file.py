"""Files of plain arrays: one npz archive with a JSON header, never a pickle.

A file is written beside its place and renamed, so a crash leaves the old one. What is read is checked before it is used.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import FileFormatError, InputError

_LARGEST = 1 << 30  # bytes unpacked; samples of 20,000 x 4,096 numbers stay under it
_DAMAGE = (  # all that zipfile, zlib, numpy and json raise on content they do not understand
    zipfile.BadZipFile,
    zlib.error,
    KeyError,
    ValueError,
    EOFError,
    OSError,
    RuntimeError,
    SyntaxError,
)


@dataclass(frozen=True, slots=True)
class FileKind:
    """What a file of plain arrays holds.

    Parameters
    ----------
    format : str
        Stands in the header of each file of this kind.
    version : int
        Of the format.
    what : str
        In a word or two, for messages: ``"probe"``.
    writer : str
        What writes such files, for messages: ``"Probe.save()"``.
    """

    format: str
    version: int
    what: str
    writer: str

    def unusable(self, path: Path, why: str) -> FileFormatError:
        """Say why a file is refused."""
        return FileFormatError(
            f"{path.name} is not a usable {self.what} file: {why}",
            f"a file written by {self.writer}",
            f"Choose another file, or train and save the {self.what} again",
        )


def write_arrays(
    path: Path, kind: FileKind, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], *, overwrite: bool = False
) -> Path:
    """Write arrays and a JSON-able header.

    Parameters
    ----------
    path : Path
        File to write; ``.npz`` is added where there is no suffix.
    kind, header, arrays
        What; format and version are added to the header.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    path : Path
        Where it was written.

    Raises
    ------
    InputError
        If the file is there and `overwrite` is not set.
    """
    path = path if path.suffix else path.with_suffix(".npz")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists", "a new file", "Choose another name, or pass overwrite=True")
    text = json.dumps({"format": kind.format, "version": kind.version, **header})
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            contents: dict[str, Any] = dict(arrays)
            np.savez_compressed(file, header=np.array(text), **contents)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def read_arrays(path: Path, kind: FileKind) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Read the header and the arrays of a file.

    Raises
    ------
    FileFormatError
        If there is no such file, it is of another kind, damaged, larger than any file of its kind, or of a newer version.
    """
    if not path.is_file():
        raise FileFormatError(f"There is no file {path}", f"a {kind.what} file (.npz)", "Check the path")
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _LARGEST:
                raise kind.unusable(path, f"it unpacks to more than {_LARGEST >> 20} MiB")
            arrays = {member.filename.removesuffix(".npy"): _read_member(archive, member) for member in archive.infolist()}
        header = json.loads(str(arrays.pop("header")))
    except _DAMAGE as error:
        if isinstance(error, FileNotFoundError | FileFormatError | PermissionError | IsADirectoryError):
            raise
        raise kind.unusable(path, f"it cannot be read ({error})") from error
    if not isinstance(header, dict) or header.get("format") != kind.format:
        raise kind.unusable(path, "its header does not say so")
    if header.get("version") != kind.version:
        raise FileFormatError(
            f"{path.name} is a {kind.what} file of version {header.get('version')}",
            f"version {kind.version}",
            "Open it with the version of napari-dinov3 that wrote it, or a newer one",
        )
    return header, arrays


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """Read one array, having seen that it is as large as it says: numpy makes room for whatever its first bytes claim."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{member.filename} is an array of format {version}")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        size = math.prod(shape) * dtype.itemsize
        if dtype.kind not in "biufU" or size != member.file_size - file.tell():
            raise ValueError(f"{member.filename} says it holds {dtype} of shape {shape}, which is not what is in it")
    with archive.open(member) as file:
        array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):  # reading to the end also compares the checksum
            raise ValueError(f"{member.filename} goes on after its array")
    return array


def floats(array: npt.NDArray[Any], ndim: int) -> npt.NDArray[np.float32]:
    """Accept an array of finite decimals with so many axes, else raise ValueError."""
    if array.ndim != ndim or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ValueError(f"an array of {array.ndim} axes and type {array.dtype} where {ndim} axes of finite numbers are due")
    return array.astype(np.float32)
