"""The part of OME-XML this package reads and writes: physical sizes, time step, channel names, and one annotation of its own.

The annotation is a map with the key ``napari-dinov3`` whose value is JSON: the kind (image or labels), the place in the world
where it is more than a scaling, and the provenance of a result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

import numpy as np

from napari_dinov3.io.units import ome_unit, unit_name, usable_spacing

KEY = "napari-dinov3"
_SIZES = {"z": "PhysicalSizeZ", "y": "PhysicalSizeY", "x": "PhysicalSizeX", "t": "TimeIncrement"}
_TIMES = ("second", "millisecond", "microsecond", "minute", "hour")
_DEFAULT_UNIT = {"z": "micrometer", "y": "micrometer", "x": "micrometer", "t": "second"}


def parse(xml: str, image: int = 0) -> dict[str, Any]:
    """Read what is known of one image.

    Parameters
    ----------
    xml : str
        OME-XML.
    image : int
        Position among the Image elements.

    Returns
    -------
    known : dict
        ``spacing`` and ``units`` by axis letter, ``channel_names``, and from our own annotation ``kind``,
        ``axes`` (where some have length 1), ``world_from_pixel`` and ``provenance``; only what is
        there. Empty for XML that cannot be parsed.
    """
    known: dict[str, Any] = {"spacing": {}, "units": {}}
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return known
    images = root.findall("{*}Image")
    if not images:
        return known
    pixels = images[image if image < len(images) else 0].find("{*}Pixels")
    if pixels is not None:
        for axis, name in _SIZES.items():
            size = usable_spacing(pixels.get(name), f"{name} of the OME-XML")
            if size:
                known["spacing"][axis] = size
                known["units"][axis] = unit_name(pixels.get(f"{name}Unit") or _DEFAULT_UNIT[axis])
        known["channel_names"] = tuple(c.get("Name") or f"channel {i}" for i, c in enumerate(pixels.findall("{*}Channel")))
    own = _own_annotation(root)
    known["spacing"].update(own.pop("spacing", {}))
    known["units"].update(own.pop("units", {}))
    return {**known, **own}


def describe(
    axes: str,
    spacing: Mapping[str, float],
    units: Mapping[str, str],
    *,
    name: str,
    channel_names: tuple[str, ...] = (),
    own: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the metadata of one image as tifffile's OME writer takes it.

    Parameters
    ----------
    axes : str
        Letters of the array axes.
    spacing, units : mapping
        By axis letter.
    name : str
        Of the image.
    channel_names : tuple of str
        One a channel, or none.
    own : mapping, optional
        JSON-able content of our annotation.
    """
    metadata: dict[str, Any] = {"axes": axes.upper(), "Name": name}
    own = dict(own or {})
    for axis, attribute in _SIZES.items():
        if axis not in axes or axis not in spacing:
            continue
        unit = unit_name(units.get(axis))
        if axis == "t" and unit not in _TIMES:  # OME time has a unit always: frames would come back as seconds
            own.setdefault("spacing", {})[axis], own.setdefault("units", {})[axis] = spacing[axis], unit
        else:
            metadata[attribute], metadata[f"{attribute}Unit"] = spacing[axis], ome_unit(unit)
    if channel_names:
        metadata["Channel"] = {"Name": list(channel_names)}
    if own:
        metadata["MapAnnotation"] = {KEY: json.dumps(own, default=_plain, allow_nan=False)}
    return metadata


def _own_annotation(root: ElementTree.Element) -> dict[str, Any]:
    for entry in root.iterfind(".//{*}MapAnnotation/{*}Value/{*}M"):
        if entry.get("K") == KEY:
            try:
                found = json.loads(entry.text or "")
            except (ValueError, RecursionError):
                return {}
            return checked(found) if isinstance(found, dict) else {}
    return {}


def checked(found: dict[str, Any]) -> dict[str, Any]:
    """Keep of our own annotation what has the right form: it may have been edited by hand."""
    out: dict[str, Any] = {}
    if found.get("kind") in ("image", "labels"):
        out["kind"] = found["kind"]
    axes = found.get("axes")
    if isinstance(axes, str) and len(set(axes)) == len(axes) and set("yx") <= set(axes) <= set("tzcyxs"):
        out["axes"] = axes
    spacing, units = found.get("spacing"), found.get("units")
    if isinstance(spacing, dict) and isinstance(units, dict):
        out["spacing"] = {a: size for a, value in spacing.items() if (size := usable_spacing(value)) is not None}
        out["units"] = {a: unit_name(str(units.get(a))) for a in out["spacing"]}
    if isinstance(found.get("provenance"), dict):
        out["provenance"] = found["provenance"]
    try:
        matrix = np.asarray(found.get("world_from_pixel"), dtype=np.float64)
    except (TypeError, ValueError):
        return out
    if matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] and np.isfinite(matrix).all():
        out["world_from_pixel"] = matrix
    return out


def _plain(value: Any) -> Any:
    """Give numpy values, paths and mappings their JSON counterpart."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
