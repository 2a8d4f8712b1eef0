"""Pairs whose pixels differ in size: both are brought to one size, aligned there, and the result is given in their own pixels.

A search over shifts and turns finds nothing where one image is at another magnification, but the size of its pixels is usually
known. The moving image is resampled to pixels of the fixed one (of several fixed pixels, where it is so coarse that more would
only be empty magnification). What the models then mean holds in the world: a rigid fit moves and turns, it does not resize.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.channels import FloatArray, grey, shrink
from napari_dinov3.align.elastic import SplineField
from napari_dinov3.align.pair_alignment import PairAlignment
from napari_dinov3.align.section import WORKING_SIDE
from napari_dinov3.geometry import Matrix, transform_points
from napari_dinov3.image import Planes

SAME = 0.01  # sizes that differ by less are left to the fit
_BLUR = 0.4  # pixels of Gaussian for each pixel that is averaged away


def one_size(fixed: Planes, moving: Planes) -> bool:
    """Whether two images have pixels of one size, or of sizes that are not known."""
    return bool(np.allclose(fixed.spacing[1:], moving.spacing[1:], rtol=SAME))


class CommonPixels:
    """Two images in pixels of one size, and the way back.

    Parameters
    ----------
    fixed, moving : Planes
        Of one plane each; their spacing counts, in one unit.
    """

    def __init__(self, fixed: Planes, moving: Planes) -> None:
        ratio = np.divide(moving.spacing[1:], fixed.spacing[1:])  # fixed pixels a moving pixel
        side = float(np.max(np.multiply(moving.shape[1:], ratio)))
        self._reduce = max(1, min(int(np.ceil(side / WORKING_SIDE)), int(ratio.min())))
        self._step = self._reduce / ratio
        self._shapes = fixed.shape[1:], moving.shape[1:]
        self.fixed: FloatArray = shrink(grey(fixed.plane(0)), self._reduce)
        self.moving: FloatArray = _resampled(grey(moving.plane(0)), self._step)

    @property
    def fixed_from_common(self) -> Matrix:
        """(3, 3): pixels of the reduced fixed image to its own."""
        return _centred(np.full(2, float(self._reduce)))

    @property
    def moving_from_common(self) -> Matrix:
        """(3, 3): pixels of the resampled moving image to its own."""
        return _centred(self._step)

    def landmarks(self, fixed: npt.ArrayLike, moving: npt.ArrayLike) -> tuple[Matrix, Matrix]:
        """Carry landmarks, ``(row, col)`` in own pixels, to the common ones."""
        ways = (self.fixed_from_common, self.moving_from_common)
        first, second = (
            transform_points(np.asarray(np.linalg.inv(way), np.float64), np.reshape(points, (-1, 2)))
            for way, points in zip(ways, (fixed, moving), strict=True)
        )
        return first, second

    def in_own_pixels(self, pair: PairAlignment) -> PairAlignment:
        """Give a fit of the common images as one of the images themselves."""
        matrix = self.moving_from_common @ pair.matrix @ np.linalg.inv(self.fixed_from_common)
        bend = pair.field
        if bend is not None:
            k = self._reduce
            bend = SplineField(bend.coefficients * self._step[:, None, None], bend.spacing * k, bend.origin * k + (k - 1) / 2)
        return replace(pair, matrix=matrix, field=bend, fixed_shape=self._shapes[0], moving_shape=self._shapes[1])


def _centred(step: npt.NDArray[np.float64]) -> Matrix:
    """Pixels that span `step` others, their outer edges in one place."""
    matrix = np.diag([*step, 1.0])
    matrix[:2, 2] = (step - 1) / 2
    return matrix


def _resampled(image: FloatArray, step: npt.NDArray[np.float64]) -> FloatArray:
    """Sample an image once every `step` pixels, averaging where that is more than one."""
    from scipy import ndimage

    shape = tuple(max(1, round(n / s)) for n, s in zip(image.shape, step, strict=True))
    known = np.isfinite(image)
    filled: Any = image if known.all() else np.where(known, image, image[known].mean() if known.any() else 0)
    smooth = ndimage.gaussian_filter(filled, _BLUR * np.maximum(step - 1, 0), mode="nearest")
    matrix = _centred(step)
    out = ndimage.affine_transform(smooth, matrix[:2, :2], matrix[:2, 2], output_shape=shape, order=1, mode="nearest")
    if not known.all():
        there = ndimage.affine_transform(
            known.astype(np.float32), matrix[:2, :2], matrix[:2, 2], output_shape=shape, order=1, mode="nearest"
        )
        out = np.where(there > 0.5, out, np.nan)
    return np.asarray(out, np.float32)
