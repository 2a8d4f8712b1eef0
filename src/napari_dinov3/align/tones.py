"""Bring one image to the brightness curve and the shading of another that lies on it.

Cameras, stains and detectors differ by a curve (gamma, saturation) and by slow shading. Where a difference of either kind is
left, it correlates with edges and pulls a sub-pixel fit to one side. Both are fitted together, on smoothed pixels (noise in
them would flatten the curve): a polynomial of the moving brightness, a plane of gain and a curved surface of offset.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.channels import FloatArray

SMOOTHING = 4.0  # pixels: noise falls to a fourteenth
_CURVE = 3  # degree
_ROBUST_STEPS = 3
_EVERY = 7  # pixels are far more than the unknowns


def same_tones(fixed: FloatArray, moving: FloatArray, known: npt.NDArray[np.bool_]) -> FloatArray:
    """Give the moving image the fixed image's tones.

    Parameters
    ----------
    fixed, moving : (rows, cols) float32
        Aligned grey images without NaN.
    known : (rows, cols) bool
        Where both can be trusted.

    Returns
    -------
    moving : (rows, cols) float32
        Its detail is kept: the curve's slope scales it. Inverted contrast comes back inverted, so that it agrees.
    """
    fs, ws = _smoothed(fixed, known), _smoothed(moving, known)
    middle, spread = float(ws[known].mean()), float(ws[known].std())
    if spread <= 1e-6 * (abs(middle) + 1e-6):
        return moving
    t = (ws - np.float32(middle)) / np.float32(spread)
    y, x = (np.linspace(-0.5, 0.5, n, dtype=np.float32) for n in fixed.shape)
    y, x = np.broadcast_to(y[:, None], t.shape), np.broadcast_to(x[None, :], t.shape)
    one = np.ones_like(t)
    offsets = [one, y, x, y * y, y * x, x * x]
    gains = [one, y, x]
    columns = [*offsets, *(g * t for g in gains), *(t**k for k in range(2, _CURVE + 1))]
    factors = _robust_fit(columns, fs, known)
    slopes = [*gains, *(k * t ** (k - 1) for k in range(2, _CURVE + 1))]
    fit = sum((c * column for c, column in zip(factors, columns, strict=True)), np.zeros_like(t))
    slope = sum((c * s for c, s in zip(factors[len(offsets) :], slopes, strict=True)), np.zeros_like(t))
    return np.asarray(fit + slope / np.float32(spread) * (moving - ws), np.float32)


def _smoothed(image: FloatArray, known: npt.NDArray[np.bool_]) -> FloatArray:
    from scipy import ndimage

    share = ndimage.gaussian_filter(known.astype(np.float32), SMOOTHING)
    return np.asarray(ndimage.gaussian_filter(image * known, SMOOTHING) / np.maximum(share, 1e-3), np.float32)


def _robust_fit(columns: list[FloatArray], target: FloatArray, known: npt.NDArray[np.bool_]) -> FloatArray:
    at = np.flatnonzero(known)[::_EVERY]
    design = np.stack([column.ravel()[at] for column in columns], axis=1).astype(np.float64)
    wanted = target.ravel()[at].astype(np.float64)
    root = np.ones(len(at))
    factors: npt.NDArray[np.float64] = np.zeros(design.shape[1])
    for _ in range(_ROBUST_STEPS):
        factors = np.asarray(np.linalg.lstsq(design * root[:, None], wanted * root, rcond=None)[0], np.float64)
        left = np.abs(wanted - design @ factors)
        root = 1 / np.sqrt(np.maximum(1.0, left / (2 * 1.4826 * float(np.median(left)) + 1e-12)))
    return factors.astype(np.float32)
