"""OME-Zarr 0.4 and 0.5 through the ome-zarr library: lazy pyramids with axes, units and place."""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_dinov3.errors import FileFormatError, InputError
from napari_dinov3.geometry import affine
from napari_dinov3.io.atomic import written_whole
from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.ome_metadata import KEY, checked
from napari_dinov3.io.optional import require
from napari_dinov3.io.pyramid import BAND, halved, level_sizes
from napari_dinov3.io.units import PIXEL, unit_name
from napari_dinov3.progress import Job, Progress

if TYPE_CHECKING:
    from napari_dinov3.io.image_to_write import ImageToWrite

_TYPES = {"t": "time", "c": "channel"}
_CHUNK = 1024
_LARGEST_BLOCK = 1 << 30


def read_ome_zarr(path: Path, *, dataset: str | None = None) -> ImageFile:
    """Open an OME-Zarr image.

    Parameters
    ----------
    path : Path
        Folder of the image.
    dataset : str, optional
        A folder inside it, such as ``"labels/cells"``.

    Raises
    ------
    FileFormatError
        If it is something else, or damaged.
    """
    where = path if dataset is None else (path / dataset).resolve()
    if path.resolve() not in (where.resolve(), *where.resolve().parents):
        raise InputError(f"dataset={dataset!r}", "a folder inside the image", "Choose for example dataset='labels/cells'")
    found = _found(path, where)
    axes = found.axes
    if len(set(axes)) != len(axes) or not {"y", "x"} <= set(axes) <= set("tzcyx"):
        raise FileFormatError(f"{path.name} has axes {axes!r}", "letters out of t z c y x", "Choose another image")
    _check_blocks(path, found.levels)
    order = sorted(range(len(axes)), key=lambda at: "tzcyx".index(axes[at]))
    levels = found.levels if order == list(range(len(order))) else tuple(level.transpose(order) for level in found.levels)
    kept = [at for at in order if axes[at] != "c"]
    spacing = tuple(found.scale[at] for at in kept)
    shift = [found.offset[at] for at in kept]
    own = checked(found.facts[KEY]) if isinstance(found.facts.get(KEY), dict) else {}
    label = "image-label" in found.facts or own.get("kind") == "labels"
    place = own.get("world_from_pixel")
    if place is None or len(place) != len(kept) + 1:
        place = affine(spacing, shift) if any(shift) else None
    facts: dict[str, Any] = {"format": "OME-Zarr"}
    if "provenance" in own:
        facts["provenance"] = own["provenance"]
    return ImageFile(
        levels=levels,
        axes="".join(axes[at] for at in order),
        spacing=spacing,
        path=path,
        units=tuple(unit_name(found.units[axes[at]]) for at in kept),
        name=path.name.split(".")[0],
        kind="labels" if label else "image",
        channel_names=found.channel_names if "c" in axes else (),
        placement=place,
        facts=MappingProxyType(facts),
    )


class _Found(NamedTuple):
    """What the library found: levels, finest first, one letter, unit, scale and offset an axis, and the image's own facts."""

    levels: tuple[Any, ...]
    axes: str
    units: Mapping[str, Any]
    scale: Sequence[float]
    offset: Sequence[float]
    channel_names: tuple[str, ...]
    facts: Mapping[str, Any]


def _found(path: Path, where: Path) -> _Found:
    reader, io = _library(path)
    import zarr

    try:
        with warnings.catch_warnings(), _silenced():
            warnings.simplefilter("ignore")  # of the library about its own future; what is wrong raises
            location = io.parse_url(where)
            if location is None:
                raise ValueError("it holds no OME-Zarr metadata")
            node = next(iter(reader.Reader(location)()))
            attributes = dict(zarr.open_group(where, mode="r").attrs)
        letters = [str(axis["name"]).lower() for axis in node.metadata["axes"]]
        units = {letter: axis.get("unit") for letter, axis in zip(letters, node.metadata["axes"], strict=True)}
        steps = node.metadata.get("coordinateTransformations") or [[]]
        scale, offset = _scale_of(steps[0], len(letters))
    except InputError:
        raise
    except Exception as error:  # the library raises many kinds on folders that are something else
        raise FileFormatError(
            f"{path.name} cannot be read as OME-Zarr: {error}", "an OME-Zarr 0.4 or 0.5 image", "Give the folder of one image"
        ) from error
    names = node.metadata.get("channel_names") or node.metadata.get("name")
    channels = tuple(map(str, names)) if isinstance(names, list) else ()
    facts = {**attributes.get("ome", {}), **attributes}  # 0.5 keeps its own facts one step down
    return _Found(tuple(node.data), "".join(letters), units, scale, offset, channels, facts)


def _check_blocks(path: Path, levels: Any) -> None:
    """Refuse blocks that take gigabytes to read one pixel of."""
    largest = max(math.prod(level.chunksize) * level.dtype.itemsize for level in levels)
    if largest > _LARGEST_BLOCK:
        raise FileFormatError(
            f"{path.name} is stored in blocks of {largest:,} bytes",
            f"at most {_LARGEST_BLOCK:,}: a block is read whole",
            "Store it in smaller blocks",
        )


def write_ome_zarr_steps(path: Path, image: ImageToWrite, *, overwrite: bool = False) -> Job[None]:
    """Write OME-Zarr 0.5, band by band; large planes get coarser levels, each made of the one before."""
    import zarr

    if "s" in image.axes:
        raise InputError(
            f"{path.name} would hold colours",
            "channels: OME-Zarr has no colour axis",
            "Move the colours to a channel axis (axes='cyx'), or write .ome.tif",
        )
    letters = "".join(sorted(image.axes, key="tczyx".index))  # the order the format asks for
    source = image.data if letters == image.axes else _as_dask(image.data).transpose([image.axes.index(a) for a in letters])
    sizes = level_sizes(*(int(n) for n in source.shape[-2:]))
    axes = [{"name": a, "type": _TYPES.get(a, "space"), **_unit(image.units.get(a, PIXEL))} for a in letters]
    dtype = np.dtype("u1") if np.dtype(source.dtype) == bool else np.dtype(source.dtype)
    with written_whole(path, overwrite=overwrite) as part, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library about its own future
        writer = require("ome_zarr.writer", path.name)
        group = zarr.open_group(part, mode="w")
        for level, size in enumerate(sizes):
            shape = (*source.shape[:-2], *size)
            chunks = _chunks(shape)
            array = group.create_array(str(level), shape=shape, chunks=chunks, dtype=dtype, dimension_names=list(letters))
            yield from _fill_steps(array, source, level > 0, image.kind == "labels", f"Write {path.name}")
            source = array
        datasets = [
            {"path": str(level), "coordinateTransformations": _transformations(image, letters, sizes[0], size)}
            for level, size in enumerate(sizes)
        ]
        writer.write_multiscales_metadata(group, datasets, axes=axes, name=image.name)
        if image.kind == "labels":
            group.attrs["ome"] = {**group.attrs["ome"], "image-label": {"version": "0.5"}}
        group.attrs[KEY] = _jsonable(image.own)


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Choose one plane a chunk, parts of large planes, and several of tiny ones (the channels of a feature map)."""
    rows, cols = (min(n, _CHUNK) for n in shape[-2:])
    many = min(shape[-3], max(1, _CHUNK * _CHUNK // (rows * cols))) if len(shape) > 2 else 1
    return (*(1,) * (len(shape) - 3), *(many,) * (len(shape) > 2), rows, cols)


def _fill_steps(array: Any, source: Any, coarser: bool, labels: bool, message: str) -> Job[None]:
    """Copy chunks of planes band by band, halved where the array is the next coarser level."""
    shape, many = source.shape, array.chunks[-3] if len(array.shape) > 2 else 1
    blocks = [tuple(slice(i, i + 1) for i in index) for index in np.ndindex(*shape[:-3])]
    if len(shape) > 2:
        blocks = [(*block, slice(first, first + many)) for block in blocks for first in range(0, shape[-3], many)]
    rows, cols = array.shape[-2:]
    for done, block in enumerate(blocks):
        for first in range(0, shape[-2], BAND):
            yield Progress(done * shape[-2] + first, len(blocks) * shape[-2], message)
            band = np.asarray(source[(*block, slice(first, first + BAND))])
            if not coarser:
                array[(*block, slice(first, first + BAND))] = band
                continue
            stack = band.shape[:-2]
            planes = [halved(plane, labels=labels) for plane in band.reshape(-1, *band.shape[-2:])]
            half = np.stack(planes)[:, : rows - first // 2, :cols]
            array[(*block, slice(first // 2, first // 2 + half.shape[1]))] = half.reshape(*stack, *half.shape[1:])


def _transformations(image: ImageToWrite, letters: str, finest: tuple[int, int], size: tuple[int, int]) -> list[dict[str, Any]]:
    """Give scale and translation of a level; a rotation or shear is kept in our own attributes only."""
    factor = {"y": finest[0] / size[0], "x": finest[1] / size[1]}
    scale = [float(image.spacing.get(a, 1.0)) * factor.get(a, 1.0) for a in letters]
    shift = dict.fromkeys(letters, 0.0)
    if image.world_from_pixel is not None:
        space = [a for a in image.axes if a not in "cs"]
        linear = image.world_from_pixel[:-1, :-1]
        if np.allclose(linear, np.diag([image.spacing[a] for a in space])):
            shift |= dict(zip(space, map(float, image.world_from_pixel[:-1, -1]), strict=True))
    centre = {a: shift[a] + float(image.spacing.get(a, 1.0)) * (factor.get(a, 1.0) - 1) / 2 for a in letters}
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    if any(centre.values()):
        steps.append({"type": "translation", "translation": [centre[a] for a in letters]})
    return steps


def _as_dask(data: Any) -> Any:
    import dask.array

    return data if isinstance(data, dask.array.Array) else dask.array.from_array(data, chunks="auto")


def _library(path: Path) -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library warns of its own deprecated parts when imported
        return require("ome_zarr.reader", f"{path.name}"), require("ome_zarr.io", f"{path.name}")


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep what the library logs of 0.4 images and of labels read by themselves from the terminal: neither is a problem."""
    loggers = [logging.getLogger(name) for name in ("ome_zarr.format", "ome_zarr.reader", "ome_zarr.io")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _scale_of(steps: list[dict[str, Any]], count: int) -> tuple[list[float], list[float]]:
    scale, offset = [1.0] * count, [0.0] * count
    for step in steps:
        if step.get("type") == "scale":
            scale = [float(s) for s in step["scale"]]
        elif step.get("type") == "translation":
            offset = [float(s) for s in step["translation"]]
    if len(scale) != count or len(offset) != count or not np.isfinite([*scale, *offset]).all() or min(scale) <= 0:
        raise ValueError(f"scale {scale} and translation {offset}")
    return scale, offset


def _unit(unit: str) -> dict[str, str]:
    return {} if unit == PIXEL else {"unit": unit}


def _jsonable(own: dict[str, Any]) -> Any:
    import json

    from napari_dinov3.io.tables import to_json

    return json.loads(to_json(own))
