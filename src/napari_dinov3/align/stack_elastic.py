"""The elastic solve of a stack: one smooth displacement a section, from the elastic links between sections.

A link says where every point of section a lies in section b, ``L q + v(q)``. With the linear poses ``M`` known, what it still
asks for in the common frame is ``M_b^-1 (L M_a p + v(M_a p) - M_b p)``; to first order that is the difference ``w_b - w_a`` of
the two sections' displacements. Written in spline coefficients, all displacements are one weighted graph Laplacian solve, and
can be solved again after an edit without matching again. Weak springs to zero keep slow bending, which links hardly see, from
growing along the stack.

References
----------
.. [1] S. Saalfeld et al., "Elastic volume reconstruction from series of ultra-thin microscopy sections", Nat. Methods 9
   (2012), doi:10.1038/nmeth.2072.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.deform import FINEST_SPACING, MOST_CONTROLS, SMALLEST_JACOBIAN, fit_coefficients
from napari_dinov3.align.elastic import SplineField, control_shape
from napari_dinov3.align.links import Link
from napari_dinov3.align.transforms import point_grid
from napari_dinov3.geometry import Matrix, transform_points

SPRING = 1e-3  # of a section's mean link weight
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
    wanted = np.stack([_wanted(link, transforms, shape, spacing, control) for link in inner])
    moves = _solved(inner, wanted.reshape(len(inner), -1), count).reshape(count, 2, *control)
    used = np.flatnonzero(good)
    flat = moves.reshape(count, -1)
    for z in np.flatnonzero(~good):
        flat[z] = [np.interp(z, used, column) for column in flat[used].T]
    return tuple(_as_field(moves[z], transforms[z], spacing, shape) for z in range(count))


def _wanted(
    link: Link, transforms: npt.NDArray[np.float64], shape: tuple[int, int], spacing: float, control: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Express what a link asks for as spline coefficients in the common frame."""
    points = point_grid(shape, spacing / 3)
    there = transform_points(transforms[link.first], points)
    moved = transform_points(link.matrix, there)
    if link.field is not None:
        moved = moved + link.field.at(there)
    asked = transform_points(np.linalg.inv(transforms[link.second]), moved) - points
    return fit_coefficients(points, asked, np.ones(len(points)), control, spacing, stiffness=1e-4)


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
