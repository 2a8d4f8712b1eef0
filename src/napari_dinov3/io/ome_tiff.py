"""OME-TIFF, written plane by plane so that a stack larger than memory passes through in the memory of one plane.

Lossless deflate compression; physical sizes and units in OME-XML; kind, place and provenance in an annotation (see
:mod:`~napari_dinov3.io.ome_metadata`). Ids are stored in an integer type that holds each of them exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.io import ome_metadata
from napari_dinov3.io.atomic import written_whole
from napari_dinov3.progress import Job, Progress

if TYPE_CHECKING:
    from napari_dinov3.io.image_to_write import ImageToWrite

_STORED = {"bool": "uint8", "float16": "float32"}  # what OME has no name for, in a type that holds it exactly
_BIG = 3 << 30
_TILE_FROM = 4096  # planes wider than this are stored as tiles, so that viewers need not read them whole


def write_steps(path: Path, image: ImageToWrite, *, overwrite: bool = False) -> Job[None]:
    """Write an image as OME-TIFF; yields after each plane."""
    import tifffile

    dtype = _stored_type(image)
    colours = image.data.shape[-1:] if "s" in image.axes else ()
    stack = tuple(image.data.shape[: image.data.ndim - 2 - len(colours)])
    plane_shape = tuple(image.data.shape[len(stack) :])
    count = math.prod(stack)
    # readers drop axes of length 1, and their spacing with them: what is a stack is said in words of our own
    own = {**image.own, "axes": image.axes} if 1 in stack else image.own
    metadata = ome_metadata.describe(
        image.axes, image.spacing, image.units, name=image.name, channel_names=image.channel_names, own=own
    )
    xml = tifffile.OmeXml(Creator="napari-dinov3")
    samples = colours[0] if colours else 1
    xml.addimage(dtype, image.data.shape, (count, 1, 1, *plane_shape[:2], samples), **metadata)
    pages: dict[str, Any] = {
        "photometric": "rgb" if colours else "minisblack",
        "compression": "zlib",
        "contiguous": False,
        "metadata": None,
        "predictor": dtype.kind in "iu" and image.kind == "image",
    }
    if colours and colours[0] == 4:
        pages["extrasamples"] = ["unassalpha"]
    if max(plane_shape[:2]) > _TILE_FROM:
        pages["tile"] = (512, 512)
    big = math.prod(image.data.shape) * dtype.itemsize > _BIG
    with written_whole(path, overwrite=overwrite) as part, tifffile.TiffWriter(part, bigtiff=big) as writer:
        yield Progress(0, count, f"Write {path.name}")
        for number, plane in enumerate(_planes(image.data, stack)):
            description = xml.tostring(declaration=True).encode() if number == 0 else None
            writer.write(_exact(plane, dtype, path), description=description, software="napari-dinov3", **pages)
            yield Progress(number + 1, count, f"Write {path.name}")


def _planes(data: Any, stack: tuple[int, ...]) -> Iterator[npt.NDArray[Any]]:
    for index in np.ndindex(*stack):
        yield np.ascontiguousarray(data[index])


def _stored_type(image: ImageToWrite) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(image.data.dtype)
    if image.kind == "labels" and dtype.kind not in "bui":
        raise InputError(
            f"Labels of type {dtype}", "whole numbers", "Convert them first, for example labels.astype(numpy.uint32)"
        )
    if dtype.itemsize == 8 and dtype.kind in "iu":
        name = "uint32" if dtype.kind == "u" or image.kind == "labels" else "int32"
    else:
        name = _STORED.get(dtype.name, dtype.name)
    stored: np.dtype[Any] = np.dtype(name)
    return stored


def _exact(plane: npt.NDArray[Any], dtype: np.dtype[Any], path: Path) -> npt.NDArray[Any]:
    if plane.dtype.kind in "iu" and plane.dtype.itemsize == 8:
        limits = np.iinfo(dtype.name)
        low, high = int(plane.min()), int(plane.max())
        if low < limits.min or high > limits.max:
            raise InputError(
                f"{path.name} would hold numbers from {low} to {high}",
                f"{limits.min}..{limits.max}: OME-TIFF has no 64-bit integers",
                "Relabel first (skimage.segmentation.relabel_sequential), or write .npy",
            )
    return plane.astype(dtype, copy=False)
