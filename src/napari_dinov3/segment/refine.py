"""Pull the outline of a mask to the edges of the image.

A mask made of patches is right to within a patch or the reach of its features. A guided filter replaces it, window by window,
by the linear function of the image that fits it best, so that its outline follows the image's own edges. The functions are
found on a smaller image and interpolated.

References
----------
He, Sun and Tang, "Guided image filtering", IEEE TPAMI 35 (2013), doi:10.1109/TPAMI.2012.213.
He and Sun, "Fast guided filter", arXiv:1505.00996.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.segment.upsample import upsample

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

RADIUS = 32.0
SMOOTHNESS = 0.1
_SPECK = 20  # pixels; smaller pieces are noise of the image, which the filter follows too
_SMALL_RADIUS = 8  # pixels of the smaller image
_ROUNDS = 2  # the first round brings the outline near an edge, the second lets it settle there


def refine_mask(mask: BoolArray, plane: npt.NDArray[Any], *, radius: float, smoothness: float = SMOOTHNESS) -> BoolArray:
    """Refine a mask on its image.

    Parameters
    ----------
    mask : (H, W) bool
        Mask to refine.
    plane : (H, W) or (H, W, channels) array
        The image. Colours, and intensities, are first reduced to the one direction that best tells the mask from the rest.
    radius : float
        Half the side of the filter's windows in pixels: how far the outline may move.
    smoothness : float
        Contrast inside a window, in standard deviations of the plane, below which the image does not move the outline.

    Returns
    -------
    refined : (H, W) bool
        Unchanged where the mask is empty or full. Pieces of fewer than 20 pixels are dropped.
    """
    if mask.shape != plane.shape[:2]:
        raise InputError(
            f"A mask of shape {mask.shape} on an image of shape {plane.shape[:2]}",
            "the same rows and columns",
            "Pass the image the features were extracted from",
        )
    if not mask.any() or mask.all():
        return mask
    pixels = np.nan_to_num(np.asarray(plane, np.float32))
    for _ in range(_ROUNDS):
        if mask.any() and not mask.all():
            mask = _filtered(mask, pixels, radius, smoothness)
    return _without_specks(mask)


def _without_specks(mask: BoolArray) -> BoolArray:
    from scipy import ndimage

    labels, _ = ndimage.label(mask)
    large = np.bincount(labels.ravel()) >= _SPECK
    large[0] = False
    kept: BoolArray = large[labels]
    return kept


def _filtered(mask: BoolArray, pixels: FloatArray, radius: float, smoothness: float) -> BoolArray:
    step = max(1, round(radius / _SMALL_RADIUS))
    guide = _guide(mask, pixels, step)
    size = 2 * round(radius / step) + 1
    small, target = _shrunk(guide, step), _shrunk(mask, step)
    mean_small, mean_target = _mean(small, size), _mean(target, size)
    covariance = _mean(small * target, size) - mean_small * mean_target
    variance = _mean(small * small, size) - mean_small * mean_small
    slope = np.asarray(covariance / (np.maximum(variance, 0) + smoothness**2), np.float32)
    linear = np.stack([_mean(slope, size), _mean(mean_target - slope * mean_small, size)], axis=-1)
    linear = upsample(linear, image_shape=(mask.shape[0], mask.shape[1]), stride=step, first_centre=(step - 1) / 2)
    refined: BoolArray = linear[..., 0] * guide + linear[..., 1] > 0.5
    return refined


def _guide(mask: BoolArray, pixels: FloatArray, step: int) -> FloatArray:
    """Reduce colours by Fisher's direction between mask and rest (a grey plane as it is), and scale to variance 1."""
    if pixels.ndim == 3:
        # a thinned sample settles the direction; the mask must not vanish from it
        part = slice(None, None, step if mask[::step, ::step].any() and not mask[::step, ::step].all() else 1)
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
    padded = np.pad(values, [(0, -side % step) for side in values.shape], mode="edge")
    rows, cols = padded.shape[0] // step, padded.shape[1] // step
    means: FloatArray = padded.reshape(rows, step, cols, step).mean(axis=(1, 3), dtype=np.float32)
    return means


def _mean(values: FloatArray, size: int) -> FloatArray:
    from scipy import ndimage

    averaged: FloatArray = ndimage.uniform_filter(values, size, output=np.float32, mode="nearest")
    return averaged
