"""Fit a smooth deformation on top of a linear transform, from coarse to fine.

Each step linearises the remaining difference of the channels as :mod:`~napari_dinov3.align.refine` does, but lets the
displacement be a cubic B-spline. Pixels are gathered in cells of 4 x 4 first (within a cell a spline hardly changes), so that a
step costs a sparse solve of a few thousand unknowns. How stiff the spline is, is decided by how well the displacement fitted
to half of the image predicts the other half.

References
----------
.. [1] D. Rueckert et al., "Nonrigid registration using free-form deformations", IEEE Trans. Med. Imaging 18 (1999),
   doi:10.1109/42.796284.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.channels import BOTH, FloatArray, comparable_channels, shrink
from napari_dinov3.align.elastic import SplineField, basis_at, bending_matrix, control_shape
from napari_dinov3.align.refine import combined_agreement, linearised, overlay
from napari_dinov3.align.transforms import scaled
from napari_dinov3.geometry import Matrix

FINEST_SPACING = 24.0  # pixels between control points: bends of a section, not of a cell
MOST_CONTROLS = 40  # along the longer side
SMALLEST_JACOBIAN = 0.2
_LEVEL_SIDES = (128, 256, 1 << 30)
_STEPS = 4
_CELL = 4
_STIFFNESS = (1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
_MOVES = 0.01  # pixels

LinearTerm: TypeAlias = tuple[FloatArray, FloatArray, FloatArray, FloatArray]  # residual, by_row, by_col, weight


class NormalEquations(NamedTuple):
    """Quadratic model of the remaining difference, gathered in cells.

    ``rr``, ``rc``, ``cc``: ``(cells,)`` curvature. ``row``, ``col``: ``(cells,)`` slope. ``centres``: ``(cells, 2)`` pixels.
    """

    rr: npt.NDArray[np.float64]
    rc: npt.NDArray[np.float64]
    cc: npt.NDArray[np.float64]
    row: npt.NDArray[np.float64]
    col: npt.NDArray[np.float64]
    centres: npt.NDArray[np.float64]


def fit_field(
    fixed: FloatArray,
    moving: FloatArray,
    matrix: Matrix,
    *,
    start: SplineField | None = None,
    spacing: float | None = None,
) -> SplineField:
    """Fit the displacement that a linear transform leaves.

    Parameters
    ----------
    fixed, moving : (rows, cols) float32
        Grey images.
    matrix : (3, 3) float64
        Linear part, fixed to moving; kept as it is.
    start : SplineField, optional
        Displacement known already (from block matches); none by default.
    spacing : float, optional
        Pixels between control points at the end; 24, or more where the image would need over 40 of them along a side.

    Returns
    -------
    field : SplineField
        Added after the matrix. Never folds: the smallest area change stays above 0.2.
    """
    shape = (fixed.shape[0], fixed.shape[1])
    finest = spacing or max(FINEST_SPACING, max(shape) / MOST_CONTROLS)
    field = SplineField.zeros(shape, 4 * finest) if start is None else start
    sides = [side for side in _LEVEL_SIDES if side < 2 * max(shape)]
    for level, side in enumerate(_LEVEL_SIDES[: len(sides) + 1]):
        factor = max(1, int(np.ceil(max(shape) / side)))
        field = resampled(field, shape, finest * max(1, 2 ** (2 - level)))
        field = _improved(fixed, moving, matrix, field, factor)
        if factor == 1 and level >= 2:
            break
    return field


def resampled(field: SplineField, shape: tuple[int, int], spacing: float) -> SplineField:
    """Express a displacement with other control points, by least squares (exact when the spacing is halved)."""
    if field.spacing == spacing and field.coefficients.shape[1:] == control_shape(shape, spacing):
        return field
    step = max(1.0, spacing / 4)
    axes = [np.linspace(0, n - 1, max(2, int(np.ceil(n / step)))) for n in shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    control = control_shape(shape, spacing)
    return SplineField(
        fit_coefficients(points, field.at(points), np.ones(len(points)), control, spacing, stiffness=1e-6), spacing
    )


def fit_coefficients(
    points: npt.NDArray[np.float64],
    moves: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    control: tuple[int, int],
    spacing: float,
    *,
    stiffness: float,
) -> npt.NDArray[np.float64]:
    """Fit spline coefficients to scattered displacements.

    Parameters
    ----------
    points, moves : (N, 2) float64
        Where, and by how much, in pixels.
    weights : (N,) float64
    control : (2,) ints
        Control points along rows and columns.
    spacing : float
        Pixels between them.
    stiffness : float
        Weight of the bending energy, relative to the mean weight a control point receives.

    Returns
    -------
    coefficients : (2, R, C) float64
    """
    from scipy.sparse.linalg import splu

    basis = basis_at(points, control, spacing)
    normal = basis.T @ basis.multiply(weights[:, None]).tocsr()
    total = normal + _penalty(control, stiffness * float(normal.diagonal().mean()))
    solved = splu(total.tocsc()).solve(np.ascontiguousarray(basis.T @ (weights[:, None] * moves)))
    return np.asarray(solved.T.reshape(2, *control))


def _improved(fixed: FloatArray, moving: FloatArray, matrix: Matrix, field: SplineField, factor: int) -> SplineField:
    """Take steps at one level; the first that does not help ends it."""
    target, image = comparable_channels(shrink(fixed, factor), sigmas=BOTH), shrink(moving, factor)
    small, field = scaled(matrix, 1 / factor), field.scaled(1 / factor)
    shape = (target.known.shape[0], target.known.shape[1])
    now = overlay(target, image, small, field=field)
    stiffness: float | None = None
    for _ in range(_STEPS):
        equations = _gathered(linearised(now), shape, small)
        if equations is None:
            break
        if stiffness is None:
            stiffness = _chosen_stiffness(equations, field, shape)
        proposal = _step(equations, field, stiffness)
        while proposal.smallest_jacobian(small, shape) < SMALLEST_JACOBIAN and stiffness < 1e6:
            stiffness *= 4
            proposal = _step(equations, field, stiffness)
        after = overlay(target, image, small, field=proposal)
        if combined_agreement(after.agreement) <= combined_agreement(now.agreement):
            break
        moved = float(np.abs(proposal.coefficients - field.coefficients).max())
        field, now = proposal, after
        if moved < _MOVES:
            break
    return field.scaled(factor)


def _gathered(terms: Sequence[LinearTerm], shape: tuple[int, int], matrix: Matrix) -> NormalEquations | None:
    rows, cols = (n // _CELL for n in shape)
    if rows < 2 or cols < 2 or not terms:
        return None
    back = np.linalg.inv(matrix[:2, :2])

    def cells(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        blocks = values[: rows * _CELL, : cols * _CELL].reshape(rows, _CELL, cols, _CELL)
        return np.asarray(blocks.sum(axis=(1, 3), dtype=np.float64).ravel())

    sums = np.zeros((5, rows * cols))
    for residual, by_row, by_col, weight in terms:
        gr = np.float32(back[0, 0]) * by_row + np.float32(back[1, 0]) * by_col
        gc = np.float32(back[0, 1]) * by_row + np.float32(back[1, 1]) * by_col
        wr, wc = weight * gr, weight * gc
        sums += np.stack([cells(v) for v in (wr * gr, wr * gc, wc * gc, wr * residual, wc * residual)])
    first = (_CELL - 1) / 2
    axes = [first + _CELL * np.arange(n, dtype=np.float64) for n in (rows, cols)]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    rr, rc, cc, row, col = sums
    return NormalEquations(rr, rc, cc, row, col, centres)


def _penalty(control: tuple[int, ...], weight: float) -> Any:
    from scipy import sparse

    return weight * bending_matrix(control) + (1e-6 * weight + 1e-9) * sparse.identity(control[0] * control[1])


def _assembled(equations: NormalEquations, field: SplineField, chosen: npt.NDArray[np.bool_]) -> tuple[Any, Any, float]:
    """Curvature and slope over the coefficients (rows' first, then columns'), and their typical curvature."""
    from scipy import sparse

    basis = basis_at(equations.centres[chosen] - field.origin, field.coefficients.shape[1:], field.spacing)

    def product(values: npt.NDArray[np.float64]) -> Any:
        return basis.T @ basis.multiply(values[chosen][:, None]).tocsr()

    rr, rc, cc = product(equations.rr), product(equations.rc), product(equations.cc)
    slope = np.concatenate([basis.T @ equations.row[chosen], basis.T @ equations.col[chosen]])
    normal = sparse.bmat([[rr, rc], [rc, cc]]).tocsc()
    return normal, slope, float(normal.diagonal().mean())


def _solved(normal: Any, slope: Any, typical: float, field: SplineField, stiffness: float) -> npt.NDArray[np.float64]:
    """Change of the coefficients; the bending of the whole field is held down, not that of the change."""
    from scipy import sparse
    from scipy.sparse.linalg import splu

    stiff = sparse.block_diag([_penalty(field.coefficients.shape[1:], stiffness * typical)] * 2).tocsc()
    old = field.coefficients.reshape(-1)
    return np.asarray(splu((normal + stiff).tocsc()).solve(slope - stiff @ old))


def _step(equations: NormalEquations, field: SplineField, stiffness: float) -> SplineField:
    normal, slope, typical = _assembled(equations, field, np.ones(len(equations.rr), bool))
    change = _solved(normal, slope, typical, field, stiffness)
    return SplineField(field.coefficients + change.reshape(field.coefficients.shape), field.spacing, field.origin)


def _chosen_stiffness(equations: NormalEquations, field: SplineField, shape: tuple[int, int]) -> float:
    """Compare stiffnesses by how well one colour of a checkerboard predicts the other."""
    side = max(2 * _CELL, 1.5 * field.spacing)
    if min(shape) < 3 * side:
        return 1.0
    white = (np.floor(equations.centres / side).sum(axis=1) % 2).astype(bool)
    errors = np.zeros(len(_STIFFNESS))
    for chosen in (white, ~white):
        train = _assembled(equations, field, chosen)
        held_out, slope, _ = _assembled(equations, field, ~chosen)
        for i, stiffness in enumerate(_STIFFNESS):
            change = _solved(*train, field, stiffness)
            errors[i] += change @ (held_out @ change) - 2 * float(slope @ change)
    return _STIFFNESS[int(errors.argmin())]
