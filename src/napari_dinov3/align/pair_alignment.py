"""What aligning a pair gives: where every point of the fixed image lies in the moving one, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.elastic import SplineField
from napari_dinov3.align.quality import MatchQuality
from napari_dinov3.align.stack_alignment import pulled_back
from napari_dinov3.align.transforms import Model, Points, layer_affine
from napari_dinov3.align.warp import warp
from napari_dinov3.errors import InputError
from napari_dinov3.geometry import Matrix, transform_points


@dataclass(frozen=True, slots=True, eq=False)
class PairAlignment:
    """How one image lies on another.

    Parameters
    ----------
    matrix : (3, 3) float64
        Fixed to moving, in pixels ``(row, col, 1)``. A guess not to be used where `refused`.
    field : SplineField or None
        Elastic displacement added after the matrix.
    model : str
        What was fitted.
    fixed_shape, moving_shape : (2,) ints
        Rows and columns of either image.
    match : MatchQuality
        The null test.
    reason : str
        Why the pair is refused; empty where it is not.
    backbone : str
        Whose features took part; empty for pixels alone.
    fixed_spacing, moving_spacing : (2,) floats
        World units a pixel along rows and columns, of either image.
    units : (2,) str
        Of both.
    """

    matrix: Matrix
    field: SplineField | None = field(repr=False)
    model: Model
    fixed_shape: tuple[int, int]
    moving_shape: tuple[int, int]
    match: MatchQuality
    reason: str = ""
    backbone: str = ""
    fixed_spacing: tuple[float, float] = (1.0, 1.0)
    moving_spacing: tuple[float, float] = (1.0, 1.0)
    units: tuple[str, str] = ("pixel", "pixel")

    @property
    def refused(self) -> bool:
        """Whether these two images do not match."""
        return bool(self.reason)

    @property
    def quality(self) -> float:
        """Standard deviations by which the match exceeds wrong offsets of the same pair; below 6.5 it is refused."""
        return self.match.z

    @property
    def layer_affine(self) -> Matrix:
        """(3, 3) affine that shows the moving image in the fixed image's pixels (the linear part of an elastic fit)."""
        return layer_affine(self.matrix)

    def map_points(self, points: npt.ArrayLike) -> Points:
        """Find where places of the fixed image lie in the moving image.

        Parameters
        ----------
        points : (N, 2) array-like
            ``(row, col)`` in pixels of the fixed image.

        Returns
        -------
        points : (N, 2) float64
            ``(row, col)`` in pixels of the moving image.

        Raises
        ------
        InputError
            If the pair was refused.
        """
        self._must_match()
        at = np.asarray(points, np.float64).reshape(-1, 2)
        mapped = transform_points(self.matrix, at)
        return mapped if self.field is None else mapped + self.field.at(at)

    def map_back(self, points: npt.ArrayLike) -> Points:
        """Find where places of the moving image lie in the fixed image: the inverse of :meth:`map_points`.

        Parameters
        ----------
        points : (N, 2) array-like
            ``(row, col)`` in pixels of the moving image.

        Returns
        -------
        points : (N, 2) float64
            ``(row, col)`` in pixels of the fixed image.

        Raises
        ------
        InputError
            If the pair was refused.
        """
        self._must_match()
        return pulled_back(np.asarray(points, np.float64).reshape(-1, 2), self.matrix, self.field)

    def errors(self, fixed: npt.ArrayLike, moving: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Check the alignment with landmarks.

        Parameters
        ----------
        fixed, moving : (N, 2) array-like
            The same places in either image, ``(row, col)`` in pixels.

        Returns
        -------
        errors : (N,) float64
            Distance of each fixed landmark, mapped, to its moving one, in moving pixels.
        """
        return np.asarray(np.linalg.norm(self.map_points(fixed) - np.asarray(moving, np.float64).reshape(-1, 2), axis=1))

    def apply(self, moving: Any, *, order: int | None = None, fill: float = 0) -> npt.NDArray[Any]:
        """Pull the moving image, or anything drawn on it, onto the fixed image.

        Parameters
        ----------
        moving : (rows, cols) or (rows, cols, channels) array-like
            The moving image, another channel of it, or its labels.
        order : int, optional
            0 nearest (labels), 1 linear, 3 cubic; by default 0 for bool and 32/64-bit integers, else 3.
        fill : float
            Value where the moving image has nothing.

        Returns
        -------
        aligned : (rows, cols[, channels])
            Of the fixed image's size and the moving image's type.

        Raises
        ------
        InputError
            If the pair was refused, or `moving` has another size than the image that was aligned.
        """
        self._must_match()
        image = np.asarray(moving)
        if image.shape[:2] != self.moving_shape:
            raise InputError(
                f"An image of {image.shape[:2]} pixels",
                f"the moving image's {self.moving_shape}",
                "Apply the alignment to an image of the same size",
            )
        return warp(image, self.matrix, field=self.field, shape=self.fixed_shape, order=order, fill=fill)

    def _must_match(self) -> None:
        if self.refused:
            raise InputError(
                self.reason,
                "two images that show the same place",
                "Check 'refused' first, choose other images, or give landmarks to start from",
            )
