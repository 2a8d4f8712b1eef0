"""Fit a smooth deformation on top of a linear transform, from coarse to fine.

Each step linearises the remaining difference of the channels as :mod:`~napari_dinov3.align.refine` does, but lets the
displacement be a cubic B-spline. Pixels are gathered in cells of 4 x 4 first (within a cell a spline hardly changes), so that a
step costs a few sparse solves of a few thousand unknowns. The spline is as stiff as is most probable
(:mod:`~napari_dinov3.align.stiffness`); the measure for that, the scatter of what single places wish, includes at first what
is still displaced, so that the field begins stiff and gives way step by step. Where the two images show the same and noise is
what limits the fit, the last steps weigh each spatial frequency by what it tells (:mod:`~napari_dinov3.align.matched`).

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
from napari_dinov3.align.matched import matched_terms
from napari_dinov3.align.refine import combined_agreement, linearised, overlay, pull_grey
from napari_dinov3.align.stiffness import Wishes, most_probable, solved
from napari_dinov3.align.transforms import scaled
from napari_dinov3.geometry import Matrix

FINEST_SPACING = 24.0  # pixels between control points: bends of a section, not of a cell
MOST_CONTROLS = 40  # along the longer side
SMALLEST_JACOBIAN = 0.2
_LEVEL_SIDES = (128, 256, 512, 1 << 30)
_STEPS = 3
_POLISH_STEPS = 2
_CELL = 4
_BLOCK = 16  # pixels: noise of the channels is not correlated farther
_FINEST_WISH = 1e-3  # pixels: no block is known better
_MOVES = 0.01  # pixels
_STIFFEST = 1e8  # 1 / px^2: as good as no bend at all

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
        if factor == 1 and level == 2:  # larger images, mostly of different stains, gain by steps of the channels there too
            break
        field = _improved(fixed, moving, matrix, field, factor)
    return _polished(fixed, moving, matrix, field)


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
    found = splu(total.tocsc()).solve(np.ascontiguousarray(basis.T @ (weights[:, None] * moves)))
    return np.asarray(found.T.reshape(2, *control))


def _improved(fixed: FloatArray, moving: FloatArray, matrix: Matrix, field: SplineField, factor: int) -> SplineField:
    """Take steps at one level; if they make the images agree less, none is taken."""
    target, image = comparable_channels(shrink(fixed, factor), sigmas=BOTH), shrink(moving, factor)
    small, field = scaled(matrix, 1 / factor), field.scaled(1 / factor)
    shape = (target.known.shape[0], target.known.shape[1])
    first = now = overlay(target, image, small, field=field)
    start, stiffness = field, None
    for _ in range(_STEPS):
        equations = _gathered(linearised(now), shape, small)
        if equations is None:
            break
        step = _step(equations, field, small, shape, variance=_variance(equations, shape), stiffness=stiffness)
        field, stiffness = step.field, step.stiffness
        now = overlay(target, image, small, field=field)
        if step.moved < _MOVES:
            break
    if combined_agreement(now.agreement) < combined_agreement(first.agreement):
        field = start
    return field.scaled(factor)


def _polished(fixed: FloatArray, moving: FloatArray, matrix: Matrix, field: SplineField) -> SplineField:
    """Take the last steps to the precision that noise allows; where too little is shared for these, those of the channels."""
    shape = (fixed.shape[0], fixed.shape[1])
    stiffness = None
    for step in range(_POLISH_STEPS):
        found = matched_terms(fixed, pull_grey(moving, matrix, field=field, shape=shape))
        equations = None if found is None else _gathered(found.terms, shape, matrix)
        if found is None or equations is None:
            return field if step else _improved(fixed, moving, matrix, field, 1)
        # The filters know the noise of every frequency; wishes that scatter more are of content that differs.
        promised = found.standard_error**2 * 0.5 * float(np.sum(equations.rr + equations.cc))
        variance = max(promised, _variance(equations, shape))
        taken = _step(equations, field, matrix, shape, variance=variance, stiffness=stiffness)
        field, stiffness = taken.field, taken.stiffness
        if taken.moved < _MOVES:
            break
    return field


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


class _Step(NamedTuple):
    field: SplineField
    stiffness: float
    moved: float


def _step(
    equations: NormalEquations,
    field: SplineField,
    matrix: Matrix,
    shape: tuple[int, int],
    *,
    variance: float,
    stiffness: float | None,
) -> _Step:
    """Go to the most probable field; to a stiffer one where that would fold."""
    wishes = _wishes(equations, field, variance)
    coefficients, stiffness = most_probable(wishes, stiffness)
    chosen = stiffness
    while True:
        proposal = SplineField(coefficients.reshape(field.coefficients.shape), field.spacing, field.origin)
        if proposal.smallest_jacobian(matrix, shape) >= SMALLEST_JACOBIAN or stiffness > _STIFFEST:
            break
        stiffness *= 4
        coefficients, _ = solved(wishes, stiffness)
    if proposal.smallest_jacobian(matrix, shape) < SMALLEST_JACOBIAN:
        return _Step(field, chosen, 0.0)
    return _Step(proposal, chosen, float(np.abs(proposal.coefficients - field.coefficients).max()))


def _wishes(equations: NormalEquations, field: SplineField, variance: float) -> Wishes:
    """Say what the cells wish in terms of coefficients, in inverse variances."""
    from scipy import sparse

    control = (field.coefficients.shape[1], field.coefficients.shape[2])
    basis = basis_at(equations.centres - field.origin, control, field.spacing)

    def product(values: npt.NDArray[np.float64]) -> Any:
        return basis.T @ basis.multiply(values[:, None]).tocsr()

    rr, rc, cc = product(equations.rr), product(equations.rc), product(equations.cc)
    slope = np.concatenate([basis.T @ equations.row, basis.T @ equations.col])
    normal = sparse.bmat([[rr, rc], [rc, cc]]).tocsr()
    return Wishes(normal / variance, (normal @ field.coefficients.reshape(-1) + slope) / variance, control)


def _variance(equations: NormalEquations, shape: tuple[int, int]) -> float:
    """Variance of a block's slope over its curvature: what a curvature of 1 must be divided by to be an inverse variance."""
    rows, cols = (n // _CELL for n in shape)
    side = max(1, min(_BLOCK // _CELL, rows, cols))

    def blocks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        kept = values.reshape(rows, cols)[: rows // side * side, : cols // side * side]
        return np.asarray(kept.reshape(rows // side, side, cols // side, side).sum(axis=(1, 3)))

    curvature = blocks(equations.rr + equations.cc)
    scatter = float(np.sum(blocks(equations.row) ** 2 + blocks(equations.col) ** 2))
    total = float(curvature.sum())
    return max(scatter / (total + 1e-30), _FINEST_WISH**2 * total / curvature.size, 1e-30)
