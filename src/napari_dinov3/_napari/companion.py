"""Layers that belong to an image: scribbles, a reference, a layer to move along."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3._napari.layers import Source, corner_worlds, pixel_at, read_layer, world_from_index
from napari_dinov3.errors import InputError


def read_companion(layer: Any, image: Source) -> Source:
    """See a layer that belongs to an image (scribbles, a reference, a layer to move along), refusing one that lies elsewhere.

    Parameters
    ----------
    layer : napari Image or Labels
        Read along the same plane axis and at the same time point as the image.
    image : Source
        What it must have the planes, rows, columns and place of. A layer without a time axis belongs to every time point.

    Raises
    ------
    InputError
        If it has another shape, lies more than half a pixel off, or holds nothing at the time point that the image is read at.
    """
    missing = image.placement.ndim - int(layer.ndim)
    stack = image.placement.stack
    along = None if stack is None or not 0 <= stack - missing < int(layer.ndim) - 2 else stack - missing
    point = corner_worlds(image.placement, np.zeros((1, 3)))[0]
    source = read_layer(layer, point=point.tolist(), stack_axis=along)
    if image.placement.window is not None and source.planes.shape != image.planes.shape:
        part = _part_below(source, image)
        source = source if part is None else read_layer(layer, point=point.tolist(), stack_axis=along, region=part)
    if source.planes.shape != image.planes.shape:
        raise InputError(
            f"Layer {layer.name!r} has shape {source.planes.shape}",
            f"{image.planes.shape}, as layer {image.placement.name!r}",
            "Choose or make a layer of the image's shape",
        )
    off = _pixels_off(source, image)
    elsewhere = [axis for axis, _ in image.placement.fixed if axis >= max(0, missing) and off[axis - image.placement.ndim] > 0.5]
    if elsewhere:
        name = image.placement.axis_labels[elsewhere[0]]
        raise InputError(
            f"Layer {layer.name!r} holds nothing at this position of the slider of axis {name}",
            f"a layer that lies where {image.placement.name!r} is read",
            "Move the slider to where the layer was made, or make a new layer here",
        )
    if np.any(off > 0.5):
        raise InputError(
            f"Layer {layer.name!r} lies up to {off.max():.4g} pixels away from {image.placement.name!r}",
            "a layer in the same place: scale, translate, rotate and affine of the image",
            "Copy the image's transform to it, or choose another layer",
        )
    return source


def _part_below(source: Source, image: Source) -> tuple[float, float, float, float] | None:
    """Find the rectangle of a larger layer that lies where the region of an image lies, or None."""
    _, rows, cols = image.planes.shape
    _, row, col = pixel_at(source, corner_worlds(image.placement, np.zeros((1, 3)))[0])
    row, col = round(row), round(col)
    inside = 0 <= row <= source.planes.shape[1] - rows and 0 <= col <= source.planes.shape[2] - cols
    return (row, col, row + rows, col + cols) if inside else None


def _pixels_off(source: Source, image: Source) -> npt.NDArray[np.float64]:
    """Tell how far the corners of two volumes of one shape lie apart at most, along each shared axis, in pixels of the image."""
    corners = np.array(list(product(*((0, n - 1) for n in image.planes.shape))), float)
    ours, theirs = corner_worlds(source.placement, corners), corner_worlds(image.placement, corners)
    shared = min(source.placement.ndim, image.placement.ndim)
    linear = world_from_index(image.placement)[-1 - shared : -1, -1 - shared : -1]
    off: npt.NDArray[np.float64] = np.abs((ours[:, -shared:] - theirs[:, -shared:]) @ np.linalg.inv(linear).T).max(axis=0)
    return off
