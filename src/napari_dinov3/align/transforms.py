"""Planar transforms: how a point of the fixed frame finds its place in the moving image.

Conventions. Points are ``(row, col)`` with pixel centres at whole numbers. A matrix is ``(3, 3)``, acts on ``(row, col, 1)``
and maps **fixed to moving**: the moving image is pulled back through it, ``aligned[p] = moving[T p]``. Products compose from
right to left. What places the moving image in the fixed frame (a napari layer's affine) is therefore the inverse; see
:func:`layer_affine`.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.geometry import Matrix, transform_points

LinearModel = Literal["translation", "rigid", "similarity", "affine"]
Model = Literal["translation", "rigid", "similarity", "affine", "elastic"]
Points = npt.NDArray[np.float64]

LINEAR_MODELS: tuple[LinearModel, ...] = get_args(LinearModel)
MODELS: tuple[Model, ...] = get_args(Model)
MIN_POINTS = {"translation": 1, "rigid": 2, "similarity": 2, "affine": 3}


def linear_part(model: Model) -> LinearModel:
    """Name the linear model that a model stands on: affine for an elastic one, else itself."""
    return "affine" if model == "elastic" else model


def check_model(model: str, known: tuple[str, ...] = MODELS) -> None:
    """Refuse the name of a model that does not exist.

    Raises
    ------
    InputError
        Listing the known ones.
    """
    if model not in known:
        raise InputError(f"model={model!r}", f"one of {', '.join(known)}", "Choose one of these models")


def translation_matrix(rows: float, cols: float) -> Matrix:
    """Build the matrix that moves points by ``(rows, cols)`` pixels."""
    matrix = np.eye(3)
    matrix[:2, 2] = rows, cols
    return matrix


def rotation_matrix(degrees: float, centre: tuple[float, float] = (0.0, 0.0), scale: float = 1.0) -> Matrix:
    """Build a rotation about a point.

    Parameters
    ----------
    degrees : float
        Angle from the row axis towards the column axis (on screen, counter-clockwise).
    centre : (2,) floats
        ``(row, col)`` that stays where it is.
    scale : float
        Uniform scaling applied with it.

    Returns
    -------
    matrix : (3, 3) float64
    """
    angle = math.radians(degrees)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    matrix[:2, 2] = np.asarray(centre) - matrix[:2, :2] @ np.asarray(centre)
    return matrix


def rotation_degrees(matrix: Matrix) -> float:
    """Read the rotation out of a matrix (of the nearest rotation, if it also shears)."""
    return math.degrees(math.atan2(matrix[1, 0] - matrix[0, 1], matrix[0, 0] + matrix[1, 1]))


def scaled(matrix: Matrix, factor: float) -> Matrix:
    """Carry a transform between two sizes of the same images.

    Parameters
    ----------
    matrix : (3, 3) float64
        Between images reduced by `factor` on both axes, by averaging blocks (so that pixel 0 of the reduced image lies at
        ``(factor - 1) / 2`` of the full one).
    factor : float
        Full pixels a reduced pixel; below 1 to go the other way.

    Returns
    -------
    matrix : (3, 3) float64
        Between the full images.
    """
    full_from_reduced = np.diag([factor, factor, 1.0])
    full_from_reduced[:2, 2] = (factor - 1) / 2
    return np.asarray(full_from_reduced @ matrix @ np.linalg.inv(full_from_reduced))


def fit_matrix(
    fixed: npt.ArrayLike, moving: npt.ArrayLike, *, model: LinearModel, weights: npt.ArrayLike | None = None
) -> Matrix:
    """Fit a transform to point pairs by weighted least squares.

    Parameters
    ----------
    fixed, moving : (N, 2) floats
        The same places in either image, ``(row, col)``.
    model : {"translation", "rigid", "similarity", "affine"}
        What may change.
    weights : (N,) floats, optional
        At least 0; equal by default.

    Returns
    -------
    matrix : (3, 3) float64
        Fixed to moving.

    Raises
    ------
    InputError
        If there are too few pairs for the model.

    References
    ----------
    .. [1] S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", IEEE TPAMI 13
       (1991), doi:10.1109/34.88573.
    """
    check_model(model, LINEAR_MODELS)
    p, q = np.asarray(fixed, np.float64).reshape(-1, 2), np.asarray(moving, np.float64).reshape(-1, 2)
    w = np.ones(len(p)) if weights is None else np.asarray(weights, np.float64)
    if p.shape != q.shape or np.count_nonzero(w > 0) < MIN_POINTS[model]:
        raise InputError(
            f"{len(p)} fixed and {len(q)} moving points ({np.count_nonzero(w > 0)} with weight)",
            f"equally many, and at least {MIN_POINTS[model]} for a {model} transform",
            "Add point pairs",
        )
    w = w / w.sum()
    p0, q0 = w @ p, w @ q
    dp, dq = p - p0, q - q0
    if model == "translation":
        linear = np.eye(2)
    elif model == "affine":
        moment = (dp * w[:, None]).T @ dp
        ridge = 1e-12 * (np.trace(moment) + 1e-300)  # collinear points leave one direction open: keep it unscaled
        linear = np.linalg.solve(moment + ridge * np.eye(2), (dp * w[:, None]).T @ dq + ridge * np.eye(2)).T
    else:
        left, size, right = np.linalg.svd((dq * w[:, None]).T @ dp)
        turn = np.diag([1.0, np.sign(np.linalg.det(left @ right)) or 1.0])
        spread = float(w @ np.sum(dp**2, axis=1))
        linear = left @ turn @ right
        if model == "similarity" and spread > 0:
            linear *= float(np.sum(size * np.diag(turn))) / spread
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = q0 - linear @ p0
    return matrix


def nearest(matrix: Matrix, model: LinearModel, shape: tuple[int, int]) -> Matrix:
    """Restrict a matrix to a simpler model, keeping the image's corners as close as they can be.

    Parameters
    ----------
    matrix : (3, 3) float64
    model : {"translation", "rigid", "similarity", "affine"}
    shape : (2,) ints
        Rows and columns of the fixed image.
    """
    points = corners(shape)
    return fit_matrix(points, transform_points(matrix, points), model=model)


def corners(shape: tuple[int, int]) -> Points:
    """List the centres of an image's four corner pixels, ``(4, 2)``."""
    rows, cols = shape[0] - 1.0, shape[1] - 1.0
    return np.array([[0.0, 0.0], [0.0, cols], [rows, 0.0], [rows, cols]])


def point_grid(shape: tuple[int, int], step: float) -> Points:
    """Spread points evenly over an image, half a step off its border, ``(N, 2)``."""
    axes = []
    for length in shape[:2]:
        count = max(1, int(length // step))
        first = (length - 1 - (count - 1) * step) / 2
        axes.append(first + step * np.arange(count))
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)


def layer_affine(matrix: Matrix, *, world_from_fixed: npt.ArrayLike | None = None) -> Matrix:
    """Make the affine that shows the moving image in the fixed image's world.

    Parameters
    ----------
    matrix : (3, 3) float64
        Fixed to moving, in pixels.
    world_from_fixed : (3, 3) array-like, optional
        Of the fixed image, on ``(row, col, 1)``; identity by default.

    Returns
    -------
    world_from_moving : (3, 3) float64
        For ``layer.affine`` of a 2D layer whose scale is 1 and whose translate is 0.
    """
    world = np.eye(3) if world_from_fixed is None else np.asarray(world_from_fixed, np.float64)
    return np.asarray(world @ np.linalg.inv(matrix))
