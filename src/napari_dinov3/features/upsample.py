"""Patch grids to pixels.

Conventions. Patch ``(r, c)`` has its centre at pixel ``(first_centre + r * stride, first_centre + c * stride)``; a pixel's
coordinate is its centre. Pixels beyond the outermost patch centres take the value at the edge (no extrapolation).
Both interpolations are separable and run one axis at a time, the small one first.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError

S = TypeVar("S", bound=np.generic)
Indices = npt.NDArray[np.intp]


_ROWS = 128


def upsample(
    grid: npt.ArrayLike, *, image_shape: tuple[int, int], stride: float, first_centre: float, order: Literal[0, 1] = 1
) -> npt.NDArray[np.float32]:
    """Interpolate values of patches at every pixel.

    Parameters
    ----------
    grid : (rows, cols) or (rows, cols, k) array-like
        One value, or k values, a patch.
    image_shape : (2,) ints
        Rows and columns of the image.
    stride : float
        Pixels between the centres of neighbouring patches.
    first_centre : float
        Pixel coordinate of the first patch's centre on both axes.
    order : {1, 0}
        1: bilinear; 0: the nearest patch.

    Returns
    -------
    pixels : (H, W) or (H, W, k) float32
        Equal to the patch's value at its centre. NaN spreads to the pixels between its patch and the neighbours.

    Raises
    ------
    InputError
        If the grid is empty or has other than 2 or 3 axes, or the stride or image shape is not positive.

    Notes
    -----
    Bilinear interpolation is linear in the grid, so that a 1x1 convolution (a linear probe) may be applied before or after it.
    """
    values = np.asarray(grid, dtype=np.float32)
    if order == 0:
        return upsample_nearest(values, image_shape=image_shape, stride=stride, first_centre=first_centre)
    _check(values, image_shape, stride)
    for axis in (1, 0):
        values = _linear(values, axis, _positions(image_shape[axis], values.shape[axis], stride, first_centre))
    return values


def upsample_nearest(grid: npt.NDArray[S], *, image_shape: tuple[int, int], stride: float, first_centre: float) -> npt.NDArray[S]:
    """Give every pixel the value of its nearest patch, in the grid's own data type (labels stay labels).

    Parameters
    ----------
    grid : (rows, cols) or (rows, cols, k) array
        Any data type.
    image_shape, stride, first_centre
        As in :func:`upsample`.

    Returns
    -------
    pixels : (H, W) or (H, W, k)
        Same data type. Half way between two patches the later one wins.
    """
    _check(grid, image_shape, stride)
    for axis in (1, 0):
        at = _positions(image_shape[axis], grid.shape[axis], stride, first_centre)
        grid = grid.take(np.floor(at + 0.5).astype(np.intp), axis=axis)
    return grid


def interpolate_at(
    grid: npt.NDArray[np.float32], pixels: npt.ArrayLike, *, stride: float, first_centre: float
) -> npt.NDArray[np.float32]:
    """Interpolate values of patches at some pixels: the rows of :func:`upsample` there, without the rest.

    Parameters
    ----------
    grid : (rows, cols, k) float32
        k values a patch.
    pixels : (n, 2) array-like
        Row and column of each.
    stride, first_centre
        As in :func:`upsample`.

    Returns
    -------
    values : (n, k) float32
    """
    at = np.clip((np.asarray(pixels) - first_centre) / stride, 0, np.array(grid.shape[:2]) - 1)
    low = np.floor(at).astype(np.intp)
    high = np.minimum(low + 1, np.array(grid.shape[:2]) - 1)
    row, col = (at - low).astype(np.float32).T[..., None]
    corners = (
        (low[:, 0], low[:, 1], (1 - row) * (1 - col)),
        (low[:, 0], high[:, 1], (1 - row) * col),
        (high[:, 0], low[:, 1], row * (1 - col)),
        (high[:, 0], high[:, 1], row * col),
    )
    values = np.zeros((len(at), grid.shape[2]), np.float32)
    for start in range(0, len(at), _ROWS):  # blocks that stay in the cache: wide features of many pixels are tens of megabytes
        block = slice(start, start + _ROWS)
        for rows, cols, weight in corners:
            corner = grid[rows[block], cols[block]]
            corner *= weight[block]
            values[block] += corner
    return values


def _positions(pixels: int, patches: int, stride: float, first_centre: float) -> npt.NDArray[np.float64]:
    """Place each pixel of an axis among the patches, clamped to the outermost centres."""
    return np.clip((np.arange(pixels) - first_centre) / stride, 0, patches - 1)


def _linear(values: npt.NDArray[np.float32], axis: int, at: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    low = np.floor(at).astype(np.intp)
    high = np.minimum(low + 1, values.shape[axis] - 1)
    weight = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    start: npt.NDArray[np.float32] = values.take(low, axis=axis)
    # start + (end - start) * weight keeps a constant grid exactly constant; in place, because the arrays are image-sized
    end: npt.NDArray[np.float32] = values.take(high, axis=axis)
    end -= start
    end *= weight
    end += start
    return end


def _check(grid: npt.NDArray[Any], image_shape: tuple[int, int], stride: float) -> None:
    if grid.ndim not in (2, 3) or 0 in grid.shape:
        raise InputError(
            f"A patch grid of shape {grid.shape}",
            "(rows, cols) or (rows, cols, k), none of them 0",
            "Upsample one plane at a time, for example grid[0]",
        )
    if not (stride > 0 and len(image_shape) == 2 and min(image_shape) >= 1):
        raise InputError(
            f"stride={stride}, image_shape={tuple(image_shape)}",
            "a positive stride and two positive sides",
            "Take both from the feature map: features.stride, features.image_shape",
        )
