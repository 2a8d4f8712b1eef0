"""Pixel, patch and world coordinates.

Conventions. Coordinates are ``(plane, row, col)``; a pixel's or patch's coordinate is its centre, so the first pixel of a
plane covers -0.5..0.5. Matrices are homogeneous and named ``a_from_b``: ``world_from_patch = world_from_pixel @
pixel_from_patch``. World coordinates are in the image's own units (usually micrometres).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError

Matrix = npt.NDArray[np.float64]
Region = tuple[float, float, float, float]
"""First row, first column, end row and end column (not included), in pixels of the finest level."""


def affine(scale: Sequence[float], translate: Sequence[float] | None = None) -> Matrix:
    """Build the homogeneous matrix of a scaling followed by a translation.

    Parameters
    ----------
    scale : (n,) floats
        World units a step, one number an axis; all must be finite and not 0.
    translate : (n,) floats, optional
        World position of index 0 on every axis; zeros by default.

    Returns
    -------
    matrix : (n + 1, n + 1) float64
        ``world_from_index``.
    """
    scale_array = np.asarray(scale, dtype=np.float64)
    if not np.all(np.isfinite(scale_array)) or np.any(scale_array == 0):
        raise InputError(
            f"Spacing {tuple(scale)} has a zero or non-finite number",
            "every spacing must be finite and not 0",
            "Give the pixel size of each axis",
        )
    matrix = np.diag([*scale_array, 1.0])
    if translate is not None:
        matrix[:-1, -1] = np.asarray(translate, dtype=np.float64)
    return matrix


def pixel_from_patch(stride: float, first_centre: float) -> Matrix:
    """Map patch indices to pixel coordinates.

    Parameters
    ----------
    stride : float
        Pixels between the centres of neighbouring patches.
    first_centre : float
        Pixel coordinate of the first patch's centre, the same on both axes; ``(stride - 1) / 2`` where patches tile the
        image without overlap.

    Returns
    -------
    matrix : (4, 4) float64
        Acts on ``(plane, row, col, 1)``; the plane is left alone.
    """
    return affine((1.0, stride, stride), (0.0, first_centre, first_centre))


def transform_points(matrix: Matrix, points: npt.ArrayLike) -> Matrix:
    """Apply a homogeneous matrix to points.

    Parameters
    ----------
    matrix : (n + 1, n + 1) float64
        ``a_from_b``.
    points : (..., n) floats
        Points in ``b``.

    Returns
    -------
    points : (..., n) float64
        The same points in ``a``.
    """
    points = np.asarray(points, dtype=np.float64)
    return points @ matrix[:-1, :-1].T + matrix[:-1, -1]


def grid_length(pixels: int, stride: int) -> int:
    """Count the patches that cover an axis, the last one possibly padded."""
    return max(1, math.ceil(pixels / stride))


def region_window(
    region: Sequence[float], shape: tuple[int, int], *, finest: tuple[int, int] | None = None, name: str = "image"
) -> tuple[slice, slice]:
    """Turn a rectangle in pixels of the finest level into the rows and columns of a level that it touches.

    Parameters
    ----------
    region : (4,) numbers
        First row, first column, end row and end column (not included), in pixels of the finest level.
    shape : (2,) ints
        Rows and columns of the level.
    finest : (2,) ints, optional
        Rows and columns of the finest level, where it is another one.
    name : str
        For the message.

    Returns
    -------
    rows, cols : slice
        Inside the image.
    """
    values = tuple(region)
    if len(values) != 4 or not all(isinstance(v, int | float | np.number) and math.isfinite(v) for v in values):
        raise InputError(
            f"region={values}", "four numbers: first row, first column, end row, end column", "Give for example (0, 0, 512, 512)"
        )
    whole = finest or shape
    spans = []
    for axis in (0, 1):
        zoom = whole[axis] / shape[axis]
        first, end = float(values[axis]) / zoom, float(values[axis + 2]) / zoom
        spans.append(slice(max(0, math.floor(first + 1e-6)), min(shape[axis], math.ceil(end - 1e-6))))
    if any(span.start >= span.stop for span in spans):
        raise InputError(
            f"region={values} holds no pixel of {name!r}",
            f"first row, first column, end row and end column within {whole[0]} rows and {whole[1]} columns",
            "Move it over the image, or leave region out",
        )
    return spans[0], spans[1]
