"""Pull images back through a transform, once, from the raw data.

``aligned[p] = moving[T p]``; what lies outside the moving image becomes `fill`. Colours and further channels ride along on
trailing axes; labels are never interpolated (order 0).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.elastic import SplineField
from napari_dinov3.errors import InputError
from napari_dinov3.geometry import Matrix

DEFAULT_ORDER = 3
_HOLE = 0.501  # part of a missing pixel in a resampled one beyond which that is missing too
_LABEL_BYTES = 4  # whole numbers this wide are labels: cameras give 8 or 16 bits


def interpolation_order(dtype: npt.DTypeLike, order: int | None) -> int:
    """Choose how to interpolate: as asked, else 0 for bool and 32/64-bit integers (labels) and cubic for all else."""
    if order is not None:
        if not 0 <= order <= 5:
            raise InputError(f"order={order}", "0 (labels), 1 (linear) or 3 (cubic); at most 5", "Choose one of these")
        return order
    kind = np.dtype(dtype)
    return 0 if kind.kind == "b" or (kind.kind in "iu" and kind.itemsize >= _LABEL_BYTES) else DEFAULT_ORDER


def warp(
    image: npt.NDArray[Any],
    matrix: Matrix,
    *,
    field: SplineField | None = None,
    shape: tuple[int, int] | None = None,
    order: int | None = None,
    fill: float = 0,
) -> npt.NDArray[Any]:
    """Pull one plane back through a transform.

    Parameters
    ----------
    image : (rows, cols) or (rows, cols, channels)
        The moving image, any numeric type.
    matrix : (3, 3) float64
        Fixed to moving.
    field : SplineField, optional
        Displacement added after the matrix, in moving pixels as a function of the fixed point.
    shape : (2,) ints, optional
        Rows and columns of the fixed frame; the moving image's own by default.
    order : int, optional
        0 nearest (labels), 1 linear, 3 cubic; by default 0 for bool and 32/64-bit integers, else 3.
    fill : float
        Value outside the moving image.

    Returns
    -------
    aligned : (rows, cols[, channels])
        Of the same type. Cubic interpolation never leaves the image's own range, so that nothing overflows.
    """
    order = interpolation_order(image.dtype, order)
    shape = (int(image.shape[0]), int(image.shape[1])) if shape is None else shape
    if image.ndim == 3:
        parts = [warp(image[..., c], matrix, field=field, shape=shape, order=order, fill=fill) for c in range(image.shape[-1])]
        return np.stack(parts, axis=-1)
    if image.dtype == bool:
        return warp(image.view(np.uint8), matrix, field=field, shape=shape, order=0, fill=fill).astype(bool)
    if field is None and np.allclose(matrix, np.eye(3), atol=1e-12) and shape == image.shape:
        return image.copy()
    source = image if order == 0 else image.astype(np.float64 if image.dtype.itemsize > 4 else np.float32)
    holes = ~np.isfinite(source) if source.dtype.kind == "f" else None
    if holes is not None and holes.any():
        return _around_holes(source, holes, matrix, field, shape, order, fill).astype(image.dtype)
    out = _pull(source, matrix, field, shape, order, fill)
    if order == 0:
        return out.astype(image.dtype, copy=False)
    if order > 1:
        np.clip(out, min(float(source.min()), fill), max(float(source.max()), fill), out=out)
    if image.dtype.kind in "iu":
        limits = np.iinfo(image.dtype)
        out = np.clip(np.rint(out), limits.min, limits.max)
    return out.astype(image.dtype)


def _around_holes(
    source: npt.NDArray[Any],
    holes: npt.NDArray[np.bool_],
    matrix: Matrix,
    field: SplineField | None,
    shape: tuple[int, int],
    order: int,
    fill: float,
) -> npt.NDArray[Any]:
    """Interpolate what is known by itself; NaN comes back as NaN, and tints nothing beside it."""
    if holes.all():
        return np.where(_pull(holes.astype(np.float32), matrix, field, shape, 0, 0) > 0, np.nan, fill)
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(holes, return_distances=False, return_indices=True)
    filled = source[tuple(nearest)]  # continues the values into the hole, so that a spline does not ring at its edge
    out = _pull(filled, matrix, field, shape, order, fill)
    if order > 1:
        np.clip(out, min(float(filled.min()), fill), max(float(filled.max()), fill), out=out)
    share = _pull(holes.astype(np.float32), matrix, field, shape, min(order, 1), 0)
    out[share > _HOLE] = np.nan
    return out


def inside(
    moving_shape: tuple[int, int], matrix: Matrix, *, field: SplineField | None = None, shape: tuple[int, int] | None = None
) -> npt.NDArray[np.bool_]:
    """Mark the fixed pixels that find a moving pixel.

    Parameters
    ----------
    moving_shape : (2,) ints
    matrix, field, shape
        As in :func:`warp`.

    Returns
    -------
    mask : (rows, cols) bool
    """
    rows, cols = _coordinates(matrix, field, shape or moving_shape)
    return np.asarray((rows >= 0) & (rows <= moving_shape[0] - 1) & (cols >= 0) & (cols <= moving_shape[1] - 1))


def _coordinates(matrix: Matrix, field: SplineField | None, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    rows = np.arange(shape[0], dtype=np.float64)[:, None]
    cols = np.arange(shape[1], dtype=np.float64)[None, :]
    at = np.stack([matrix[i, 0] * rows + matrix[i, 1] * cols + matrix[i, 2] for i in range(2)])
    if field is not None:
        at += field.on_grid(shape)
    return at


def _pull(
    source: npt.NDArray[Any], matrix: Matrix, field: SplineField | None, shape: tuple[int, int], order: int, fill: float
) -> npt.NDArray[Any]:
    from scipy import ndimage

    if field is None:
        out = ndimage.affine_transform(
            source, matrix[:2, :2], matrix[:2, 2], output_shape=shape, order=order, mode="constant", cval=fill
        )
    else:
        out = ndimage.map_coordinates(source, _coordinates(matrix, field, shape), order=order, mode="constant", cval=fill)
    return np.asarray(out)
