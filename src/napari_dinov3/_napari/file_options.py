"""Keywords of the layers that files become: place, names and colours of ids, points, lines, outlines and tracks."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import numpy as np

from napari_dinov3._napari.provenance import KEY
from napari_dinov3.errors import FallbackWarning, InputError
from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.legend import Legend
from napari_dinov3.io.vectors import VectorFile

LayerData = tuple[Any, dict[str, Any], str]
"""Data, keywords and layer type, as napari's readers and sample providers give them."""

_OUTLINE = "#ffd23f"
_LINE = "#ff6b35"


def placed(record: ImageFile | VectorFile, axes: str) -> dict[str, Any]:
    """Give the keywords that put a layer at its place in the world, and say where it came from."""
    facts = {key: value for key, value in record.facts.items() if key != "hidden"}
    options: dict[str, Any] = {
        "units": record.units,
        "axis_labels": tuple(axes),
        "metadata": {KEY: {"task": "read", "path": str(record.path), **facts}},
    }
    if record.placement is None:
        options["scale"] = record.spacing
    else:
        options["affine"] = record.placement
    if record.facts.get("hidden"):
        options["visible"] = False
    return options


def legend_options(legend: Legend, dtype: np.dtype[Any]) -> dict[str, Any]:
    """Give a labels layer the names and colours of its ids; the name of the id under the pointer stands in the status bar.

    napari looks colours of ids of more than 16 bits up with numba; where that is not installed, colours stay napari's own.
    """
    if not legend:
        return {}
    from napari.utils.colormaps import DirectLabelColormap

    colours: dict[int | None, Any] = {None: (0.5, 0.5, 0.5, 1.0), 0: (0.0, 0.0, 0.0, 0.0)}
    for number, known in legend.items():
        if known.colour is not None and number:
            colours[number] = (*(part / 255 for part in known.colour), 1.0)
    names = [0, *(number for number in legend if number)]
    columns = {
        "index": names,
        "name": ["background", *(legend[number].name for number in names[1:])],
        "acronym": ["", *(legend[number].acronym for number in names[1:])],
    }
    options: dict[str, Any] = {"features": columns}
    if len(colours) > 2 and dtype.itemsize > 2 and importlib.util.find_spec("numba") is None:
        text = "napari shows the colours of these ids only where numba is installed; names are there. Run: pip install numba"
        warnings.warn(FallbackWarning(text), stacklevel=2)
    elif len(colours) > 2:
        options["colormap"] = DirectLabelColormap(color_dict=colours)
    return options


def display_range(image: ImageFile) -> tuple[float, float] | None:
    """Look at the middle plane for the range to show, where napari's own look goes wrong; None where it does not.

    napari looks before its slider stands inside the image, so that one which does not begin at 0 would be shown from 0 to 1; and
    it finds no end with lazy numbers of 32 bits and more.
    """
    if image.contrast_limits is not None or image.rgb:
        return image.contrast_limits
    if image.placement is None and (image.dtype.kind == "f" or image.dtype.itemsize < 4):
        return None
    level = image.levels[-1]
    try:
        pixels = np.asarray(level[tuple(n // 2 for n in level.shape[:-2])])
    except InputError:  # a damaged plane says so when it is looked at
        return None
    known = pixels[np.isfinite(pixels)]
    if not known.size or known.min() == known.max():
        return None if image.placement is None or not known.size else (float(known.min()), float(known.min()) + 1.0)
    return float(known.min()), float(known.max())


def vector_layer(record: VectorFile) -> LayerData:
    """Turn points, lines, outlines or tracks into a layer."""
    options: dict[str, Any] = {"name": record.name, **placed(record, record.axes)}
    columns = {name: list(values) for name, values in record.columns.items()}
    if columns:
        options["features"] = columns
    if record.kind == "points":
        radii = np.asarray(record.columns.get("radius", np.ones(len(record))), dtype=float)
        largest = _SYNAPSE_NM if set(record.units) == {"nanometer"} else 1.0
        options |= {"size": np.maximum(2 * radii, largest), "border_width": 0, "face_color": _LINE, "opacity": 0.8}
        return record.data, options, "points"
    if record.kind == "lines":
        vectors = np.stack([record.data[:, 0], record.data[:, 1] - record.data[:, 0]], axis=1)
        options |= {"vector_style": "line", "edge_color": _LINE, "edge_width": _SYNAPSE_NM / 4 if _in_nm(record) else 0.5}
        return vectors, options, "vectors"
    if record.kind == "tracks":
        options["graph"] = {child: list(parents) for child, parents in record.graph.items()}
        return record.data, options, "tracks"
    options |= {"shape_type": "polygon", "face_color": "transparent", "edge_color": _OUTLINE, "edge_width": 0.5}
    return list(record.data), options, "shapes"


_SYNAPSE_NM = 40.0  # points that count nanometres would be too small to see at their size of 1


def _in_nm(record: VectorFile) -> bool:
    return set(record.units) == {"nanometer"} and record.spacing == (1.0,) * len(record.axes)
