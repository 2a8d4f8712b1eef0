"""Cut a displaced window out of a larger picture, by whole pixels exactly and by parts of a pixel with a separable kernel.

Whole-pixel shifts copy pixels. Others are interpolated with Lanczos-3 [1]_, which keeps three quarters of the variance of
pixel noise at half a pixel (linear interpolation keeps a quarter), so that moved planes look like the others.

References
----------
.. [1] C. E. Duchon, "Lanczos filtering in one and two dimensions", J. Appl. Meteorol. 18 (1979),
   doi:10.1175/1520-0450(1979)018<1016:LFIOAT>2.0.CO;2.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Kernel = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]

REACH = 3
"""Pixels a kernel reads beyond the window on each side."""


def lanczos(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Weigh pixels by their distance with the Lanczos window of three lobes."""
    return np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0.0)


def linear(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Weigh the two nearest pixels linearly."""
    return np.maximum(0.0, 1.0 - np.abs(distance))


def cut_out(picture: FloatArray, corner: npt.NDArray[np.float64], shape: tuple[int, int], kernel: Kernel) -> FloatArray:
    """Cut a window whose corner may lie between pixels.

    Parameters
    ----------
    picture : (H, W) or (H, W, 3) float32
        Wide enough for the window and `REACH` pixels around it, where the corner is not a whole number.
    corner : (2,) floats
        Position (row, col) of the window's first pixel.
    shape : (2,) ints
        Rows and columns of the window.
    kernel : callable
        `lanczos` or `linear`.

    Returns
    -------
    window : (rows, cols) or (rows, cols, 3) float32
        A view of the picture where the corner is whole.
    """
    for axis in (0, 1):
        first = int(np.floor(corner[axis]))
        part = float(corner[axis]) - first
        picture = _slide(picture, axis, first, part, shape[axis], kernel)
    return picture


def _slide(picture: FloatArray, axis: int, first: int, part: float, length: int, kernel: Kernel) -> FloatArray:
    ahead = (slice(None),) * axis
    if part == 0.0:
        return picture[(*ahead, slice(first, first + length))]
    offsets = range(1 - REACH, REACH + 1)
    weights = kernel(np.array(offsets, dtype=np.float64) - part)
    weights = weights / weights.sum()
    out = np.zeros((*picture.shape[:axis], length, *picture.shape[axis + 1 :]), np.float32)
    for offset, weight in zip(offsets, weights, strict=True):
        if weight:
            out += np.float32(weight) * picture[(*ahead, slice(first + offset, first + offset + length))]
    return out
