"""Sub-pixel refinement of a linear transform on the pixels.

The moving image is pulled back through the current transform and both are turned into comparable channels. The remaining
displacement ``v(p) = J(p) delta`` solves ``W(p) + grad . v(p) = F(p)`` in the weighted least-squares sense, with the mean of
both images' gradients (second-order accurate, and noise in them does not shorten the step), Huber weights for what does not
fit, and each channel weighed by how well it agrees. The transform is composed, never added, so a rigid one stays rigid.

References
----------
.. [1] E. Malis, "Improving vision-based control using efficient second-order minimization techniques", ICRA 2004,
   doi:10.1109/ROBOT.2004.1308092.
.. [2] S. Baker, I. Matthews, "Lucas-Kanade 20 years on: a unifying framework", IJCV 56 (2004),
   doi:10.1023/B:VISI.0000011205.11775.fd.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.channels import Channels, FloatArray, comparable_channels
from napari_dinov3.align.elastic import SplineField
from napari_dinov3.align.matched import matched_terms
from napari_dinov3.align.normal_equations import MIN_PIXELS, small_step
from napari_dinov3.align.transforms import LinearModel, corners
from napari_dinov3.align.warp import inside, warp
from napari_dinov3.geometry import Matrix, transform_points

CONVERGED = 2e-3  # pixels
_HUBER = 1.5
_POLISH_STEPS = 3
_POLISH_ORDER = 5  # a cubic spline is off by up to 0.007 px at 4 pixels a period
_RESOLVED = 5e-4  # pixels: less is rounding in single precision, and copies shall stay where they are
_POLISHED = 5e-3  # pixels
_EXPLAINED = 15.0  # standard errors of the polish: on faint images its start is a few times less precise
_RESAMPLED = 0.02  # pixels by which cubic interpolation pulls the start
_FREEDOM = {"translation": 1, "rigid": 3, "similarity": 4, "affine": 7}  # variance at a corner, against the centre
_STEEPEST = 50.0  # weight of a channel that agrees (almost) perfectly, against 1 for one at r = 0.7


class Overlap(NamedTuple):
    """The moving image in the fixed frame, ready to be compared.

    ``fixed``, ``moving``: channels on the fixed grid. ``known``: where both can be trusted. ``agreement``: signed correlation of
    each channel there. ``sigmas``: the channels' scales.
    """

    fixed: FloatArray
    moving: FloatArray
    known: npt.NDArray[np.bool_]
    agreement: npt.NDArray[np.float64]
    sigmas: tuple[float, ...]


def overlay(fixed: Channels, moving: FloatArray, matrix: Matrix, *, field: SplineField | None = None) -> Overlap:
    """Pull the moving image back and compare it channel by channel.

    Parameters
    ----------
    fixed : Channels
        Of the fixed image; the moving image's are computed at the same scales.
    moving : (rows, cols) float32
        Grey moving image.
    matrix, field
        The transform so far, fixed to moving.
    """
    shape = (fixed.known.shape[0], fixed.known.shape[1])
    pulled = pull_grey(moving, matrix, field=field, shape=shape)
    channels = comparable_channels(pulled, sigmas=fixed.sigmas, floor=fixed.floor)
    known = fixed.known & channels.known
    return Overlap(fixed.values, channels.values, known, agreement(fixed.values, channels.values, known), fixed.sigmas)


def pull_grey(
    moving: FloatArray, matrix: Matrix, *, field: SplineField | None = None, shape: tuple[int, int], order: int = 3
) -> FloatArray:
    """Pull a grey image back, NaN where the moving image has nothing."""
    size = (moving.shape[0], moving.shape[1])
    finite = np.isfinite(moving)
    there = inside(size, matrix, field=field, shape=shape)
    if not finite.all():
        there &= warp(~finite, matrix, field=field, shape=shape, fill=1) == 0
        moving = np.where(finite, moving, moving[finite].mean() if finite.any() else 0).astype(np.float32)
    pulled = warp(moving, matrix, field=field, shape=shape, order=order)
    pulled[~there] = np.nan
    return np.asarray(pulled, np.float32)


def agreement(fixed: FloatArray, moving: FloatArray, known: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Correlate each channel over the known pixels.

    Returns
    -------
    agreement : (channels,) float64
        -1..1. The two gradient channels of a scale share one value: their complex correlation's real part.
    """
    if np.count_nonzero(known) < MIN_PIXELS:
        return np.zeros(len(fixed))
    f, w = fixed[:, known], moving[:, known]
    f[::3] -= f[::3].mean(axis=1, keepdims=True)
    w[::3] -= w[::3].mean(axis=1, keepdims=True)
    cross, ff, ww = (np.einsum("ij,ij->i", a, b).astype(np.float64) for a, b in ((f, w), (f, f), (w, w)))
    for sums in (cross, ff, ww):
        sums[1::3] = sums[2::3] = sums[1::3] + sums[2::3]
    return np.asarray(cross / np.sqrt(np.maximum(ff * ww, 1e-12)))


def combined_agreement(values: npt.NDArray[np.float64]) -> float:
    """Sum up the finest channels' agreement in one number, 0..1: intensity of either polarity, or structure if it is higher."""
    return float(max(abs(values[0]), values[1]))


def refine(
    fixed: Channels,
    moving: FloatArray,
    matrix: Matrix,
    *,
    model: LinearModel,
    iterations: int = 12,
    tolerance: float = CONVERGED,
) -> Matrix:
    """Improve a linear transform to sub-pixel precision.

    Parameters
    ----------
    fixed : Channels
        Of the fixed image, at the scales to use.
    moving : (rows, cols) float32
        Grey moving image.
    matrix : (3, 3) float64
        Start, fixed to moving; right to within a few pixels.
    model : {"translation", "rigid", "similarity", "affine"}
        What may change.
    iterations : int
        At most.
    tolerance : float
        It stops when the corners move less, in pixels.

    Returns
    -------
    matrix : (3, 3) float64
        The start where the images do not overlap enough to say.
    """
    shape = (fixed.known.shape[0], fixed.known.shape[1])
    for _ in range(iterations):
        now = overlay(fixed, moving, matrix)
        step = small_step(linearised(now), now.known, model, shape)
        if step is None:
            return matrix
        matrix = matrix @ step
        if np.abs(transform_points(step, corners(shape)) - corners(shape)).max() < tolerance:
            break
    return matrix


def channel_weights(values: npt.NDArray[np.float64], sigmas: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Weigh channels by what they tell.

    r^2 / (1 - r^2) is the signal-to-noise ratio of two noisy copies; noise smoothed over sigma pixels is the same noise in
    about sigma^2 neighbours, and counts once.
    """
    squared = np.where(np.arange(len(values)) % 3 == 0, values**2, np.clip(values, 0, 1) ** 2)
    return np.asarray(squared / np.maximum(1 - squared, 1 / _STEEPEST) / np.repeat(np.square(sigmas), 3))


def linearised(now: Overlap) -> list[tuple[FloatArray, FloatArray, FloatArray, FloatArray]]:
    """Linearise each channel about the current overlay.

    Returns
    -------
    terms : list of (residual, by_row, by_col, weight)
        Each ``(rows, cols)`` float32; channels that tell nothing are left out.
    """
    terms = []
    importance = channel_weights(now.agreement, now.sigmas)
    for channel, weight in enumerate(importance):
        if weight < 1e-3 * importance.max() or weight <= 0:
            continue
        sign = np.float32(np.sign(now.agreement[channel]) if channel % 3 == 0 else 1.0)
        pulled = sign * now.moving[channel]
        residual = now.fixed[channel] - pulled
        by_row, by_col = np.gradient(np.float32(0.5) * (now.fixed[channel] + pulled))
        spread = 1.4826 * float(np.median(np.abs(residual[now.known][::7]))) + 1e-6
        robust = now.known / np.maximum(1.0, np.abs(residual) / np.float32(_HUBER * spread))
        terms.append((residual, by_row, by_col, (robust * np.float32(weight)).astype(np.float32)))
    return terms


def polish(fixed: FloatArray, moving: FloatArray, matrix: Matrix, *, model: LinearModel) -> Matrix:
    """Take the last steps to the precision that noise allows; see :mod:`~napari_dinov3.align.matched`.

    Parameters
    ----------
    fixed, moving : (rows, cols) float32
        Grey images.
    matrix : (3, 3) float64
        Right to a fraction of a pixel.
    model : {"translation", "rigid", "similarity", "affine"}
        What may change.

    Returns
    -------
    matrix : (3, 3) float64
        The start where the images share too little, or where it would move by more than noise explains: then their content
        differs, and filtering for the least noise is not what keeps that from pulling.
    """
    shape = (fixed.shape[0], fixed.shape[1])
    start, points, allowed = matrix, corners(shape), 0.0
    for _ in range(_POLISH_STEPS):
        found = matched_terms(fixed, pull_grey(moving, matrix, shape=shape, order=_POLISH_ORDER))
        step = None if found is None else small_step(found.terms, found.terms[0].weight > 0, model, shape)
        if found is None or step is None:
            return start
        matrix = matrix @ step
        allowed = _RESAMPLED + _EXPLAINED * found.standard_error * math.sqrt(_FREEDOM[model])
        if np.abs(transform_points(step, points) - points).max() < _POLISHED:
            break
    moved = np.abs(transform_points(matrix, points) - transform_points(start, points)).max()
    return matrix if _RESOLVED < moved < allowed else start
