"""OME-Zarr 0.4 and 0.5 through the ome-zarr library: lazy pyramids with axes, units and place."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinov3.errors import FileFormatError, InputError
from napari_dinov3.geometry import affine
from napari_dinov3.io.atomic import written_whole
from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.ome_metadata import KEY, checked
from napari_dinov3.io.optional import require
from napari_dinov3.io.units import PIXEL, unit_name
from napari_dinov3.progress import Job, Progress

if TYPE_CHECKING:
    from napari_dinov3.io.image_to_write import ImageToWrite

_TYPES = {"t": "time", "c": "channel"}


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
    reader, io = _library(path)
    import zarr

    where = path if dataset is None else (path / dataset).resolve()
    if path.resolve() not in (where.resolve(), *where.resolve().parents):
        raise InputError(f"dataset={dataset!r}", "a folder inside the image", "Choose for example dataset='labels/cells'")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library about its own future; what is wrong raises
            location = io.parse_url(where)
            if location is None:
                raise ValueError("it holds no OME-Zarr metadata")
            node = next(iter(reader.Reader(location)()))
            attributes = dict(zarr.open_group(where, mode="r").attrs)
        root = {**attributes.get("ome", {}), **attributes}  # 0.5 keeps its own facts one step down
        axes = "".join(str(axis["name"]).lower() for axis in node.metadata["axes"])
        steps = node.metadata.get("coordinateTransformations") or [[]]
        units = {str(axis["name"]).lower(): axis.get("unit") for axis in node.metadata["axes"]}
        scale, offset = _scale_of(steps[0], len(axes))
    except InputError:
        raise
    except Exception as error:  # the library raises many kinds on folders that are something else
        raise FileFormatError(
            f"{path.name} cannot be read as OME-Zarr: {error}", "an OME-Zarr 0.4 or 0.5 image", "Give the folder of one image"
        ) from error
    if len(set(axes)) != len(axes) or not {"y", "x"} <= set(axes) <= set("tzcyx"):
        raise FileFormatError(f"{path.name} has axes {axes!r}", "letters out of t z c y x", "Choose another image")
    order = sorted(range(len(axes)), key=lambda at: "tzcyx".index(axes[at]))
    levels = tuple(
        level if order == sorted(order) and order == list(range(len(order))) else level.transpose(order) for level in node.data
    )
    kept = [at for at in order if axes[at] != "c"]
    spacing = tuple(scale[at] for at in kept)
    shift = [offset[at] for at in kept]
    own = checked(root[KEY]) if isinstance(root.get(KEY), dict) else {}
    label = "image-label" in root or own.get("kind") == "labels"
    names = node.metadata.get("channel_names") or node.metadata.get("name")
    channels = tuple(map(str, names)) if isinstance(names, list) and "c" in axes else ()
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
        units=tuple(unit_name(units[axes[at]]) for at in kept),
        name=path.name.split(".")[0],
        kind="labels" if label else "image",
        channel_names=channels,
        placement=place,
        facts=MappingProxyType(facts),
    )


def write_ome_zarr_steps(path: Path, image: ImageToWrite, *, overwrite: bool = False) -> Job[None]:
    """Write OME-Zarr 0.5, one level, a chunk a plane; lazy data stay lazy."""
    _library(path)
    import dask.array
    import zarr

    if "s" in image.axes:
        raise InputError(
            f"{path.name} would hold colours",
            "channels: OME-Zarr has no colour axis",
            "Move the colours to a channel axis (axes='cyx'), or write .ome.tif",
        )
    data = image.data if isinstance(image.data, dask.array.Array) else dask.array.from_array(image.data, chunks="auto")
    letters = sorted(image.axes, key="tczyx".index)  # the order the format asks for
    data = data.transpose([image.axes.index(a) for a in letters])
    chunks = (*(1,) * (data.ndim - 2), *(min(n, 2048) for n in data.shape[-2:]))
    axes = [{"name": a, "type": _TYPES.get(a, "space"), **_unit(image.units.get(a, PIXEL))} for a in letters]
    scale = [float(image.spacing.get(a, 1.0)) for a in letters]
    with written_whole(path, overwrite=overwrite) as part, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library about its own future
        yield Progress(0, 1, f"Write {path.name}")
        group = zarr.open_group(part, mode="w")
        require("ome_zarr.writer", path.name).write_multiscale(
            [data.rechunk(chunks)],
            group,
            axes=axes,
            name=image.name,
            coordinate_transformations=[[{"type": "scale", "scale": scale}]],
        )
        group.attrs[KEY] = _jsonable(image.own)
        yield Progress(1, 1, f"Write {path.name}")


def _library(path: Path) -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library warns of its own deprecated parts when imported
        return require("ome_zarr.reader", f"{path.name}"), require("ome_zarr.io", f"{path.name}")


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
