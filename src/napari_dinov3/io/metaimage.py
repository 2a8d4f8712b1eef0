"""MetaImage (``.mha``, ``.mhd``) through SimpleITK: planes are read one at a time where the file is not compressed.

Axes come in reverse order (z, y, x); directions, origin and spacing become the place in the world, in millimetres. A header
that takes its pixels from another folder, a list or a pattern of files is refused.
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
from napari_dinov3.io.lazy_file import LazyFile, by_plane
from napari_dinov3.io.optional import require

EXTENSIONS = (".mha", ".mhd")
_MOST_EXPANSION = 1100
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def read_metaimage(path: Path) -> ImageFile:
    """Open a MetaImage.

    Raises
    ------
    FileFormatError
        If it is damaged, cut short, points elsewhere, or holds something else than a 2D or 3D image of numbers.
    """
    header = _header(path)
    shape, dtype = _check(path, header)
    sitk = require("SimpleITK", path.name)
    try:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        ndim = reader.GetDimension()
        direction = np.array(reader.GetDirection(), dtype=np.float64).reshape(ndim, ndim)
        spacing, origin = np.array(reader.GetSpacing()), np.array(reader.GetOrigin())
        if tuple(reader.GetSize())[::-1] != shape or not np.isfinite([*spacing, *origin, *direction.ravel()]).all():
            raise ValueError("its place in the world is not finite")
        if min(spacing) <= 0 or abs(np.linalg.det(direction)) < 1e-12:
            raise ValueError(f"spacing {tuple(spacing)} and directions {direction.tolist()}")
    except Exception as error:  # SimpleITK raises RuntimeError on damaged files
        raise FileFormatError(
            f"{path.name} cannot be read as MetaImage: {error}", "a whole MetaImage", "Copy it again"
        ) from error
    place = np.eye(ndim + 1)
    place[:ndim, :ndim] = (direction @ np.diag(spacing))[::-1, ::-1]
    place[:ndim, ndim] = origin[::-1]
    packed = header.get("CompressedData", "False").lower() == "true"
    lazy = LazyFile(path.name, shape, dtype, partial(_read, path))
    return ImageFile(
        levels=(lazy.to_dask(shape if packed else by_plane(shape)),),
        axes="zyx"[-ndim:],
        spacing=tuple(float(s) for s in spacing[::-1]),
        units=("millimeter",) * ndim,
        name=path.stem,
        path=path,
        placement=place,
        facts=MappingProxyType({"format": "MetaImage", "compression": "zlib" if packed else "none"}),
    )


def _header(path: Path) -> dict[str, str]:
    """Read the lines of the header, which ends with the name of the data file; ``LOCAL`` where pixels follow."""
    with path.open("rb") as file:
        start = file.read(1 << 16)
    found: dict[str, str] = {}
    for line in start.split(b"\n"):
        key, equals, value = line.partition(b"=")
        if not equals or len(key) > 64:
            break
        found[key.decode("latin-1").strip()] = value.decode("latin-1").strip()
        if found.get("ElementDataFile"):
            break
    if "ElementDataFile" not in found or "DimSize" not in found:
        raise FileFormatError(f"{path.name} has no MetaImage header", "a whole .mha or .mhd file", "Copy it again")
    return found


def _check(path: Path, header: dict[str, str]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Check what the header claims before a library believes it."""
    try:
        shape = tuple(int(word) for word in header["DimSize"].split())[::-1]
        dtype = np.dtype(_TYPES[header.get("ElementType", "").upper()])
        channels = int(header.get("ElementNumberOfChannels", "1"))
    except (KeyError, ValueError) as error:
        raise FileFormatError(f"{path.name} has a header that makes no sense: {error}", "a MetaImage", "Copy it again") from error
    if len(shape) not in (2, 3) or min(shape) < 1 or channels != 1:
        raise FileFormatError(
            f"{path.name} has shape {shape} and {channels} channels",
            "two or three axes, one channel",
            "Save one part as a 3D image",
        )
    name = header["ElementDataFile"]
    data = path if name.upper() == "LOCAL" else path.parent / name
    if data != path and (Path(name).name != name or name.upper().startswith("LIST") or "%" in name or not data.is_file()):
        raise FileFormatError(
            f"{path.name} takes its pixels from {name[:80]!r}",
            "a single file in its own folder",
            "Put both files into one folder",
        )
    claimed, size = math.prod(shape) * dtype.itemsize, data.stat().st_size
    packed = header.get("CompressedData", "False").lower() == "true"
    if claimed > size * (_MOST_EXPANSION if packed else 1):
        raise FileFormatError(
            f"{path.name} claims {claimed:,} bytes of pixels in a file of {size:,} bytes",
            "a whole file",
            "It is cut short or damaged: copy it again",
        )
    return shape, dtype


def _read(path: Path, index: Any) -> Any:
    """Read the block that holds the part asked for, and take the part out of it."""
    sitk = require("SimpleITK", path.name)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    shape = tuple(reader.GetSize())[::-1]
    index = index if isinstance(index, tuple) else (index,)
    parts = [
        range(n)[part] if isinstance(part, slice) else range(int(part), int(part) + 1)
        for n, part in zip(shape, index, strict=False)
    ]
    parts += [range(n) for n in shape[len(parts) :]]
    reader.SetExtractIndex([part.start for part in reversed(parts)])
    reader.SetExtractSize([len(part) for part in reversed(parts)])
    block = sitk.GetArrayFromImage(reader.Execute())
    taken = tuple(slice(None) if i >= len(index) or isinstance(index[i], slice) else 0 for i in range(len(shape)))
    return block[taken]
