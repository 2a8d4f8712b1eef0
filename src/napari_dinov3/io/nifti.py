"""NIfTI through nibabel: 3D and 4D, with the affine in world millimetres.

NIfTI counts voxels (i, j, k) and its world is (x right, y anterior, z superior). Here arrays are (k, j, i) = (z, y, x) and the
world is (superior, anterior, right), the same points with the axes in reverse, so that several files of one person lie over each
other.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinov3.errors import FileFormatError, InputError
from napari_dinov3.io.atomic import written_whole
from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.lazy_file import LazyFile, by_plane
from napari_dinov3.io.optional import require
from napari_dinov3.io.units import unit_name
from napari_dinov3.progress import Job, Progress

if TYPE_CHECKING:
    from napari_dinov3.io.image_to_write import ImageToWrite

EXTENSIONS = (".nii", ".nii.gz")
_LABEL_INTENT = 1002
_MOST_EXPANSION = 1100  # gzip reaches 1032
_MILLIMETRES = {"micrometer": 1e-3, "millimeter": 1.0, "centimeter": 10.0, "meter": 1e3, "nanometer": 1e-6}
_SECONDS = {"second": 1.0, "millisecond": 1e-3, "microsecond": 1e-6, "minute": 60.0, "hour": 3600.0}


def read_nifti(path: Path) -> ImageFile:
    """Open a NIfTI file; planes of ``.nii`` are read one at a time, ``.nii.gz`` a volume at a time.

    Raises
    ------
    FileFormatError
        If it is damaged, cut short, or has more than four axes.
    """
    nibabel = require("nibabel", f"{path.name}")
    try:
        image = nibabel.load(path)
        header, affine, shape = image.header, np.asarray(image.affine, np.float64), tuple(int(n) for n in image.shape)
        slope, inter = image.dataobj.slope, image.dataobj.inter
        stored = np.dtype(image.get_data_dtype())
        space, time = header.get_xyzt_units()
        zooms = [abs(float(z)) for z in header.get_zooms()]
    except Exception as error:  # nibabel raises ImageFileError, HeaderDataError, OSError, zlib errors ...
        raise FileFormatError(f"{path.name} cannot be read as NIfTI: {error}", "a whole NIfTI file", "Copy it again") from error
    while len(shape) > 3 and shape[-1] == 1:
        shape, zooms = shape[:-1], zooms[:-1]
    _check(path, shape, stored, affine)
    dtype = stored.newbyteorder("=") if (slope, inter) == (1.0, 0.0) else np.dtype(np.float32)
    axes = "tzyx"[-len(shape) :]
    lazy = LazyFile(path.name, shape[::-1], dtype, partial(_read, path, len(shape)))
    chunks = by_plane(lazy.shape) if path.suffix == ".nii" else (*(1,) * (len(shape) - 3), *lazy.shape[-3:])
    unit = unit_name(space) if space != "unknown" else "millimeter"
    spacing, units, placement = _placement(affine, zooms, axes, unit, "second" if time in ("unknown", "sec") else unit_name(time))
    labels = int(header["intent_code"]) == _LABEL_INTENT
    facts = {"format": "NIfTI", "compression": "gzip" if path.suffix == ".gz" else "none"}
    return ImageFile(
        levels=(lazy.to_dask(chunks),),
        axes=axes,
        spacing=spacing,
        units=units,
        name=path.name.split(".nii")[0],
        path=path,
        kind="labels" if labels and dtype.kind in "iu" else "image",
        placement=placement,
        facts=MappingProxyType(facts),
    )


def write_nifti_steps(path: Path, image: ImageToWrite, *, overwrite: bool = False) -> Job[None]:
    """Write NIfTI: up to 4D, one channel; the place in the world becomes the affine, in millimetres and seconds."""
    nibabel = require("nibabel", f"{path.name}")
    if "c" in image.axes or "s" in image.axes:
        raise InputError(
            f"{path.name} would hold axes {image.axes.upper()}",
            "axes out of T Z Y X: NIfTI has no channels here",
            "Write one channel, or .ome.tif",
        )
    dtype = _stored_type(path, image)
    yield Progress(0, 1, f"Write {path.name}")
    data = np.asarray(image.data).astype(dtype, copy=False)
    axes = image.axes if "z" in image.axes else image.axes.replace("y", "zy")
    if axes != image.axes:
        data = np.expand_dims(data, axes.index("z"))
    nifti = nibabel.Nifti1Image(data.T, _affine_of(image, axes))
    nifti.header.set_xyzt_units("mm", "sec")
    if "t" in axes:
        scale = _SECONDS.get(unit_name(image.units["t"]), 1.0)
        nifti.header.set_zooms((*nifti.header.get_zooms()[:3], image.spacing["t"] * scale))
    if image.kind == "labels":
        nifti.header.set_intent("label", name=image.name[:15])
    with written_whole(path, overwrite=overwrite) as part:
        nibabel.save(nifti, part)
        yield Progress(1, 1, f"Write {path.name}")


def _read(path: Path, ndim: int, index: Any) -> Any:
    reversed_index = tuple(reversed(index if isinstance(index, tuple) else (index,)))
    proxy = require("nibabel", path.name).load(path).dataobj
    extra = (0,) * (len(proxy.shape) - ndim)
    return np.transpose(proxy[(*reversed_index, *extra)])


def _check(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], affine: Any) -> None:
    if len(shape) not in (3, 4) or 0 in shape or min(shape) < 0:
        raise FileFormatError(f"{path.name} has shape {shape}", "three or four axes, none of them 0", "Check how it was written")
    if dtype.kind not in "buif":
        raise FileFormatError(f"{path.name} has voxels of type {dtype}", "plain numbers", "Convert it, for example with fslmaths")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-30:
        raise FileFormatError(f"{path.name} has an affine that cannot be inverted", "a place in the world", "Repair its header")
    claimed, size = math.prod(shape) * dtype.itemsize, path.stat().st_size
    if claimed > size * (_MOST_EXPANSION if path.suffix == ".gz" else 1):
        raise FileFormatError(
            f"{path.name} claims {claimed:,} bytes of voxels in a file of {size:,} bytes",
            "a whole file",
            "It is cut short or damaged: copy it again",
        )


def _placement(affine: Any, zooms: list[float], axes: str, unit: str, time_unit: str) -> tuple[Any, Any, Any]:
    flip = [2, 1, 0, 3]
    placed = affine[np.ix_(flip, flip)]
    spacing = [float(np.linalg.norm(placed[:3, i])) for i in range(3)]
    units = [unit] * 3
    if "t" in axes:
        step = zooms[3] if zooms[3] > 0 and math.isfinite(zooms[3]) else 1.0
        placed = np.block([[np.array([[step]]), np.zeros((1, 4))], [np.zeros((4, 1)), placed]])
        spacing, units = [step, *spacing], [time_unit, *units]
    return tuple(spacing), tuple(units), placed


def _affine_of(image: ImageToWrite, axes: str) -> Any:
    """Build the affine on (i, j, k) in millimetres."""
    place = np.eye(4)
    if image.world_from_pixel is None:
        place[:3, :3] = np.diag([image.spacing.get(a, 1.0) for a in "zyx"])
    else:
        space = [a for a in image.axes if a in "zyx"]
        own = [image.axes.replace("c", "").index(a) for a in space]
        at = ["zyx".index(a) for a in space]
        place[np.ix_(at, at)] = image.world_from_pixel[np.ix_(own, own)]
        place[at, 3] = image.world_from_pixel[own, -1]
    scale = [_MILLIMETRES.get(unit_name(image.units.get(a, "")), 1.0) for a in "zyx"]
    flip = [2, 1, 0, 3]
    return (np.diag([*scale, 1.0]) @ place)[np.ix_(flip, flip)]


def _stored_type(path: Path, image: ImageToWrite) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(image.data.dtype)
    if dtype.itemsize == 8 and dtype.kind in "iu":
        low, high = int(image.data.min()), int(image.data.max())
        fitting: np.dtype[Any] = np.dtype("int32" if low < 0 else "uint32")
        if high > np.iinfo(fitting.name).max or low < np.iinfo(fitting.name).min:
            raise InputError(
                f"{path.name} would hold numbers from {low} to {high}",
                "numbers of 32 bits, which other programs read",
                "Relabel first",
            )
        return fitting
    name = {"bool": "uint8", "float16": "float32"}.get(dtype.name, dtype.name)
    stored: np.dtype[Any] = np.dtype(name)
    return stored
