"""CREMI: one HDF5 file with serial-section EM, neuron ids, synaptic clefts and the sites of synapses, in nanometres.

Labels of a padded volume start at their own offset; sites count from the offset of their group. A cleft volume marks its
background by the highest id, which is shown as 0.

References
----------
Funke, Saalfeld, Bock, Turaga, Perlman 2016, https://cremi.org/data
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from napari_dinov3.geometry import affine
from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.layouts.layout import Layout
from napari_dinov3.io.optional import require
from napari_dinov3.io.vectors import VectorFile

_RAW, _LABELS = "volumes/raw", ("volumes/labels/neuron_ids", "volumes/labels/clefts", "volumes/labels/mask")
_MOST_SITES = 10_000_000


def _claims(path: Path) -> bool:
    from napari_dinov3.io.hdf5 import EXTENSIONS

    if path.suffix.lower() not in EXTENSIONS or not path.is_file():
        return False
    try:
        h5py = require("h5py", path.name)
        with h5py.File(path, "r") as file:
            return isinstance(file.get(_RAW, getlink=True), h5py.HardLink) and isinstance(file.get("volumes/labels"), h5py.Group)
    except Exception:  # whatever is wrong with it, the reader of single data sets says so
        return False


def _read(path: Path) -> tuple[ImageFile | VectorFile, ...]:
    from napari_dinov3.io.hdf5 import read_hdf5

    with require("h5py", path.name).File(path, "r") as file:
        names = [name for name in _LABELS if name in file]
        sites = _sites(file, path)
    raw = read_hdf5(path, dataset=_RAW)
    labels = [_without_background(read_hdf5(path, dataset=name)) for name in names]
    return raw, *labels, *([] if sites is None else sites)


def _without_background(labels: ImageFile) -> ImageFile:
    import dask.array

    if not labels.name.endswith("clefts") or labels.dtype.kind != "u":
        return replace(labels, kind="labels") if labels.dtype.kind in "iu" else labels
    highest = np.iinfo(labels.dtype).max
    data = dask.array.where(labels.data == highest, labels.dtype.type(0), labels.data)
    return replace(labels, levels=(data,), kind="labels")


def _sites(file: Any, path: Path) -> tuple[VectorFile, ...] | None:
    """Read the sites of synapses, and the lines from each presynaptic one to its partner."""
    group = file.get("annotations")
    needed = ("ids", "locations")
    if group is None or any(name not in group for name in needed) or not 0 < group["ids"].shape[0] <= _MOST_SITES:
        return None
    ids, locations = np.asarray(group["ids"]), np.asarray(group["locations"], dtype=np.float64)
    if locations.shape != (len(ids), 3) or not np.isfinite(locations).all():
        return None
    offset = np.ravel(group.attrs.get("offset", np.zeros(3))).astype(np.float64)
    types = group["types"] if "types" in group else group.get("type")
    known: dict[str, Any] = {"id": ids.tolist()}
    if types is not None and types.shape == ids.shape:
        known["type"] = [kind.decode() if isinstance(kind, bytes) else str(kind) for kind in np.asarray(types)]
    place = affine((1.0,) * 3, offset.tolist()) if offset.shape == (3,) and offset.any() else None
    shared: dict[str, Any] = {
        "axes": "zyx",
        "spacing": (1.0,) * 3,
        "units": ("nanometer",) * 3,
        "path": path,
        "placement": place,
        "facts": MappingProxyType({"format": "CREMI annotations"}),
    }
    points = VectorFile("points", locations, name=f"{path.stem} synapses", columns=known, **shared)
    partners = group.get("presynaptic_site/partners")
    if partners is None or partners.ndim != 2 or partners.shape[1] != 2:
        return (points,)
    row = {number: at for at, number in enumerate(ids.tolist())}
    pairs = [(row[a], row[b]) for a, b in np.asarray(partners).tolist() if a in row and b in row]
    lines = locations[np.array(pairs, dtype=int).reshape(-1, 2)]
    return VectorFile("lines", lines, name=f"{path.stem} partners", **shared), points


LAYOUT = Layout("CREMI", _claims, _read)
