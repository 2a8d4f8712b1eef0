"""The elastic solve of a stack: one smooth displacement a section, from the elastic links between sections.

A link says where every point of section a lies in section b, ``L q + v(q)``. With the linear poses ``M`` known and displacements
``w`` of the common frame, a point ``p`` lies at ``q = M_a (p + w_a(p))`` in section a, and the link asks for
``w_b - w_a = M_b^-1 (L q + v(q)) - p - w_a(p)``. Written in spline coefficients, all displacements are one weighted graph
Laplacian solve, repeated since ``q`` depends on them; an edit needs no new matching. Weak springs to zero keep slow bending,
which links hardly see, from growing along the stack.

References
----------
.. [1] S. Saalfeld et al., "Elastic volume reconstruction from series of ultra-thin microscopy sections", Nat. Methods 9
   (2012), doi:10.1038/nmeth.2072.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.deform import FINEST_SPACING, MOST_CONTROLS, SMALLEST_JACOBIAN
from napari_dinov3.align.elastic import Points, SplineField, basis_at, bending_matrix, control_shape
from napari_dinov3.align.links import Link
from napari_dinov3.align.transforms import point_grid
from napari_dinov3.geometry import Matrix, transform_points

SPRING = 1e-3  # of a section's mean link weight
_LINEARISATIONS = 3  # the first leaves displacement times its own slope, tenths of a pixel
_SMOOTHING = 1e-4  # of the mean weight of a control point: only for those that no point touches
_ROBUST_STEPS = 4
_MOST_HALVINGS = 6


def solve_fields(
    links: Sequence[Link], transforms: npt.NDArray[np.float64], good: npt.NDArray[np.bool_], shape: tuple[int, int]
) -> tuple[SplineField | None, ...]:
    """Find the displacements that agree best with all elastic links.

    Parameters
    ----------
    links : sequence of Link
        Accepted ones; those without a field say that nothing bends between their sections.
    transforms : (N, 3, 3) float64
        Linear poses, common frame to section.
    good : (N,) bool
        Sections that take part; the others get the displacement between their neighbours'.
    shape : (2,) ints
        Rows and columns of a section.

    Returns
    -------
    fields : (N,) of SplineField or None
        Added after each matrix, in pixels of the section. None where nothing bends.
    """
    count = len(transforms)
    inner = [link for link in links if good[link.first] and good[link.second]]
    if not any(link.field is not None for link in inner):
        return (None,) * count
    spacing = max(FINEST_SPACING, max(shape) / MOST_CONTROLS)
    control = control_shape(shape, spacing)
    points = point_grid(shape, spacing / 3)
    as_coefficients = _spline_fit(points, control, spacing)
    moves = np.zeros((count, 2, *control))
    for _ in range(_LINEARISATIONS):
        asked = (_asked(link, transforms, SplineField(moves[link.first], spacing), points) for link in inner)
        wanted = np.stack([as_coefficients(each) for each in asked])
        moves = _solved(inner, wanted, count).reshape(count, 2, *control)
    used = np.flatnonzero(good)
    flat = moves.reshape(count, -1)
    for z in np.flatnonzero(~good):
        flat[z] = [np.interp(z, used, column) for column in flat[used].T]
    return tuple(_as_field(moves[z], transforms[z], spacing, shape) for z in range(count))


def _asked(link: Link, transforms: npt.NDArray[np.float64], displaced: SplineField, points: Points) -> Points:
    """Say by how much more the second section must be displaced than the first, at points of the common frame."""
    moved = points + displaced.at(points)
    there = transform_points(transforms[link.first], moved)
    found = transform_points(link.matrix, there)
    if link.field is not None:
        found = found + link.field.at(there)
    return transform_points(np.asarray(np.linalg.inv(transforms[link.second])), found) - moved


def _spline_fit(points: Points, control: tuple[int, int], spacing: float) -> Callable[[Points], npt.NDArray[np.float64]]:
    """Prepare to turn displacements of the points into coefficients, ``(2 R C,)``: one factorisation serves all links."""
    from scipy import sparse
    from scipy.sparse.linalg import splu

    basis = basis_at(points, control, spacing)
    normal = basis.T @ basis
    weight = _SMOOTHING * float(normal.diagonal().mean())
    penalty = weight * bending_matrix(control) + 1e-6 * weight * sparse.identity(control[0] * control[1])
    factors = splu((normal + penalty).tocsc())

    def coefficients(moves: Points) -> npt.NDArray[np.float64]:
        return np.ascontiguousarray(factors.solve(np.ascontiguousarray(basis.T @ moves)).T).reshape(-1)

    return coefficients


def _solved(links: Sequence[Link], wanted: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """Minimise ``sum w |m_second - m_first - wanted|^2 + spring |m|^2``, links that disagree with the rest weighing less."""
    base = np.array([link.weight for link in links])
    incidence = np.zeros((len(links), count))
    rows = np.arange(len(links))
    incidence[rows, [link.second for link in links]] = 1
    incidence[rows, [link.first for link in links]] = -1
    trust = np.ones(len(links))
    moves: npt.NDArray[np.float64] = np.zeros((count, wanted.shape[1]))
    for _ in range(_ROBUST_STEPS):
        weighted = incidence * (base * trust)[:, None]
        laplacian = incidence.T @ weighted
        spring = SPRING * float(np.mean(np.diag(laplacian)[np.diag(laplacian) > 0])) + 1e-12
        moves = np.asarray(np.linalg.solve(laplacian + spring * np.eye(count), weighted.T @ wanted), np.float64)
        left = np.sqrt(np.mean(np.square(incidence @ moves - wanted), axis=1))
        trust = 1 / (1 + np.square(left / (3 * float(np.median(left)) + 1e-6)))
    return moves


def _as_field(moves: npt.NDArray[np.float64], matrix: Matrix, spacing: float, shape: tuple[int, int]) -> SplineField | None:
    """Turn a displacement of the common frame into one of the section's pixels; halved until it does not fold."""
    coefficients = np.einsum("ij,jkl->ikl", matrix[:2, :2], moves)
    field = SplineField(coefficients, spacing)
    for _ in range(_MOST_HALVINGS):
        if field.smallest_jacobian(matrix, shape) >= SMALLEST_JACOBIAN:
            return field
        field = SplineField(0.5 * field.coefficients, spacing)
    return None
