"""OME-TIFF, written plane by plane so that a stack larger than memory passes through in the memory of one plane.

Large planes are cut into tiles and get coarser levels as SubIFDs. Lossless deflate compression; physical
sizes and units in OME-XML; kind, place and provenance in an annotation (see
:mod:`~napari_dinov3.io.ome_metadata`). Ids are stored in an integer type that holds each of them exactly.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.io import ome_metadata
from napari_dinov3.io.atomic import written_whole
from napari_dinov3.io.fed_writer import feed_steps
from napari_dinov3.io.pyramid import BAND, bands, halved, level_sizes
from napari_dinov3.progress import Job, Progress

if TYPE_CHECKING:
    from napari_dinov3.io.image_to_write import ImageToWrite

_STORED = {"bool": "uint8", "float16": "float32"}  # what OME has no name for, in a type that holds it exactly
_BIG = 3 << 30
_TILE = 512


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
        "metadata": None,
        "predictor": dtype.kind in "iu" and image.kind == "image",
    }
    if colours and colours[0] == 4:
        pages["extrasamples"] = ["unassalpha"]
    sizes = level_sizes(*plane_shape[:2])
    big = math.prod(image.data.shape) * dtype.itemsize > _BIG
    with written_whole(path, overwrite=overwrite) as part, tifffile.TiffWriter(part, bigtiff=big) as writer:
        yield Progress(0, count, f"Write {path.name}")
        for number, index in enumerate(np.ndindex(*stack)):
            first = {"description": xml.tostring(declaration=True).encode()} if number == 0 else {}
            first["software"] = "napari-dinov3"
            plane = image.data[index]
            if len(sizes) > 1:
                yield from _pyramid_steps(writer, plane, sizes, path, dtype, image.kind == "labels", {**pages, **first})
            else:
                pixels = _exact(np.ascontiguousarray(plane), dtype, path)
                writer.write(pixels, contiguous=False, **pages, **first)
            yield Progress(number + 1, count, f"Write {path.name}")


def _pyramid_steps(
    writer: Any, plane: Any, sizes: list[tuple[int, int]], path: Path, dtype: np.dtype[Any], labels: bool, options: dict[str, Any]
) -> Job[None]:
    """Write one plane as tiles, and its coarser levels as SubIFDs; each level is made of the one before, on disk."""
    samples = tuple(plane.shape[2:])
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-", ignore_cleanup_errors=True) as folder:
        source: Any = plane
        for level, size in enumerate(sizes):
            coarser = sizes[level + 1] if level + 1 < len(sizes) else None
            kept = None
            if coarser is not None:
                kept = np.memmap(Path(folder, str(level)), dtype=dtype, mode="w+", shape=(*coarser, *samples))
            place = {"subifds": len(sizes) - 1} if level == 0 else {"subfiletype": 1, "description": None}
            shape = (*size, *samples)
            settings = {**options, **place, "tile": (_TILE, _TILE), "shape": shape, "dtype": dtype}
            yield from feed_steps(
                partial(_write_tiles, writer, settings),
                _tile_rows(source, kept, lambda pixels: _exact(pixels, dtype, path), labels),
                count=math.ceil(size[0] / BAND),
                message=f"Write {path.name}" + (f", level {level}" if level else ""),
            )
            source = kept
        del source, kept


def _write_tiles(writer: Any, settings: dict[str, Any], tiles: Iterator[npt.NDArray[Any]]) -> None:
    writer.write(tiles, **settings)


def _tile_rows(
    source: Any, coarser: Any, exact: Callable[[npt.NDArray[Any]], npt.NDArray[Any]], labels: bool
) -> Iterator[list[npt.NDArray[Any]]]:
    """Cut bands into tiles of full size, row by row, and keep their half-size counterparts."""
    for first, band in bands(source, exact):
        if coarser is not None:
            half = halved(band, labels=labels)[: coarser.shape[0] - first // 2, : coarser.shape[1]]
            coarser[first // 2 : first // 2 + len(half)] = half
        missing = [(0, -n % _TILE) for n in band.shape[:2]] + [(0, 0)] * (band.ndim - 2)
        full = np.pad(band, missing)
        yield [
            np.ascontiguousarray(full[row : row + _TILE, col : col + _TILE])
            for row in range(0, full.shape[0], _TILE)
            for col in range(0, full.shape[1], _TILE)
        ]


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
