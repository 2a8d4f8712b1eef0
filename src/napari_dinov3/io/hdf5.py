"""HDF5 through h5py: CREMI files (resolution and offset in nanometres) and plain data sets by name.

Only data sets inside the file itself are offered; links to other files are not followed.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from napari_dinov3.errors import FileFormatError, InputError
from napari_dinov3.geometry import affine
from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.lazy_file import LazyFile, in_blocks
from napari_dinov3.io.optional import require
from napari_dinov3.io.units import PIXEL, usable_spacing
from napari_dinov3.wording import counted

EXTENSIONS = (".h5", ".hdf5", ".hdf")
_CREMI_RAW = "volumes/raw"
_LARGEST_BLOCK = 1 << 30


def read_hdf5(path: Path, *, dataset: str | None = None) -> ImageFile:
    """Open a data set of an HDF5 file.

    Parameters
    ----------
    path : Path
        Of the file.
    dataset : str, optional
        Name inside the file; by default CREMI's ``volumes/raw``, or the only image there is.

    Raises
    ------
    InputError
        If the choice is not clear; the message lists the data sets.
    FileFormatError
        If it is no HDF5 file, or damaged.
    """
    h5py = require("h5py", f"{path.name}")
    try:
        with h5py.File(path, "r") as file:
            found = _images(file, h5py)
            name = _choose(found, dataset, path)
            chosen = file[name]
            shape, dtype, attributes = tuple(chosen.shape), chosen.dtype, dict(chosen.attrs)
            stored, blocks = int(chosen.id.get_storage_size()), chosen.chunks
    except (InputError, FileFormatError):
        raise
    except Exception as error:  # h5py raises OSError, KeyError, RuntimeError on damaged files
        raise FileFormatError(f"{path.name} cannot be read as HDF5: {error}", "a whole HDF5 file", "Copy it again") from error
    from napari_dinov3.image import resolve_axes

    if stored > path.stat().st_size:
        raise FileFormatError(f"{path.name} claims more than the file holds in {name!r}", "a whole file", "Copy it again")
    if blocks is not None and math.prod(blocks) * dtype.itemsize > _LARGEST_BLOCK:
        raise FileFormatError(
            f"{path.name} is stored in blocks of {blocks} pixels in {name!r}",
            f"blocks of at most {_LARGEST_BLOCK:,} bytes, which are read whole",
            "Store it in smaller blocks, for example with h5repack",
        )
    axes = resolve_axes(shape, None, None, name)
    spacing, units, placement = _placement(attributes, axes, f"{name!r} of {path.name}")
    lazy = LazyFile(path.name, shape, dtype, partial(_read, path, name))
    labels = "label" in name.lower() and dtype.kind in "iu"
    facts = {"format": "HDF5", "dataset": name, "datasets": sorted(found)}
    return ImageFile(
        levels=(lazy.to_dask(in_blocks(shape, blocks) if not axes.endswith("s") else (1, *shape[1:])),),
        axes=axes,
        spacing=spacing,
        units=units,
        name=f"{path.stem} {name.split('/')[-1]}",
        path=path,
        kind="labels" if labels else "image",
        placement=placement,
        facts=MappingProxyType(facts),
    )


def needs_choice(path: Path) -> dict[str, tuple[int, ...]] | None:
    """List the images of a file that does not say which one is meant, by name; None where it does.

    Raises
    ------
    FileFormatError
        If it is no HDF5 file, or damaged.
    """
    h5py = require("h5py", f"{path.name}")
    try:
        with h5py.File(path, "r") as file:
            found = _images(file, h5py)
    except Exception as error:  # as in read_hdf5
        raise FileFormatError(f"{path.name} cannot be read as HDF5: {error}", "a whole HDF5 file", "Copy it again") from error
    return None if _CREMI_RAW in found or len(found) < 2 else dict(sorted(found.items()))


def _images(file: Any, h5py: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def look(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and len(item.shape or ()) >= 2 and item.dtype.kind in "buif" and not item.external:
            found[name] = item.shape

    file.visititems(look)  # visits what is in the file itself, and follows no link out of it
    return found


def _choose(found: dict[str, Any], dataset: str | None, path: Path) -> str:
    wanted = dataset.strip("/") if dataset else (_CREMI_RAW if _CREMI_RAW in found else None)
    if wanted is None and len(found) == 1:
        wanted = next(iter(found))
    if wanted not in found:
        listed = "; ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in sorted(found.items())[:20])
        raise InputError(
            f"{path.name} holds {counted(len(found), 'image')}" + (f", none called {wanted!r}" if wanted else ""),
            f"one of: {listed}" if found else "at least one",
            "Choose one, for example dataset='volumes/raw'",
        )
    return wanted


def _placement(attributes: dict[str, Any], axes: str, where: str) -> tuple[Any, Any, Any]:
    """Take CREMI's resolution and offset, in nanometres, where they fit the axes."""
    space = [a for a in axes if a not in "cs"]
    sizes = [usable_spacing(v, where) for v in np.ravel(attributes.get("resolution", ()))]
    if len(sizes) != len(space) or None in sizes:
        return (1.0,) * len(space), (PIXEL,) * len(space), None
    spacing = tuple(float(s) for s in sizes if s is not None)
    offset = np.ravel(attributes.get("offset", np.zeros(len(space))))
    known = len(offset) == len(space) and np.isfinite(offset).all() and offset.any()
    return spacing, ("nanometer",) * len(space), affine(spacing, offset.tolist()) if known else None


def _read(path: Path, name: str, index: Any) -> Any:
    with require("h5py", path.name).File(path, "r") as file:
        return file[name][index]
