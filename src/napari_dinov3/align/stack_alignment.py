"""What aligning a stack gives: the pose of every section, and everything that can be moved with it.

``T_z`` maps the common, aligned frame to section ``z`` (pull-back): ``aligned[z][p] = images[z][T_z p]``, in pixels
``(row, col, 1)`` with centres at whole numbers; an elastic displacement is added after the matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.elastic import SplineField
from napari_dinov3.align.links import Link
from napari_dinov3.align.transforms import Model, scaled
from napari_dinov3.align.warp import interpolation_order, warp
from napari_dinov3.errors import InputError
from napari_dinov3.geometry import Matrix, transform_points

_INVERSIONS = 20


@dataclass(frozen=True, slots=True, eq=False)
class StackAlignment:
    """Poses of all sections of a stack.

    Parameters
    ----------
    transforms : (planes, 3, 3) float64
        Aligned frame to section, in pixels ``(row, col, 1)``.
    quality : (planes,) float64
        Median score of a section's accepted links, in standard deviations above wrong offsets; 0 for bad sections.
    residuals : (planes,) float64
        Pixels (root mean square) by which a section's links disagree with its pose; NaN for bad sections.
    bad : tuple of int
        Sections that match none of their neighbours; their pose is interpolated.
    links : tuple of Link
        All comparisons, refused ones too.
    model : str
        What a section may do.
    shape : (2,) ints
        Rows and columns of a section, and of the aligned frame.
    spacing, units
        Of the stack, as in :class:`~napari_dinov3.image.Planes`.
    fields : (planes,) of SplineField or None
        Elastic displacement added after each transform; empty where no section bends.
    """

    transforms: npt.NDArray[np.float64] = field(repr=False)
    quality: npt.NDArray[np.float64] = field(repr=False)
    residuals: npt.NDArray[np.float64] = field(repr=False)
    bad: tuple[int, ...]
    links: tuple[Link, ...] = field(repr=False)
    model: Model
    shape: tuple[int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    units: tuple[str, str, str] = ("pixel", "pixel", "pixel")
    fields: tuple[SplineField | None, ...] = field(default=(), repr=False)

    def field_of(self, section: int) -> SplineField | None:
        """Elastic displacement of a section after its matrix; None where it only moves linearly."""
        return self.fields[section] if self.fields else None

    def __len__(self) -> int:
        return len(self.transforms)

    def apply(self, images: Any, *, order: int | None = None, fill: float = 0) -> Any:
        """Resample a stack into the aligned frame, each plane once from the raw data.

        Parameters
        ----------
        images : (planes, rows, cols[, channels]) array-like
            The stack that was aligned, another channel of it, its labels, or the same at a whole multiple (or part) of its
            size, as from another pyramid level. numpy or dask.
        order : int, optional
            0 nearest (labels), 1 linear, 3 cubic; by default 0 for bool and 32/64-bit integers, else 3.
        fill : float
            Value where a section has nothing.

        Returns
        -------
        aligned : same shape and type
            numpy for numpy; lazy dask, one plane a chunk, for all else.
        """
        factor = _magnification(tuple(images.shape), len(self), self.shape)
        transforms = np.stack([scaled(matrix, factor) for matrix in self.transforms])
        fields = [None if (bend := self.field_of(z)) is None else bend.scaled(factor) for z in range(len(self))]
        order = interpolation_order(images.dtype, order)
        if isinstance(images, np.ndarray):
            return np.stack(
                [
                    warp(plane, matrix, field=bend, order=order, fill=fill)
                    for plane, matrix, bend in zip(images, transforms, fields, strict=True)
                ]
            )
        import dask.array

        lazy = images if isinstance(images, dask.array.Array) else dask.array.from_array(images, chunks="auto")
        lazy = lazy.rechunk((1, *lazy.shape[1:]))
        return lazy.map_blocks(
            _warp_block,
            transforms,
            fields=fields,
            order=order,
            fill=fill,
            dtype=lazy.dtype,
            meta=np.empty((0,) * lazy.ndim, lazy.dtype),
        )

    def map_points(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Find where points drawn on the raw stack lie in the aligned one.

        Parameters
        ----------
        points : (N, 3) array-like
            ``(plane, row, col)`` in the raw stack; the nearest section's pose moves each.

        Returns
        -------
        points : (N, 3) float64
            ``(plane, row, col)`` in the aligned stack.
        """
        at = np.array(points, np.float64).reshape(-1, 3)
        sections = np.clip(np.rint(at[:, 0]).astype(int), 0, len(self) - 1)
        for z in np.unique(sections):
            chosen = sections == z
            at[chosen, 1:] = pulled_back(at[chosen, 1:], self.transforms[z], self.field_of(int(z)))
        return at

    def layer_affine(self, section: int) -> Matrix:
        """(3, 3) affine that shows one section, as a 2D layer, in the aligned frame's pixels.

        A napari layer has one affine, so a whole stack is shown resampled (:meth:`apply`); this is for single sections.
        """
        return np.asarray(np.linalg.inv(self.transforms[section]))


def _warp_block(
    block: npt.NDArray[Any],
    transforms: npt.NDArray[np.float64],
    *,
    fields: Sequence[SplineField | None],
    order: int,
    fill: float,
    block_info: Any = None,
) -> npt.NDArray[Any]:
    z = block_info[0]["chunk-location"][0]
    return warp(block[0], transforms[z], field=fields[z], order=order, fill=fill)[None]


def _magnification(shape: tuple[int, ...], planes: int, plane_shape: tuple[int, int]) -> float:
    """Size of a stack relative to the one that was aligned, where it is the same stack at another pyramid level."""
    if len(shape) in (3, 4) and shape[0] == planes:
        ratio = shape[1] / plane_shape[0]
        factor = float(round(ratio)) if ratio >= 1 else 1 / max(1, round(1 / ratio))
        if all(abs(n - factor * m) < max(factor, 1) for n, m in zip(shape[1:3], plane_shape, strict=True)):
            return factor
    raise InputError(
        f"A stack of shape {shape}",
        f"({planes}, {plane_shape[0]}, {plane_shape[1]}[, channels]), or a whole multiple of these rows and columns",
        "Apply the alignment to a stack of the same size",
    )


def pulled_back(points: npt.NDArray[np.float64], matrix: Matrix, bend: SplineField | None) -> npt.NDArray[np.float64]:
    """Solve ``matrix p + bend(p) = point`` for every p; a displacement that does not fold makes the iteration contract.

    Parameters
    ----------
    points : (N, 2) float64
        ``(row, col)`` in the raw (moving) image.
    matrix : (3, 3) float64
        Aligned (fixed) to raw (moving).
    bend : SplineField or None
        Displacement after it.

    Returns
    -------
    points : (N, 2) float64
        ``(row, col)`` in the aligned frame.
    """
    back: Matrix = np.asarray(np.linalg.inv(matrix), np.float64)
    at = transform_points(back, points)
    for _ in range(_INVERSIONS if bend is not None else 0):
        at = transform_points(back, points - bend.at(at)) if bend is not None else at
    return at
