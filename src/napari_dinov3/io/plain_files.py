"""Numpy files with a JSON file beside them, and PNG for single pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinov3.errors import InputError
from napari_dinov3.io.atomic import check_target, write_text, written_whole
from napari_dinov3.progress import Job, Progress

if TYPE_CHECKING:
    from napari_dinov3.io.image_to_write import ImageToWrite


def read_facts(path: Path) -> dict[str, Any]:
    """Read what stands beside an array, checked; empty where nothing does or it is not ours."""
    from napari_dinov3.io.ome_metadata import checked

    beside = path.with_name(f"{path.name}.json")
    try:
        found = json.loads(beside.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    known = checked(found)
    if isinstance(found.get("axes"), str):
        known["axes"] = found["axes"]
    return known


def write_numpy_steps(path: Path, image: ImageToWrite, *, overwrite: bool = False) -> Job[None]:
    """Write ``.npy`` plane by plane, and axes, spacing, units and provenance to ``NAME.npy.json``."""
    data = image.data
    facts = {
        "axes": image.axes,
        "spacing": image.spacing,
        "units": image.units,
        "name": image.name,
        "channel_names": list(image.channel_names),
        **image.own,
    }
    beside = check_target(path.with_name(f"{path.name}.json"), overwrite=overwrite)
    with written_whole(path, overwrite=overwrite) as part:
        out = np.lib.format.open_memmap(part, mode="w+", dtype=np.dtype(data.dtype), shape=tuple(data.shape))
        count = data.shape[0]
        for index in range(count):
            out[index] = np.asarray(data[index])
            yield Progress(index + 1, count, f"Write {path.name}")
        out.flush()
        del out
    write_text(beside, json.dumps(facts, indent=2, default=str) + "\n", overwrite=overwrite)


def write_png_steps(path: Path, image: ImageToWrite, *, overwrite: bool = False) -> Job[None]:
    """Write one plane of 8-bit grey or RGB, or 16-bit grey; floats of colours in 0..1 become 8-bit."""
    from PIL import Image

    data: Any = np.asarray(image.data)
    colours = "s" in image.axes
    if data.ndim - colours > 2 and data.shape[0] == 1:
        data = data[0]
    if data.dtype == bool:
        data = data.astype(np.uint8) * 255
    if data.dtype.kind == "f" and data.size and np.nanmin(data) >= 0 and np.nanmax(data) <= 1:
        data = np.rint(np.nan_to_num(data) * 255).astype(np.uint8)
    if data.ndim != 2 + colours or data.dtype not in (np.uint8, np.uint16) or (colours and data.dtype != np.uint8):
        raise InputError(
            f"{path.name} would hold an array of shape {data.shape} and type {data.dtype}",
            "one plane of 8-bit grey or RGB, 16-bit grey, or floats in 0..1",
            "Write .ome.tif instead",
        )
    with written_whole(path, overwrite=overwrite) as part:
        Image.fromarray(data).save(part, format="PNG")
        yield Progress(1, 1, f"Write {path.name}")
