"""A folder of numbered slices as one lazy stack: natural order, one chunk a file.

Grey and colour files may be mixed (grey becomes RGB); sizes and types may not, and the file that differs is named. Headers
are read at the start (of thousands of files, those of some), pixels when asked for.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import FileFormatError, InputError
from napari_dinov3.io import raster, tiff
from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.raster import Header

EXTENSIONS = (*raster.EXTENSIONS, *tiff.EXTENSIONS)
_CHECKED_ALL, _CHECKED_SOME = 200, 50


def natural_key(text: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key by which ``slice2`` stands before ``slice10``."""
    parts = re.split(r"(\d+)", text.casefold())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


def holds_slices(folder: Path) -> bool:
    """Whether a folder has an image in it, of any kind."""
    try:
        with os.scandir(folder) as entries:
            return any(not e.name.startswith(".") and e.name.lower().endswith(EXTENSIONS) and e.is_file() for e in entries)
    except OSError:
        return False


def list_slices(folder: Path) -> list[Path]:
    """List the images of a folder in natural order; hidden files and other kinds are left out.

    Raises
    ------
    InputError
        If there is none, or files of several extensions stand side by side.
    """
    try:
        with os.scandir(folder) as entries:  # knows what is a file without asking about each
            names = [
                e.name for e in entries if not e.name.startswith(".") and e.name.lower().endswith(EXTENSIONS) and e.is_file()
            ]
    except OSError as error:
        raise InputError(f"{folder} cannot be listed: {error}", "a folder of slices", "Check the path") from error
    files = [folder / name for name in names]
    if not files:
        raise InputError(
            f"{folder} holds no images", f"files ending in {', '.join(EXTENSIONS)}", "Choose the folder of the slices"
        )
    kinds = sorted({_kind(p) for p in files})
    if len(kinds) > 1:
        raise InputError(
            f"{folder} holds {' and '.join(kinds)} files", "slices of one kind", "Move the others to a folder of their own"
        )
    return sorted(files, key=lambda p: natural_key(p.name))


def read_folder(folder: Path, *, stack_axis: Literal["z", "t"] = "z") -> ImageFile:
    """Open a folder of slices.

    Parameters
    ----------
    folder : Path
        With one file a plane; TIFF files may hold a small stack each, and the folder is then a time series of them.
    stack_axis : {"z", "t"}
        What the order of the files means.

    Returns
    -------
    image : ImageFile
        Lazy, ``(files, rows, cols[, 3])``.

    Raises
    ------
    InputError, FileFormatError
        Naming the file that cannot be read or differs from the first in size or type.
    """
    return read_files(list_slices(folder), name=folder.name, path=folder, stack_axis=stack_axis)


def read_files(files: Sequence[Path], *, name: str, path: Path, stack_axis: Literal["z", "t"] = "z") -> ImageFile:
    """Open files in the order given as one stack; see :func:`read_folder`."""
    first = tiff.read_tiff(files[0]) if _kind(files[0]) == "TIFF" else None
    if first is not None and first.ndim - first.rgb > 2:
        return _stacks(files, first, name, path)
    header = _common_header(files)
    shape = (len(files), header.rows, header.cols, *((3,) if header.rgb else ()))
    spacing, units = ((1.0, 1.0), ("pixel", "pixel")) if first is None else (first.spacing, first.units)
    data = _chunk_per_file(files, shape[1:], header.dtype, lambda file: _read(file, header.rgb))
    return ImageFile(
        levels=(data,),
        axes=f"{stack_axis}yx" + ("s" if header.rgb else ""),
        spacing=(1.0, *spacing),
        units=("pixel", *units),
        name=name,
        path=path,
        facts=MappingProxyType({"format": f"folder of {_kind(files[0])} files", "files": len(files)}),
    )


def _stacks(files: Sequence[Path], first: ImageFile, name: str, path: Path) -> ImageFile:
    """One stack a file: time goes first."""
    if "t" in first.axes:
        raise InputError(
            f"{files[0].name} is a time series itself (axes {first.axes.upper()})",
            "one plane or one z stack a file",
            "Open the files one at a time",
        )

    def read(file: Path) -> npt.NDArray[Any]:
        return np.asarray(tiff.read_tiff(file))

    data = _chunk_per_file(files, first.shape, first.dtype, read)
    return ImageFile(
        levels=(data,),
        axes="t" + first.axes,
        spacing=(1.0, *first.spacing),
        units=("pixel", *first.units),
        name=name,
        path=path,
        channel_names=first.channel_names,
        kind=first.kind,
        facts=MappingProxyType({"format": "folder of TIFF stacks", "files": len(files)}),
    )


def _common_header(files: Sequence[Path]) -> Header:
    checked = _to_check(files)
    headers = [_header(file) for file in checked]
    first = headers[0]
    for file, header in zip(checked, headers, strict=True):
        if (header.rows, header.cols, header.dtype) != (first.rows, first.cols, first.dtype):
            raise FileFormatError(
                f"{file.name} is {header.rows} x {header.cols} of type {header.dtype}",
                f"as {files[0].name}: {first.rows} x {first.cols} of type {first.dtype}",
                "Move it elsewhere, or bring all slices to one size and type",
            )
    return Header(first.rows, first.cols, any(h.rgb for h in headers), first.dtype)


def _to_check(files: Sequence[Path]) -> list[Path]:
    """Choose the files whose header is read when a folder is opened: all of a small one.

    Of thousands, evenly spaced ones, and one of each size in bytes where there are few sizes, as files that are not compressed
    have. Another file that differs is refused, by its name, when its plane is read.
    """
    if len(files) <= _CHECKED_ALL:
        return list(files)
    chosen = {files[round(i * (len(files) - 1) / (_CHECKED_SOME - 1))] for i in range(_CHECKED_SOME)}
    first_of_size: dict[int, Path] = {}
    for file in files:
        first_of_size.setdefault(file.stat().st_size, file)
        if len(first_of_size) > _CHECKED_SOME:
            first_of_size = {}
            break
    chosen.update(first_of_size.values())
    return [file for file in files if file in chosen]


def _chunk_per_file(files: Sequence[Path], shape: tuple[int, ...], dtype: np.dtype[Any], read: Any) -> Any:
    import dask.array

    names = list(files)

    def block(block_id: tuple[int, ...]) -> npt.NDArray[Any]:
        file = names[block_id[0]]
        pixels = read(file)
        if pixels.shape != shape:
            raise FileFormatError(
                f"{file.name} has shape {pixels.shape}",
                f"{shape}, as {names[0].name}",
                "Move it elsewhere, or bring all files to one size",
            )
        return np.asarray(pixels, dtype=dtype)[None]

    chunks = ((1,) * len(names), *((n,) for n in shape))
    meta = np.empty((0,) * (len(shape) + 1), dtype)
    name = f"slices-{uuid.uuid4().hex}"  # else dask would look at every file name to make one
    return dask.array.map_blocks(block, name=name, chunks=chunks, dtype=dtype, meta=meta)


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in tiff.EXTENSIONS:
        return "TIFF"
    return {".jpg": "JPEG", ".jpeg": "JPEG"}.get(suffix, suffix[1:].upper())


def _header(file: Path) -> Header:
    if _kind(file) != "TIFF":
        return raster.read_header(file)
    return tiff.read_page_header(file)


def _read(file: Path, rgb: bool) -> npt.NDArray[Any]:
    if _kind(file) != "TIFF":
        return raster.read_picture(file, rgb=rgb)
    return tiff.read_page(file, rgb=rgb)
