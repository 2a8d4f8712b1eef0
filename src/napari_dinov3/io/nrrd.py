"""NRRD through pynrrd, such as the volumes of the Allen mouse brain atlas.

Axes come in reverse order (z, y, x); directions and origin become the place in the world. A header that points to a data file
in another folder is refused.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from napari_dinov3.errors import FileFormatError
from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.lazy_file import LazyFile
from napari_dinov3.io.optional import require
from napari_dinov3.io.units import PIXEL, unit_name, usable_spacing

EXTENSIONS = (".nrrd", ".nhdr")
_MOST_EXPANSION = 1100
_TYPES = {
    "signed char": "i1",
    "int8": "i1",
    "int8_t": "i1",
    "uchar": "u1",
    "unsigned char": "u1",
    "uint8": "u1",
    "uint8_t": "u1",
    "short": "i2",
    "int16": "i2",
    "int16_t": "i2",
    "ushort": "u2",
    "unsigned short": "u2",
    "uint16": "u2",
    "uint16_t": "u2",
    "int": "i4",
    "int32": "i4",
    "int32_t": "i4",
    "uint": "u4",
    "unsigned int": "u4",
    "uint32": "u4",
    "uint32_t": "u4",
    "longlong": "i8",
    "int64": "i8",
    "int64_t": "i8",
    "ulonglong": "u8",
    "uint64": "u8",
    "uint64_t": "u8",
    "float": "f4",
    "double": "f8",
}


def read_nrrd(path: Path) -> ImageFile:
    """Open an NRRD file; its pixels are read, all at once, when the first of them is asked for.

    Raises
    ------
    FileFormatError
        If it is damaged, cut short, points elsewhere, or holds something else than a 2D or 3D image.
    """
    nrrd = require("nrrd", f"{path.name}")
    try:
        header = nrrd.read_header(str(path))
        shape = tuple(int(n) for n in header["sizes"])[::-1]
        dtype = np.dtype(_TYPES[str(header["type"]).lower()])
    except Exception as error:  # pynrrd raises NRRDError, ValueError, KeyError ... on damaged files
        raise FileFormatError(f"{path.name} cannot be read as NRRD: {error}", "a whole NRRD file", "Copy it again") from error
    _check(path, header, shape, dtype)
    axes = "zyx"[-len(shape) :]
    spacing, placement = _placement(header, len(shape), path.name)
    units = list(header.get("space units") or [])
    names = tuple(unit_name(str(u)) for u in reversed(units)) if len(units) == len(shape) else (PIXEL,) * len(shape)
    lazy = LazyFile(path.name, shape, dtype, partial(_read, path))
    labels = dtype.kind in "iu" and any(word in path.name.lower() for word in ("annotation", "label", "seg"))
    return ImageFile(
        levels=(lazy.to_dask(shape),),
        axes=axes,
        spacing=spacing,
        units=names,
        name=path.stem,
        path=path,
        kind="labels" if labels else "image",
        placement=placement,
        facts=MappingProxyType({"format": "NRRD", "compression": str(header.get("encoding", "raw"))}),
    )


def _check(path: Path, header: dict[str, Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise FileFormatError(
            f"{path.name} has shape {shape}", "two or three axes, none of them 0", "Save one part as a 3D image"
        )
    beside = header.get("data file", header.get("datafile"))
    data = path
    if beside is not None:
        data = path.parent / str(beside)
        if Path(str(beside)).name != str(beside) or not data.is_file():
            raise FileFormatError(
                f"{path.name} takes its data from {beside!r}", "a single file in its own folder", "Put both files into one folder"
            )
    claimed, size = math.prod(shape) * dtype.itemsize, data.stat().st_size
    raw = str(header.get("encoding", "raw")).lower() == "raw"
    if claimed > size * (1 if raw else _MOST_EXPANSION):
        raise FileFormatError(
            f"{path.name} claims {claimed:,} bytes in a file of {size:,} bytes",
            "a whole file",
            "It is cut short or damaged: copy it again",
        )


def _placement(header: dict[str, Any], ndim: int, name: str) -> tuple[tuple[float, ...], Any]:
    directions = header.get("space directions")
    if directions is None:
        sizes = [usable_spacing(s, name) or 1.0 for s in np.ravel(header.get("spacings", np.ones(ndim)))]
        return (tuple(reversed(sizes)) if len(sizes) == ndim else (1.0,) * ndim), None
    matrix = np.asarray(directions, dtype=np.float64)
    if matrix.shape != (ndim, ndim) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-30:
        return (1.0,) * ndim, None
    place = np.eye(ndim + 1)
    place[:ndim, :ndim] = matrix.T[::-1, ::-1]
    origin = np.ravel(header.get("space origin", np.zeros(ndim)))
    if len(origin) == ndim and np.isfinite(origin).all():
        place[:ndim, ndim] = origin[::-1]
    return tuple(float(np.linalg.norm(place[:ndim, i])) for i in range(ndim)), place


def _read(path: Path, index: Any) -> Any:
    data, _ = require("nrrd", path.name).read(str(path), index_order="C")
    return data[index]
