"""The most precise comparison two noisy images allow: filtered so that every spatial frequency counts by what it tells.

Once two images lie on each other to a fraction of a pixel, their coherence at each spatial frequency says how much of it is
shared and how much is noise. Weighing the phase of each frequency by ``coherence^2 / (1 - coherence^2)`` is the
maximum-likelihood estimate of a delay [1]_; here both images are filtered with the root of that weight, so that plain least
squares on the filtered pixels is that estimate for any smooth transform. Two views of the images compete: intensity (of either
polarity, brought to the same brightness curve and shading first, since a difference there would pull) and double-angle
structure (blind to polarity, for different stains and modalities). The one that tells more is taken.

References
----------
.. [1] C. Knapp, G. Carter, "The generalized correlation method for estimation of time delay", IEEE Trans. ASSP 24 (1976),
   doi:10.1109/TASSP.1976.1162830. (the Hannan-Thomson processor)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.channels import FloatArray, wide_mean
from napari_dinov3.align.tones import same_tones

BoolArray = npt.NDArray[np.bool_]

FLAT_WINDOW = 65  # pixels: slower changes of brightness are shading
_RINGS = 48
_UNMODELLED = 1e-4  # power, against the image's own: differences that are neither noise nor motion are never less
_SPLINE = 4  # order of approximation of a cubic spline, with which an image may have been resampled before
_LEAST_COHERENT = 0.05
_SLOPE = np.array([-1, 9, -45, 0, 45, -9, 1]) / 60
_TAPER = 9
_HUBER = 2.0
_MIN_PIXELS = 1024
_PLENTY = 400.0  # 1 / px^2: intensity alone is good to 0.05 px
_PREFER_INTENSITY = 0.5  # structure is derived from intensity: it must tell twice as much to be taken


class Filters(NamedTuple):
    """How to filter two aligned images.

    ``response``: ``(R, C)`` float32 over the real FFT of `size`. ``sign``: -1 where contrast is inverted. ``information``: what
    all phases tell of a shift, in 1 / px^2; its inverse root is the best standard error.
    """

    response: FloatArray
    size: tuple[int, int]
    sign: float
    information: float


class Terms(NamedTuple):
    """What remains between two images, linearised: ``residual = by_row * v_row + by_col * v_col``, each ``(rows, cols)``."""

    residual: FloatArray
    by_row: FloatArray
    by_col: FloatArray
    weight: FloatArray


class Matched(NamedTuple):
    """The view that tells most. ``terms``: one a channel. ``standard_error``: pixels, of a shift of the whole."""

    terms: list[Terms]
    standard_error: float


def matched_terms(fixed: FloatArray, pulled: FloatArray) -> Matched | None:
    """Linearise what remains between two images that are aligned to about a pixel.

    Parameters
    ----------
    fixed, pulled : (rows, cols) float32
        Grey images in one frame, NaN where there is nothing.

    Returns
    -------
    matched : Matched or None
        None where the two share too little.
    """
    known = np.isfinite(fixed) & np.isfinite(pulled)
    window = tapered(known)
    if np.count_nonzero(window > 0.5) < _MIN_PIXELS:
        return None
    f, w = (np.where(known, image, 0).astype(np.float32) for image in (fixed, pulled))
    found: tuple[FloatArray, FloatArray, Filters] | None = None
    for structure in (False, True):
        if structure and found is not None and found[2].information > _PLENTY:
            break
        a, b = (
            (double_angle(f, known), double_angle(w, known))
            if structure
            else (flattened(f, known)[None], flattened(same_tones(f, w, known), known)[None])
        )
        filters = coherence_filters(a, b, window, signed=not structure)
        if filters is not None and (found is None or filters.information * _PREFER_INTENSITY > found[2].information):
            found = a, b, filters
    if found is None:
        return None
    return Matched(_linearised(*found, window), float(1 / np.sqrt(found[2].information)))


def coherence_filters(fixed: FloatArray, moving: FloatArray, window: FloatArray, *, signed: bool) -> Filters | None:
    """Measure how coherent two aligned images are, ring by ring of spatial frequencies.

    Parameters
    ----------
    fixed, moving : (parts, rows, cols) float32
        Views of two aligned images.
    window : (rows, cols) float32
        0 where nothing is known, falling off softly.
    signed : bool
        Whether the contrast of one may be the inverse of the other's.

    Returns
    -------
    filters : Filters or None
        None where nothing is coherent.
    """
    from scipy import fft, ndimage

    size = (fft.next_fast_len(window.shape[0], real=True), fft.next_fast_len(window.shape[1], real=True))
    radius = np.hypot(fft.fftfreq(size[0])[:, None], fft.rfftfreq(size[1])[None, :])
    ring = np.minimum((radius * 2 * _RINGS).astype(np.intp), _RINGS - 1).ravel()
    sums = np.zeros((3, _RINGS))
    for f, w in zip(fixed, moving, strict=True):
        sf, sw = fft.rfft2(f * window, size), fft.rfft2(w * window, size)
        for i, product in enumerate(((sf * sw.conj()).real, np.abs(sf) ** 2, np.abs(sw) ** 2)):
            sums[i] += np.bincount(ring, product.ravel(), _RINGS)
    count = np.maximum(np.bincount(ring, minlength=_RINGS), 1) * len(fixed)
    cross, ff, ww = sums
    sign = -1.0 if signed and cross.sum() < 0 else 1.0
    mean = ndimage.uniform_filter1d(sums, 3, axis=1, mode="nearest")
    coherent = np.clip(sign * mean[0] / np.sqrt(np.maximum(mean[1] * mean[2], 1e-30)), 0, 1)
    # What is known covers only part of the padded frame: neighbouring frequencies are not independent.
    covered = float(np.square(window).sum()) / (size[0] * size[1])
    coherent[coherent < np.maximum(_LEAST_COHERENT, 2 / np.sqrt(count * covered))] = 0
    dead = np.flatnonzero(coherent[2:] == 0)
    if len(dead):
        coherent[dead[0] + 2 :] = 0  # beyond the first gap it is chance
    if not coherent.any():
        return None
    frequency = (np.arange(_RINGS) + 0.5) / (2 * _RINGS)
    power = np.maximum(sign * cross, 1e-3 * np.sqrt(ff * ww)) / count
    shared = np.interp(radius, frequency, coherent) ** 2
    lost = resampling_error(fft.fftfreq(size[0]))[:, None] + resampling_error(fft.rfftfreq(size[1]))[None, :]
    weight = shared / (1 - shared + lost + _UNMODELLED)
    response = np.sqrt(weight / np.maximum(np.interp(radius, frequency, power), 1e-30))
    twice = np.full(size[1] // 2 + 1, 2.0)  # the real transform holds one of each pair of frequencies
    twice[0] = 1.0
    information = float(np.sum(weight * (2 * np.pi * radius) ** 2 * twice) * covered * len(fixed) / 2)
    return Filters((response / response.max()).astype(np.float32), size, sign, information)


def resampling_error(frequency: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean power of the error of spline interpolation between pixels, relative to the sinusoid interpolated.

    Parameters
    ----------
    frequency : (N,) float64
        Cycles a pixel, -0.5..0.5.

    References
    ----------
    .. [1] P. Thévenaz, T. Blu, M. Unser, "Interpolation revisited", IEEE Trans. Med. Imaging 19 (2000),
       doi:10.1109/42.875199.
    """
    f = np.abs(frequency)
    nearer, farther = (f / (1 - f)) ** _SPLINE, (f / (1 + f)) ** _SPLINE
    return np.asarray((nearer**2 + farther**2 + (nearer + farther) ** 2) / (1 + nearer + farther) ** 2, np.float64)


def flattened(image: FloatArray, known: BoolArray) -> FloatArray:
    """Take the slow changes of brightness away; 0 where nothing is known."""
    share = np.maximum(wide_mean(known.astype(np.float32), FLAT_WINDOW), 1e-3)
    return np.where(known, image - wide_mean(image * known, FLAT_WINDOW) / share, 0).astype(np.float32)


def double_angle(image: FloatArray, known: BoolArray) -> FloatArray:
    """Take the gradient with its angle doubled, ``(2, rows, cols)``."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(flattened(image, known), 1.0)
    gr, gc = (ndimage.sobel(smooth, axis=axis) for axis in (0, 1))
    length = np.hypot(gr, gc) + 1e-12
    return np.stack([(gr * gr - gc * gc) / length, 2 * gr * gc / length]).astype(np.float32)


def slope(image: FloatArray, axis: int) -> FloatArray:
    """Differentiate, to sixth order: a central difference would give the finest detail too little weight."""
    from scipy import ndimage

    return np.asarray(ndimage.correlate1d(image, _SLOPE, axis, mode="nearest"), np.float32)


def tapered(known: BoolArray) -> FloatArray:
    """Soften the edge of what is known, inwards; the image's own border counts as one."""
    from scipy import ndimage

    inner = ndimage.binary_erosion(known, iterations=_TAPER // 2 + 1)
    return np.asarray(ndimage.uniform_filter(inner.astype(np.float32), _TAPER, mode="constant"), np.float32) * known


def _filtered(image: FloatArray, window: FloatArray, filters: Filters) -> FloatArray:
    from scipy import fft

    rows, cols = window.shape
    spectrum = fft.rfft2(image * window, filters.size)
    spectrum *= filters.response
    return np.asarray(fft.irfft2(spectrum, filters.size)[:rows, :cols], np.float32)


def _linearised(fixed: FloatArray, moving: FloatArray, filters: Filters, window: FloatArray) -> list[Terms]:
    """Filter residual and gradients. Gradients are taken before the window: its own edge is no content that moves."""
    terms = []
    inside = window > 0.05
    for f, w in zip(fixed, np.float32(filters.sign) * moving, strict=True):
        residual = _filtered(f - w, window, filters)
        by_row, by_col = (_filtered(slope(np.float32(0.5) * (f + w), axis), window, filters) for axis in (0, 1))
        spread = 1.4826 * float(np.median(np.abs(residual[inside][::7]))) + 1e-12
        weight = inside / np.maximum(1.0, np.abs(residual) / np.float32(_HUBER * spread))
        terms.append(Terms(residual, by_row, by_col, weight.astype(np.float32)))
    return terms
