"""What a panel does, as plain Python for the napari console.

The code needs nothing but the console's ``viewer`` and the public API of this package: the layer is read by name, the tasks
are the lines that :mod:`napari_dinov3.recipe` writes, and the result is added with its place in the world as plain numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from napari_dinov3._napari.layers import Placement, Source

IMPORT = "import napari_dinov3 as nd"


def layer_lines(source: Source, *, variable: str = "image", level: int = 0, multiscale: bool = False) -> list[str]:
    """Write how the planes of a layer are read.

    Parameters
    ----------
    source : Source
        The layer as it was read.
    variable : str
        Name for the array.
    level : int
        Pyramid level, for a multiscale layer.
    multiscale : bool
        Whether the layer is one.
    """
    placement = source.placement
    index = dict(placement.fixed)
    where = ""
    words = [str(index[axis]) if axis in index else ":" for axis in range(placement.ndim)]
    if placement.window is not None:
        words[-2:] = [f"{part.start}:{part.stop}" for part in placement.window]
    while words and words[-1] == ":":
        words.pop()
    if words:
        where = f"[{', '.join(words)}]"
    pyramid = f"[{level}]" if multiscale else ""
    return [f"{variable} = viewer.layers[{placement.name!r}].data{pyramid}{where}"]


def axes_of(source: Source) -> str:
    """Name the axes of the array that :func:`layer_lines` reads, colour included."""
    return source.placement.axes + "s" * source.planes.rgb


def add_line(kind: str, expression: str, *, name: str, placement: Placement, transform: Mapping[str, Any], **options: Any) -> str:
    """Write the line that adds a result as a layer.

    Parameters
    ----------
    kind : str
        ``"image"`` or ``"labels"``.
    expression : str
        Gives ``(planes, rows, cols[, 3])``.
    name : str
        Of the layer.
    placement : Placement
        Of the source; gives a single image and fixed axes back their axes.
    transform : mapping
        As :meth:`Placement.pixel_transform` or :meth:`Placement.patch_transform` gives it.
    **options
        Further keywords of the layer.
    """
    if placement.stack is None:
        expression += "[0]"
    for axis, _ in placement.fixed:
        expression += f"[{':, ' * axis}None]"
    words = [expression, f"name={name!r}", *_transform_words(transform, placement.ndim)]
    words += [f"{key}={value!r}" for key, value in options.items()]
    return f"viewer.add_{kind}({', '.join(words)})"


def add_whole_line(kind: str, expression: str, *, name: str, transform: Mapping[str, Any], **options: Any) -> str:
    """Write the line that adds a layer whose array has all its axes already; see :func:`add_line`."""
    words = [expression, f"name={name!r}", *_transform_words(transform, len(transform["scale"]))]
    return f"viewer.add_{kind}({', '.join([*words, *(f'{key}={value!r}' for key, value in options.items())])})"


def script_of(lines: Iterable[str]) -> str:
    """Put lines together under the import."""
    return "\n".join([IMPORT, "", *lines]) + "\n"


def _transform_words(transform: Mapping[str, Any], ndim: int) -> list[str]:
    """Write a transform as keywords, leaving out what is at its default."""
    words = [f"scale={_numbers(transform['scale'])}", f"translate={_numbers(transform['translate'])}"]
    for key, neutral in (("rotate", np.eye(ndim)), ("affine", np.eye(ndim + 1))):
        if not np.allclose(transform[key], neutral):
            words.append(f"{key}={np.asarray(transform[key]).tolist()}")
    if np.any(transform["shear"]):
        words.append(f"shear={_numbers(transform['shear'])}")
    units = tuple(str(unit) for unit in transform["units"])
    words.append(f"units={units!r}")
    if tuple(transform["axis_labels"]) != tuple(str(axis) for axis in range(-ndim, 0)):
        words.append(f"axis_labels={tuple(transform['axis_labels'])!r}")
    return words


def _numbers(values: Any) -> str:
    return repr(tuple(float(f"{value:.10g}") for value in np.ravel(values)))
