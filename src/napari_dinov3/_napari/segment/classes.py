"""The classes of a scribbles layer: their names, colours and painted pixels; renamed, merged and deleted by edits one can undo.

Names lie in the layer's metadata, which is saved with it, and in its `features` table, so that napari shows them under the
pointer. A layer that a user made is never edited: :func:`own_layer` makes a copy to work on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3._napari.layers import Placement, free_name
from napari_dinov3._napari.provenance import KEY, provenance, provenance_of
from napari_dinov3.errors import InputError

TASK = "scribbles"


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class as it is listed.

    Parameters
    ----------
    value : int
        Label value.
    name : str
        Given by the user; ``"class 2"`` where none was.
    pixels : int
        Painted ones.
    colour : (4,) floats
        Red, green, blue and opacity, 0..1.
    """

    value: int
    name: str
    pixels: int
    colour: tuple[float, float, float, float]


def default_name(value: int) -> str:
    """Name a class that has no name."""
    return f"class {value}"


def names_of(layer: Any) -> dict[int, str]:
    """Read the names of a layer's classes: from its metadata, else from a `features` table with ``index`` and ``name``."""
    noted = provenance_of(layer).get("classes")
    if isinstance(noted, Mapping):
        return {int(value): str(name) for value, name in noted.items() if str(value).lstrip("-").isdigit()}
    table = layer.features
    if "index" in table and "name" in table:
        return {int(value): str(name) for value, name in zip(table["index"], table["name"], strict=True) if int(value) > 0}
    return {}


def class_rows(layer: Any, counts: Mapping[int, int]) -> list[ClassRow]:
    """List the classes that are painted or named, in the order of their values."""
    names = names_of(layer)
    return [
        ClassRow(value, names.get(value, default_name(value)), counts.get(value, 0), colour_of(layer, value))
        for value in sorted({*names, *(value for value in counts if value > 0)})
    ]


def colour_of(layer: Any, value: int) -> tuple[float, float, float, float]:
    """Look up the colour a layer gives a value."""
    colour = layer.get_color(value)
    red, green, blue, opacity = (0.0, 0.0, 0.0, 0.0) if colour is None else (float(part) for part in np.ravel(colour)[:4])
    return red, green, blue, opacity


def is_own(layer: Any) -> bool:
    """Whether the layer was made here to be painted in, so that its classes may be edited."""
    return bool(provenance_of(layer).get("task") == TASK)


def own_layer(viewer: Any, layer: Any) -> Any:
    """Give the layer itself where it was made here, else a copy of it that may be edited, in its place and colours.

    Parameters
    ----------
    viewer : napari viewer
        Also a ViewerModel.
    layer : napari Labels
        Painted by the user, or read from a file.
    """
    if is_own(layer):
        return layer
    names = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels", "opacity")
    copy = viewer.add_labels(
        np.array(layer.data),
        name=free_name(viewer.layers, f"{layer.name} copy"),
        metadata=provenance(TASK, source=layer.name, settings={}),
        colormap=copy_of(layer.colormap),
        **{name: getattr(layer, name) for name in names},
    )
    copy.brush_size, copy.mode = layer.brush_size, layer.mode
    set_names(copy, names_of(layer))
    layer.visible = False
    return copy


def copy_of(colormap: Any) -> Any:
    """Copy a label colormap: layers that shared one would share which label is selected."""
    from copy import deepcopy

    return deepcopy(colormap)


def set_names(layer: Any, names: Mapping[int, str]) -> None:
    """Note the names of the classes in a layer of ours."""
    ordered = dict(sorted(names.items()))
    record = {**provenance_of(layer), "classes": {str(value): name for value, name in ordered.items()}}
    layer.metadata = {**layer.metadata, KEY: record}
    layer.features = {"index": np.array([0, *ordered]), "name": np.array(["not painted", *ordered.values()], dtype=object)}


def rename(layer: Any, value: int, name: str) -> None:
    """Give a class of our layer a name.

    Raises
    ------
    InputError
        For an empty name, or one that another class has.
    """
    name, names = " ".join(name.split()), names_of(layer)
    if not name:
        raise InputError(f"Class {value} without a name", "a name of at least one letter", "Type a name")
    taken = [other for other, known in names.items() if known == name and other != value]
    if taken:
        raise InputError(
            f"Class {taken[0]} is called {name!r} already", "one name a class", "Choose another name, or merge the two"
        )
    set_names(layer, {**names, value: name})


def add_class(layer: Any, counts: Mapping[int, int]) -> int:
    """Begin a class with the next free value, and select it for painting; gives the value."""
    names = names_of(layer)
    known = {value: names.get(value, default_name(value)) for value in {*names, *counts} if value > 0}
    value = max(known, default=0) + 1
    set_names(layer, {**known, value: default_name(value)})
    layer.selected_label = value
    return value


def merge(layer: Any, placement: Placement, painted: Mapping[int, npt.NDArray[Any]], value: int, into: int) -> int:
    """Give the strokes of one class to another in our layer, in one edit that can be undone.

    Parameters
    ----------
    layer : napari Labels
        Ours.
    placement : Placement
        Where its planes lie in it.
    painted : mapping from plane to (rows, cols) array
        What is painted.
    value : int
        The class that goes.
    into : int
        The class that its strokes join; 0 deletes them.

    Returns
    -------
    pixels : int
        How many changed.
    """
    indices = _indices(placement, int(layer.ndim), {plane: np.nonzero(labels == value) for plane, labels in painted.items()})
    pixels = len(indices[-1])
    if pixels:
        layer.data_setitem(indices, into)
    names = {known: name for known, name in names_of(layer).items() if known != value}
    set_names(layer, names)
    if layer.selected_label == value:
        layer.selected_label = into or min(names, default=1)
    return pixels


def result_features(names: Mapping[int, str], values: Iterable[int]) -> dict[str, Any]:
    """Give the `features` table of a result: its classes by name; empty where none was named."""
    if not names:
        return {}
    values = list(values)
    listed = ["not labelled", *(names.get(value, default_name(value)) for value in values)]
    return {"index": np.array([0, *values]), "name": np.array(listed, dtype=object)}


def _indices(
    placement: Placement, ndim: int, found: Mapping[int, tuple[npt.NDArray[np.intp], ...]]
) -> tuple[npt.NDArray[np.intp], ...]:
    """Turn pixels of planes into indices of the layer."""
    rows = np.concatenate([at[0] for at in found.values()] or [np.zeros(0, np.intp)])
    cols = np.concatenate([at[1] for at in found.values()] or [np.zeros(0, np.intp)])
    if placement.window is not None:
        rows, cols = rows + placement.window[0].start, cols + placement.window[1].start
    indices = [np.zeros(len(rows), np.intp) for _ in range(ndim)]
    for axis, at in placement.fixed:
        indices[axis][:] = at
    if placement.stack is not None:
        indices[placement.stack] = np.repeat(np.array(list(found), np.intp), [len(at[0]) for at in found.values()])
    indices[-2], indices[-1] = rows, cols
    return tuple(indices)
