"""What the pixel stage compares: three channels that survive shading, gamma, stain and modality.

At each scale, channel 0 is intensity with its local mean taken away and its local contrast set to 1. Channels 1 and 2 are the
gradient with its angle doubled, ``g**2 / |g|`` as a complex number, also at local contrast 1: dark-on-bright and
bright-on-dark edges look the same, so different stains and modalities can be compared.

References
----------
.. [1] G. H. Granlund, "In search of a general picture processing operator", Comput. Graph. Image Process. 8 (1978),
   doi:10.1016/0146-664X(78)90047-3. (the double-angle representation)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from napari_dinov3.normalize import BT709, grey_of_colour

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

SHARP, BLURRED, BOTH = (1.0,), (2.0,), (1.0, 3.0)
WINDOW = 25  # pixels of the local mean and contrast at scale 1: wider than membranes and nuclei, narrower than shading
_FLOOR = 1e-3  # local contrast below this part of the whole image's is noise of an empty region, not structure
FAINT = 0.1  # the same for the last fraction of a pixel, where faint patterns of the background would pull


class Channels(NamedTuple):
    """Comparable channels of one plane.

    ``values``: ``(3 * scales, rows, cols)`` float32, about unit variance. ``known``: ``(rows, cols)`` bool, where they can be
    trusted. ``sigmas``: the scales, pixels of smoothing.
    ``floor``: part of the image's local power below which contrast stays low.
    """

    values: FloatArray
    known: BoolArray
    sigmas: tuple[float, ...] = (1.0,)
    floor: float = _FLOOR


def grey(plane: npt.NDArray[Any]) -> FloatArray:
    """Reduce a plane to one float channel: luminance of colours, NaN where a value is not finite.

    Parameters
    ----------
    plane : (rows, cols) or (rows, cols, 3)

    Returns
    -------
    plane : (rows, cols) float32
        Scaled so that the spread of finite values is about 1, whatever the type.
    """
    values: npt.NDArray[Any] = plane.astype(np.float64 if plane.dtype.itemsize > 4 else np.float32)
    if values.ndim == 3:
        values = grey_of_colour(values, BT709)
    finite = np.isfinite(values)
    if not finite.any():
        return np.full(values.shape, np.nan, np.float32)
    low, high = float(values[finite].min()), float(values[finite].max())
    scale = 1.0 / (high - low) if high > low else 0.0
    return np.where(finite, np.subtract(values, low) * scale, np.nan).astype(np.float32)


def without_specks(plane: FloatArray) -> FloatArray:
    """Fill single missing pixels and thin missing lines from their neighbours; larger holes stay NaN.

    Every missing pixel costs its whole surroundings in the channels, so a few per cent of scattered ones would leave nothing.

    Parameters
    ----------
    plane : (rows, cols) float32
        NaN where there is nothing.

    Returns
    -------
    plane : (rows, cols) float32
        Holes of 3 x 3 pixels and more are left.
    """
    known = np.isfinite(plane)
    if known.all() or not known.any():
        return plane
    from scipy import ndimage

    specks = ~known & ~ndimage.binary_opening(~known, np.ones((3, 3)))
    weight = ndimage.gaussian_filter(known.astype(np.float32), 1.0)
    total = ndimage.gaussian_filter(np.where(known, plane, 0).astype(np.float32), 1.0)
    filled = plane.copy()
    specks &= weight > 1e-3
    filled[specks] = total[specks] / weight[specks]
    return filled


def shrink(plane: FloatArray, factor: int) -> FloatArray:
    """Average blocks of ``factor x factor`` pixels; a block with any NaN is NaN."""
    if factor == 1:
        return plane
    rows, cols = (max(1, n // factor) for n in plane.shape)
    if min(plane.shape) < factor:
        return plane
    blocks = plane[: rows * factor, : cols * factor].reshape(rows, factor, cols, factor)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))


def comparable_channels(plane: FloatArray, *, sigmas: tuple[float, ...] = SHARP, floor: float = _FLOOR) -> Channels:
    """Compute the channels of a plane.

    Parameters
    ----------
    plane : (rows, cols) float32
        Grey image; NaN where there is none (outside a warped image).
    sigmas : floats
        Pixels of Gaussian smoothing, one set of three channels each. Small ones see detail, large ones see through noise.
    floor : float
        Part of the whole image's local power below which contrast is not raised to 1.

    Returns
    -------
    channels : Channels
    """
    from scipy import ndimage

    known = np.isfinite(plane)
    if not known.any():
        return Channels(np.zeros((3 * len(sigmas), *plane.shape), np.float32), known, sigmas, floor)
    whole = bool(known.all())
    filled = plane if whole else np.where(known, plane, plane[known].mean()).astype(np.float32)
    values = np.concatenate([_at_scale(filled, known, whole, sigma, floor) for sigma in sigmas])
    if not whole:
        known = ndimage.binary_erosion(known, iterations=int(np.ceil(2 * min(sigmas))) + 2, border_value=1)
        values[:, ~known] = 0
    return Channels(values, known, sigmas, floor)


def _at_scale(filled: FloatArray, known: BoolArray, whole: bool, sigma: float, floor: float) -> FloatArray:
    from scipy import ndimage

    window = round(WINDOW * max(1.0, sigma))
    smooth = ndimage.gaussian_filter(filled, sigma, mode="nearest")
    share = None if whole else np.maximum(wide_mean(known.astype(np.float32), window), 1e-3)
    centred = smooth - _local_mean(smooth, known, share, window)
    detail = _contrast_1(centred[None], known, share, window, floor)
    gr, gc = (ndimage.sobel(smooth, axis=axis, mode="nearest") for axis in (0, 1))
    length = np.hypot(gr, gc) + 1e-12
    double = np.stack([(gr * gr - gc * gc) / length, 2 * gr * gc / length])
    return np.concatenate([detail, _contrast_1(double, known, share, window, floor)])


def wide_mean(values: FloatArray, window: int) -> FloatArray:
    """Average twice over a box of half the window: close to a Gaussian, and independent of its width in cost."""
    from scipy import ndimage

    half = max(3, window // 2 | 1)
    once = ndimage.uniform_filter(values, half, mode="nearest")
    return np.asarray(ndimage.uniform_filter(once, half, mode="nearest"), np.float32)


def _local_mean(values: FloatArray, known: BoolArray, share: FloatArray | None, window: int) -> FloatArray:
    if share is None:
        return wide_mean(values, window)
    return wide_mean(np.where(known, values, 0).astype(np.float32), window) / share


def _contrast_1(parts: FloatArray, known: BoolArray, share: FloatArray | None, window: int, floor: float) -> FloatArray:
    power = _local_mean(np.sum(parts * parts, axis=0), known, share, window)
    typical = float(power[known].mean())
    return np.asarray(parts / np.sqrt(power + floor * typical + 1e-20), dtype=np.float32)
