"""A rectangle somebody drew over an image, as the region of it that a task is to read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from napari_dinov3.errors import InputError
from napari_dinov3.geometry import Region
from napari_dinov3.image import Planes


def region_of(shapes: Any, layer: Any) -> Region:
    """Give the box around a shape in pixels of a layer's finest level.

    Parameters
    ----------
    shapes : napari Shapes layer
        Its first selected shape counts, the first of all where none is selected.
    layer : napari Image or Labels
        What the shape lies over; the layers may differ in scale and rotation.

    Returns
    -------
    region : (row, col, end row, end col)
        Whole pixels, cut off at the image; see :func:`napari_dinov3.as_planes`.

    Raises
    ------
    InputError
        If there is no shape, or it lies beside the image.
    """
    if len(shapes.data) == 0:
        raise InputError(
            f"Layer {shapes.name!r} holds no shape", "a rectangle over the image", "Draw one, or work on the whole image"
        )
    chosen = min(shapes.selected_data, default=0)
    corners = np.asarray(shapes.data[chosen], dtype=np.float64)
    box = np.array(list(product(*zip(corners.min(axis=0), corners.max(axis=0), strict=True))))
    at = np.array([_in_layer(layer, shapes.data_to_world(corner)) for corner in box])
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    limits = np.asarray(data.shape)[layer.ndim - 2 : layer.ndim]
    # a pixel's centre has whole coordinates, so that its borders lie half a pixel off
    first = np.clip(np.round(at.min(axis=0) + 0.5), 0, limits)
    end = np.clip(np.round(at.max(axis=0) + 0.5), 0, limits)
    if np.any(end <= first):
        raise InputError(
            f"The shape of layer {shapes.name!r} lies beside {layer.name!r}",
            "a rectangle that covers at least one pixel",
            "Move it over the image",
        )
    return float(first[0]), float(first[1]), float(end[0]), float(end[1])


def pixel_size(planes: Planes) -> str:
    """Say how large a pixel is: ``2 micrometer``, or ``2 x 3 micrometer`` where rows and columns differ."""
    _, row, col = planes.spacing
    sizes = f"{row:.4g}" if np.isclose(row, col) else f"{row:.4g} x {col:.4g}"
    return f"{sizes} {planes.units[-1]}"


def _in_layer(layer: Any, world: Sequence[float]) -> Any:
    """Row and column of a world point, in pixels of the layer's finest level."""
    point = np.concatenate([np.zeros(max(0, layer.ndim - len(world))), np.asarray(world, dtype=np.float64)])[-layer.ndim :]
    return np.asarray(layer.world_to_data(point))[-2:]
