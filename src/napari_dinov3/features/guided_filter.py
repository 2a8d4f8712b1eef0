"""Pull what was found on patches to the edges of the image: the guided filter.

A guided filter replaces a map, window by window, by the linear function of the image that fits it best, so that its borders
follow the image's own edges. The functions are found on a smaller image and interpolated.

References
----------
He, Sun and Tang, "Guided image filtering", IEEE TPAMI 35 (2013), doi:10.1109/TPAMI.2012.213.
He and Sun, "Fast guided filter", arXiv:1505.00996.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.features.upsample import upsample

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

SMOOTHNESS = 0.1
_SMALL_RADIUS = 8  # pixels of the smaller image


def guided(
    target: npt.NDArray[Any], guide: FloatArray, *, radius: float, smoothness: float = SMOOTHNESS, small: int = _SMALL_RADIUS
) -> FloatArray:
    """Filter a map along the edges of a guide.

    Parameters
    ----------
    target : (H, W) bool or float32
        What to filter: a mask, or probabilities.
    guide : (H, W) float32
        One number a pixel, of variance 1; see :func:`guide_for`.
    radius : float
        Half the side of the filter's windows in pixels: how far borders may move.
    smoothness : float
        Contrast inside a window, in standard deviations of the guide, below which it does not move a border.
    small : int
        Radius in pixels of the smaller image on which the linear functions are found.

    Returns
    -------
    filtered : (H, W) float32
    """
    step = max(1, round(radius / small))
    size = 2 * round(radius / step) + 1
    small_guide, small_target = _shrunk(guide, step), _shrunk(target, step)
    mean_guide, mean_target = _mean(small_guide, size), _mean(small_target, size)
    covariance = _mean(small_guide * small_target, size) - mean_guide * mean_target
    variance = _mean(small_guide * small_guide, size) - mean_guide * mean_guide
    slope = np.asarray(covariance / (np.maximum(variance, 0) + smoothness**2), np.float32)
    linear = np.stack([_mean(slope, size), _mean(mean_target - slope * mean_guide, size)], axis=-1)
    rows, cols = target.shape
    linear = upsample(linear, image_shape=(rows, cols), stride=step, first_centre=(step - 1) / 2)
    filtered: FloatArray = linear[..., 0] * guide + linear[..., 1]
    return filtered


def guide_for(mask: BoolArray, pixels: FloatArray) -> FloatArray:
    """Make a guide of an image, of mean 0 and variance 1.

    Parameters
    ----------
    mask : (H, W) bool
        What the borders of are looked for; neither empty nor full.
    pixels : (H, W) or (H, W, channels) float32
        Colours are reduced by Fisher's direction, the one that best tells the mask from the rest; grey is taken as it is.

    Returns
    -------
    guide : (H, W) float32
    """
    if pixels.ndim == 3:
        # a thinned sample settles the direction; the mask must not vanish from it
        thin = max(1, min(pixels.shape[:2]) // 256)
        part = slice(None, None, thin if mask[::thin, ::thin].any() and not mask[::thin, ::thin].all() else 1)
        inside, outside = pixels[part, part][mask[part, part]], pixels[part, part][~mask[part, part]]
        within = np.cov(inside, rowvar=False, bias=True) + np.cov(outside, rowvar=False, bias=True)
        ridge = 1e-3 * np.trace(within) / len(within) + 1e-12
        direction = np.linalg.solve(within + ridge * np.eye(len(within)), inside.mean(axis=0) - outside.mean(axis=0))
        pixels = pixels @ direction.astype(np.float32)
    spread = float(pixels.std())
    guide: FloatArray = (pixels - pixels.mean()) / np.float32(spread or 1)
    return guide


def _shrunk(values: npt.NDArray[Any], step: int) -> FloatArray:
    """Average blocks of step x step, the ragged ones at the end repeated at their edge."""
    if step == 1:
        return values.astype(np.float32)
    padded = np.pad(values, [(0, -side % step) for side in values.shape], mode="edge")
    rows, cols = padded.shape[0] // step, padded.shape[1] // step
    means: FloatArray = padded.reshape(rows, step, cols, step).mean(axis=(1, 3), dtype=np.float32)
    return means


def _mean(values: FloatArray, size: int) -> FloatArray:
    from scipy import ndimage

    averaged: FloatArray = ndimage.uniform_filter(values, size, output=np.float32, mode="nearest")
    return averaged
