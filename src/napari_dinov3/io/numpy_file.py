"""Numpy files without pickles: ``.npy`` as a memory map, and one array of a ``.npz`` archive, chosen by its name.

An archive is asked for names and headers first, and unpacks the one array that is wanted; what is no image (a single number, a
list, Python objects) is not on offer.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import FileFormatError, InputError
from napari_dinov3.wording import counted

EXTENSIONS = (".npy", ".npz")
_MOST_EXPANSION = 1100  # deflate reaches 1032
_MOST_UNPACKED = 8 << 30
_MOST_LISTED = 256  # arrays of an archive whose headers are read
_MOST_NAMED = 20  # of them in a message
_IMAGE_KINDS = "buif"


class Entry(NamedTuple):
    """An array in an archive, known without unpacking it; sizes in bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    unpacked: int
    packed: int


def read_numpy(path: Path, *, dataset: str | None = None) -> npt.NDArray[Any]:
    """Read a numpy file.

    Parameters
    ----------
    path : Path
        ``.npy`` or ``.npz``.
    dataset : str, optional
        Which array of an archive; by default the only image in it. A single array has no name, and none counts.

    Raises
    ------
    InputError
        If the choice is not clear; the message lists the arrays.
    FileFormatError
        If it is damaged, or holds Python objects.
    """
    try:
        if path.suffix.lower() == ".npy":
            array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
            return array
        entries = _entries(path)
        name = _choose(entries, dataset, path)
        _check_size(path, name, entries[name])
        with np.load(path, allow_pickle=False) as archive:
            return np.asarray(archive[name])
    except (InputError, FileFormatError):
        raise
    except Exception as error:  # numpy raises ValueError, OSError, EOFError, zipfile and zlib errors on damaged files
        raise FileFormatError(
            f"{path.name} cannot be read: {error}", "a numpy file of plain numbers", "Save the array again with numpy.save"
        ) from error


def needs_choice(path: Path) -> dict[str, tuple[int, ...]] | None:
    """List the images of an archive that holds several, by name; None where there is nothing to choose.

    Raises
    ------
    FileFormatError
        If it is no archive, or damaged.
    """
    if path.suffix.lower() != ".npz":
        return None
    try:
        found = _images(_entries(path))
    except Exception as error:  # as in read_numpy
        raise FileFormatError(f"{path.name} cannot be read: {error}", "a whole .npz file", "Copy it again") from error
    return None if len(found) < 2 else {name: entry.shape for name, entry in found.items()}


def _entries(path: Path) -> dict[str, Entry]:
    import zipfile

    found: dict[str, Entry] = {}
    with zipfile.ZipFile(path) as archive:
        members = [each for each in archive.infolist() if each.filename.endswith(".npy")]
        for each in members[:_MOST_LISTED]:
            with archive.open(each) as member:
                version = np.lib.format.read_magic(member)
                reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = reader(member)
            found[each.filename.removesuffix(".npy")] = Entry(shape, dtype, each.file_size, each.compress_size)
    return found


def _images(entries: dict[str, Entry]) -> dict[str, Entry]:
    return {name: entry for name, entry in entries.items() if len(entry.shape) >= 2 and entry.dtype.kind in _IMAGE_KINDS}


def _choose(entries: dict[str, Entry], dataset: str | None, path: Path) -> str:
    images = _images(entries)
    if dataset is None and len(images) == 1:
        return next(iter(images))
    if dataset is None and len(entries) == 1:  # no image: reading it says what is wrong with it
        return next(iter(entries))
    if dataset in images:
        return dataset
    listed = "; ".join(f"{name} {' x '.join(map(str, images[name].shape))}" for name in list(images)[:_MOST_NAMED])
    raise InputError(
        f"{path.name} holds {counted(len(images), 'image')}" + (f", none called {dataset!r}" if dataset is not None else ""),
        f"one of: {listed}" if images else "at least one array of rows and columns",
        f"Choose one, for example dataset={next(iter(images))!r}" if images else "Save an image with numpy.save",
    )


def _check_size(path: Path, name: str, entry: Entry) -> None:
    """Refuse an array larger than what is packed in the archive can be, before numpy makes room for it."""
    claimed, packed = math.prod(entry.shape) * entry.dtype.itemsize, entry.packed
    if claimed > entry.unpacked or claimed > packed * _MOST_EXPANSION or claimed > _MOST_UNPACKED:
        raise FileFormatError(
            f"{path.name} claims {claimed:,} bytes in {packed:,} packed ones in {name!r}",
            f"a whole archive of at most {_MOST_UNPACKED:,} bytes",
            "Copy it again, or save a large array as .npy, which is read piece by piece",
        )
