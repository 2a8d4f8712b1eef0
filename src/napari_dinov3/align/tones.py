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
    y, x = np.linspace(-0.5, 0.5, t.shape[0], dtype=np.float32)[:, None], np.linspace(-0.5, 0.5, t.shape[1], dtype=np.float32)
    surface = [np.ones_like(y), y, x, y * y, y * x, x * x]
    at = np.flatnonzero(known)[::_EVERY]
    there = [np.broadcast_to(part, t.shape).ravel()[at] for part in surface]
    tones = t.ravel()[at]
    design = np.stack([*there, *(part * tones for part in there[:3]), *(tones**k for k in range(2, _CURVE + 1))], axis=1)
    offset, gain, curve = np.split(_robust_fit(design, fs.ravel()[at]), [len(surface), len(surface) + 3])
    shading, linear = (sum(c * part for c, part in zip(cs, surface, strict=False)) for cs in (offset, gain))
    bent = np.polynomial.Polynomial([0.0, 0.0, *curve])
    slope = (linear + bent.deriv()(t)) / np.float32(spread)
    return np.asarray(shading + linear * t + bent(t) + slope * (moving - ws), np.float32)


def _smoothed(image: FloatArray, known: npt.NDArray[np.bool_]) -> FloatArray:
    from scipy import ndimage

    share = ndimage.gaussian_filter(known.astype(np.float32), SMOOTHING)
    return np.asarray(ndimage.gaussian_filter(image * known, SMOOTHING) / np.maximum(share, 1e-3), np.float32)


def _robust_fit(design: FloatArray, target: FloatArray) -> FloatArray:
    columns, wanted = design.astype(np.float64), target.astype(np.float64)
    root = np.ones(len(wanted))
    factors: npt.NDArray[np.float64] = np.zeros(columns.shape[1])
    for _ in range(_ROBUST_STEPS):
        factors = np.asarray(np.linalg.lstsq(columns * root[:, None], wanted * root, rcond=None)[0], np.float64)
        left = np.abs(wanted - columns @ factors)
        root = 1 / np.sqrt(np.maximum(1.0, left / (2 * 1.4826 * float(np.median(left)) + 1e-12)))
    return factors.astype(np.float32)
