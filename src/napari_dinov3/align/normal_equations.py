"""Weighted least squares for one small step of a linear transform.

The residual between two images that nearly lie on each other is linear in the displacement, ``residual = grad . v(p)``, and the
displacement in the transform's parameters; positions are taken about the frame's centre, over half its longer side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.channels import FloatArray
from napari_dinov3.align.transforms import LinearModel
from napari_dinov3.geometry import Matrix

MIN_PIXELS = 64
_RIDGE = 1e-6

Terms: TypeAlias = Sequence[tuple[FloatArray, FloatArray, FloatArray, FloatArray]]


def small_step(
    terms: Terms,
    known: npt.NDArray[np.bool_],
    model: LinearModel,
    shape: tuple[int, int],
) -> Matrix | None:
    """Solve for the small transform, in the fixed frame, that takes the residual away.

    Parameters
    ----------
    terms : list of (residual, by_row, by_col, weight)
        Each ``(rows, cols)`` float32.
    known : (rows, cols) bool
        Where to look.
    model : {"translation", "rigid", "similarity", "affine"}
        What may change.
    shape : (2,) ints
        Of the fixed frame.

    Returns
    -------
    step : (3, 3) float64 or None
        None where too little is known.
    """
    if np.count_nonzero(known) < MIN_PIXELS:
        return None
    at, y, x = _places(known, shape)
    normal: npt.NDArray[np.float64] | None = None
    right: npt.NDArray[np.float64] | None = None
    for residual, by_row, by_col, weight in terms:
        jacobian = _jacobian(by_row[at], by_col[at], y, x, model)
        weighted = jacobian * weight[at]
        h, b = (weighted @ jacobian.T).astype(np.float64), (weighted @ residual[at]).astype(np.float64)
        normal, right = (h, b) if normal is None or right is None else (normal + h, right + b)
    if normal is None or right is None:
        return None
    ridge = _RIDGE * np.trace(normal) / len(normal) + 1e-12
    delta = np.linalg.solve(normal + ridge * np.eye(len(normal)), right)
    return _small_matrix(delta, model, _centre(shape), 0.5 * max(shape))


def _centre(shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    return np.array([(shape[0] - 1) / 2, (shape[1] - 1) / 2])


def _places(
    known: npt.NDArray[np.bool_], shape: tuple[int, int]
) -> tuple[tuple[npt.NDArray[np.intp], ...], FloatArray, FloatArray]:
    """List the known pixels, and where they lie about the centre, over half a side."""
    at = np.nonzero(known)
    y, x = ((at[i] - _centre(shape)[i]).astype(np.float32) / np.float32(0.5 * max(shape)) for i in range(2))
    return at, y, x


def _jacobian(gr: FloatArray, gc: FloatArray, y: FloatArray, x: FloatArray, model: LinearModel) -> FloatArray:
    """Change of the residual with each parameter, ``(parameters, N)``; positions relative to the centre, over half a side."""
    turn, grow = gc * y - gr * x, gr * y + gc * x
    rows = {
        "translation": (gr, gc),
        "rigid": (gr, gc, turn),
        "similarity": (gr, gc, turn, grow),
        "affine": (gr, gc, gr * y, gr * x, gc * y, gc * x),
    }[model]
    return np.stack(rows)


def _small_matrix(delta: npt.NDArray[np.float64], model: LinearModel, centre: Matrix, half: float) -> Matrix:
    linear = np.eye(2)
    if model == "affine":
        linear = np.eye(2) + delta[2:].reshape(2, 2) / half
    elif model in ("rigid", "similarity"):
        angle = delta[2] / half
        grow = 1 + (delta[3] / half if model == "similarity" else 0.0)
        linear = grow * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = centre + delta[:2] - linear @ centre
    return matrix
