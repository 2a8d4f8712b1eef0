"""Intensities to backbone input: one intensity window for a whole stack.

The window is the range between two percentiles of the stack (not of a tile or a plane, which would leave seams and
flicker). 8-bit RGB is taken as it is. NaN and infinities count nowhere and become the window's low end.

Colours become grey here too: with one of two sets of weights, so that nobody writes them down a second time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.image import Planes

MAX_SAMPLED_PLANES = 16
MAX_SAMPLED_PIXELS = 1 << 20
BT601 = (0.299, 0.587, 0.114)
"""Weights of red, green and blue as most programs make grey pictures of colour ones (ITU-R BT.601)."""
BT709 = (0.2125, 0.7154, 0.0721)
"""Weights of red, green and blue in luminance, as scikit-image has them (ITU-R BT.709)."""


@dataclass(frozen=True, slots=True)
class Normalization:
    """An intensity window mapped to 0..1.

    Parameters
    ----------
    low, high : float
        Intensities that become 0 and 1; beyond them values are clipped. ``high <= low`` means a constant image: all 0.
    """

    low: float
    high: float

    def apply(self, plane: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Map a plane to 0..1.

        Parameters
        ----------
        plane : (rows, cols) or (rows, cols, 3)
            Any numeric type; NaN and infinities allowed.

        Returns
        -------
        plane : same shape, float32 in 0..1
        """
        span = self.high - self.low
        if not span > 0:
            return np.zeros(plane.shape, np.float32)
        values = (
            (plane.astype(np.float64) - self.low) / span
            if plane.dtype.itemsize > 4
            else ((plane.astype(np.float32) - np.float32(self.low)) * np.float32(1.0 / span))
        )
        out = np.asarray(values, dtype=np.float32)
        if plane.dtype.kind == "f":
            out = np.nan_to_num(out, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
        return np.clip(out, 0.0, 1.0, out=out)


def estimate_normalization(planes: Planes, percentiles: tuple[float, float] = (0.5, 99.5)) -> Normalization:
    """Find the intensity window of a stack.

    Parameters
    ----------
    planes : Planes
        The stack; at most 16 evenly spaced planes are read, so that a lazy stack stays lazy.
    percentiles : (2,) floats
        Low and high percentile, 0..100. The default keeps small bright objects (cells under 1 % of the area) apart from
        their surround.

    Returns
    -------
    normalization : Normalization
        ``0..255`` for 8-bit RGB and ``0..1`` for float RGB inside that range (colours are taken as they are), ``0..1`` for
        bool, percentiles for all else.
    """
    if len(percentiles) != 2 or not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise InputError(f"percentiles={percentiles}", "a low and a higher percentile in 0..100", "Give for example (0.5, 99.5)")
    if planes.dtype == bool:
        return Normalization(0.0, 1.0)
    if planes.rgb and planes.dtype == np.uint8:
        return Normalization(0.0, 255.0)
    values = _sample(planes)
    if values.size == 0:
        return Normalization(0.0, 0.0)
    if planes.rgb and planes.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
        return Normalization(0.0, 1.0)
    low, high = np.percentile(values, percentiles)
    if high <= low:  # nearly constant: a few bright pixels are all there is to see
        low, high = values.min(), values.max()
    return Normalization(float(low), float(high))


def grey_of_colour(pixels: npt.NDArray[Any], weights: tuple[float, float, float] = BT601) -> npt.NDArray[Any]:
    """Reduce colours to grey.

    Parameters
    ----------
    pixels : (..., 3 or more) float
        Red, green and blue; what comes after them, such as alpha, is left out.
    weights : (3,) floats
        Of red, green and blue; they add up to 1, so that grey stays as it is.

    Returns
    -------
    grey : (...) of the same type

    References
    ----------
    .. [1] ITU-R Recommendation BT.601-7 (2011), section 2.5.1.
    .. [2] ITU-R Recommendation BT.709-6 (2015), item 3.2.
    """
    grey: npt.NDArray[Any] = np.dot(pixels[..., :3], np.array(weights, np.float32))
    return grey


def _sample(planes: Planes) -> npt.NDArray[np.float64]:
    chosen = np.unique(np.linspace(0, len(planes) - 1, min(len(planes), MAX_SAMPLED_PLANES)).round().astype(int))
    _, rows, cols = planes.shape
    step = max(1, int(np.ceil(np.sqrt(rows * cols * len(chosen) / MAX_SAMPLED_PIXELS))))
    parts = [planes.plane(int(i))[::step, ::step].astype(np.float64).ravel() for i in chosen]
    values = np.concatenate(parts)
    return values[np.isfinite(values)]
