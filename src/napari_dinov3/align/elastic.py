"""Smooth deformations: displacement as a uniform cubic B-spline.

The control points lie on a regular grid over the fixed frame with one more ring outside it, so that the basis sums to one
everywhere. A displacement is in pixels, order ``(row, col)``, a function of the fixed point, and is added after the matrix:
``T(p) = A p + u(p)``.

References
----------
.. [1] D. Rueckert et al., "Nonrigid registration using free-form deformations", IEEE Trans. Med. Imaging 18 (1999),
   doi:10.1109/42.796284.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SplineField:
    """A displacement field.

    Parameters
    ----------
    coefficients : (2, R, C) float64
        Displacement at the control points, row then col component.
    spacing : float
        Pixels between control points.
    origin : float
        Pixel coordinate, on both axes, at which control point 1 lies; control point ``i`` lies at
        ``origin + (i - 1) * spacing``.
    """

    coefficients: npt.NDArray[np.float64] = field(repr=False)
    spacing: float
    origin: float = 0.0

    @classmethod
    def zeros(cls, shape: tuple[int, int], spacing: float) -> SplineField:
        """Make the field that moves nothing, over an image of `shape`."""
        return cls(np.zeros((2, *control_shape(shape, spacing))), float(spacing))

    def at(self, points: npt.ArrayLike) -> Points:
        """Displace points.

        Parameters
        ----------
        points : (N, 2) floats
            ``(row, col)`` of the fixed frame; beyond the control grid the border's displacement continues.

        Returns
        -------
        displacement : (N, 2) float64
            In pixels, ``(row, col)``.
        """
        basis = basis_at(np.asarray(points, np.float64) - self.origin, self.coefficients.shape[1:], self.spacing)
        return np.asarray(basis @ self.coefficients.reshape(2, -1).T)

    def on_grid(self, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
        """Displace every pixel of an image of `shape`: ``(2, rows, cols)``."""
        _, rows, cols = self.coefficients.shape
        by_row = _basis_1d(np.arange(shape[0]) - self.origin, rows, self.spacing)
        by_col = _basis_1d(np.arange(shape[1]) - self.origin, cols, self.spacing)
        return np.stack([by_row @ (by_col @ part.T).T for part in self.coefficients])

    def scaled(self, factor: float) -> SplineField:
        """Carry the field to images enlarged by `factor`; see :func:`napari_dinov3.align.transforms.scaled`."""
        return SplineField(self.coefficients * factor, self.spacing * factor, self.origin * factor + (factor - 1) / 2)

    def smallest_jacobian(self, matrix: npt.NDArray[np.float64], shape: tuple[int, int], step: int = 4) -> float:
        """Find the smallest area change of ``p -> A p + u(p)``; 0 or less means that the image is folded."""
        u = self.on_grid(shape)[:, ::step, ::step]
        if min(u.shape[1:]) < 2:
            return float(np.linalg.det(matrix[:2, :2]))
        rr, rc = np.gradient(u[0], step)
        cr, cc = np.gradient(u[1], step)
        a = matrix
        return float(np.min((a[0, 0] + rr) * (a[1, 1] + cc) - (a[0, 1] + rc) * (a[1, 0] + cr)))


def control_shape(shape: tuple[int, int], spacing: float) -> tuple[int, int]:
    """Count the control points that cover an image."""
    return int(np.ceil((shape[0] - 1) / spacing)) + 3, int(np.ceil((shape[1] - 1) / spacing)) + 3


def basis_at(points: Points, control: tuple[int, ...], spacing: float) -> Any:
    """Weights of every control point at every point.

    Returns
    -------
    basis : (N, R * C) scipy.sparse.csr_matrix
        16 numbers a row that sum to 1.
    """
    from scipy import sparse

    first_r, weight_r = _cubic(points[:, 0], control[0], spacing)
    first_c, weight_c = _cubic(points[:, 1], control[1], spacing)
    near = np.arange(4)
    index = (first_r[:, None] + near)[:, :, None] * control[1] + (first_c[:, None] + near)[:, None, :]
    weight = weight_r[:, :, None] * weight_c[:, None, :]
    count = len(points)
    return sparse.csr_matrix(
        (weight.ravel(), index.ravel(), np.arange(0, 16 * count + 1, 16)), shape=(count, control[0] * control[1])
    )


def bending_matrix(control: tuple[int, ...]) -> Any:
    """Quadratic form of the bending energy of one component of the coefficients.

    Returns
    -------
    energy : (R * C, R * C) scipy.sparse matrix
        ``c @ energy @ c`` is the sum of squared second differences along rows, along columns and (twice) mixed: zero for
        any affine displacement.
    """
    from scipy import sparse

    def second(n: int) -> Any:
        return sparse.diags([1.0, -2.0, 1.0], [0, 1, 2], shape=(max(n - 2, 0), n))

    def first(n: int) -> Any:
        return sparse.diags([-1.0, 1.0], [0, 1], shape=(n - 1, n))

    rows, cols = control
    terms = (
        (1.0, sparse.kron(second(rows), sparse.identity(cols))),
        (1.0, sparse.kron(sparse.identity(rows), second(cols))),
        (2.0, sparse.kron(first(rows), first(cols))),
    )
    return sum((factor * term.T @ term for factor, term in terms[1:]), terms[0][1].T @ terms[0][1]).tocsr()


def _cubic(at: npt.NDArray[Any], count: int, spacing: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """First control point and its four weights; control point i lies at (i - 1) * spacing."""
    u = np.clip(at / spacing, 0.0, count - 3.0)
    first = np.minimum(np.floor(u).astype(np.intp), count - 4)
    t = u - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=-1) / 6.0
    return first, weights


def _basis_1d(at: npt.NDArray[Any], count: int, spacing: float) -> Any:
    from scipy import sparse

    first, weights = _cubic(at, count, spacing)
    index = first[:, None] + np.arange(4)
    return sparse.csr_matrix((weights.ravel(), index.ravel(), np.arange(0, 4 * len(at) + 1, 4)), shape=(len(at), count))
