"""Correlation of two patch grids, and the two reference rules that turn it into a translation.

Conventions. Patches are numbered row-major; an offset is ``(rows, cols)`` in patches and points from fixed to moving: what
lies at ``p`` in the fixed map lies at ``p + offset`` in the moving one.

Blank patches (whose features repeat bit for bit in most of a block of padding, or are all zero) say nothing of where they
belong, and so does the part all patches share; see :func:`comparable_features`. Sub-patch precision is not sought here: that
is for the pixels, in :mod:`napari_dinov3.align.refine`.

References
----------
.. [1] D. Padfield, "Masked object registration in the Fourier domain", IEEE Trans. Image Process. 21 (2012),
   doi:10.1109/TIP.2011.2181402.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.features.feature_map import FeatureMap

Rule = Literal["median", "diagonal"]
FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_TINY = 1e-12
_BLOCK = 1 << 23  # cosines kept at once: 34 MB
_TIE = 1e-4  # cosines closer than this are the same patch seen twice


class Translation(NamedTuple):
    """A step in patches from fixed to moving; ``numpy.asarray`` makes it a ``(2,)`` array.

    Parameters
    ----------
    rows, cols : float
        Patches down and to the right. Whole numbers for the diagonal rule; the median rule may give halves.
    """

    rows: float
    cols: float


class OffsetScores(NamedTuple):
    """Score of every offset of two patch grids.

    ``mean``: ``(R, C)`` float64, mean cosine over the overlap, NaN where nothing overlaps. ``overlap``: ``(R, C)`` pairs of
    informative patches. ``first``: ``(2,)`` ints, the offset of element ``[0, 0]``.
    """

    mean: npt.NDArray[np.float64]
    overlap: npt.NDArray[np.float64]
    first: tuple[int, int]


def patch_correlation(a: FeatureMap | npt.ArrayLike, b: FeatureMap | npt.ArrayLike, *, memory_gb: float = 4.0) -> FloatArray:
    """Compare every patch of one map with every patch of another.

    Parameters
    ----------
    a, b : FeatureMap of one plane, or (rows, cols, dim) array-like
        The maps; of equal width, not necessarily of equal grid.
    memory_gb : float
        Largest matrix to make, in gigabytes (1e9 bytes).

    Returns
    -------
    correlation : (Na, Nb) float32
        Cosine similarity, -1..1, patches row-major; 0 wherever a patch is all zero.

    Raises
    ------
    InputError
        If the matrix would be larger than `memory_gb`.

    Notes
    -----
    Quadratic in the number of patches: 1 GB at 16,384 patches. :func:`estimate_translation` does without the matrix.
    """
    fa, fb = _pair_of_grids(a, b)
    rows, cols = (int(np.prod(grid.shape[:2])) for grid in (fa, fb))
    if rows * cols * 4 > memory_gb * 1e9:
        raise InputError(
            f"The correlation of {rows} with {cols} patches would take {rows * cols * 4 / 1e9:.1f} GB",
            f"at most memory_gb={memory_gb:g}",
            "Use a larger stride, or estimate_translation",
        )
    return np.asarray(_unit(fa.reshape(-1, fa.shape[-1])) @ _unit(fb.reshape(-1, fb.shape[-1])).T, dtype=np.float32)


def estimate_translation(
    a: FeatureMap | npt.ArrayLike, b: FeatureMap | npt.ArrayLike, *, rule: Rule = "median", min_overlap: float = 0.5
) -> Translation:
    """Find the whole-patch translation between two maps.

    Parameters
    ----------
    a, b : FeatureMap of one plane, or (rows, cols, dim) array-like
        Fixed and moving map.
    rule : {"median", "diagonal"}
        ``"median"``: median offset of mutual best matches, those left out that have a twin in their own map. Takes time with
        the square of the number of patches, but not the memory. ``"diagonal"``: offset whose diagonal of the N x N matrix has
        the largest mean; computed by FFT, so that large grids are no hindrance.
    min_overlap : float
        Diagonal rule only: part of the smaller map's informative patches that must overlap, 0..1. Without it, a corner in
        which one patch meets one other would win by chance.

    Returns
    -------
    translation : Translation
        ``(rows, cols)`` in patches, from fixed to moving; ``(0, 0)`` where the maps are blank.

    Raises
    ------
    InputError
        For an unknown rule, or maps that are not single planes.
    FeatureMismatchError
        If the maps were not made the same way.
    """
    fa, fb = _pair_of_grids(a, b)
    if rule == "median":
        return _median_of_mutual_matches(fa, fb)
    if rule == "diagonal":
        scores = offset_scores(fa, fb)
        return _best_offset(scores, min_overlap)
    raise InputError(f"rule={rule!r}", "'median' or 'diagonal'", "Choose one of the two")


def offset_scores(a: FeatureMap | npt.ArrayLike, b: FeatureMap | npt.ArrayLike) -> OffsetScores:
    """Compute the mean along every diagonal of the patch correlation, without the N x N matrix.

    Parameters
    ----------
    a, b : FeatureMap of one plane, or (rows, cols, dim) array-like
        Fixed and moving map; compared as :func:`comparable_features` leaves them.

    Returns
    -------
    scores : OffsetScores
        One mean cosine an offset.

    Notes
    -----
    Pairs of patches at one offset lie on one diagonal of the N x N matrix, so their sum is the cross-correlation of the two
    grids summed over channels: one zero-padded FFT a channel, then a division by the number of pairs.
    """
    fa, fb = _pair_of_grids(a, b)
    (ua, ka), (ub, kb) = comparable_features(fa), comparable_features(fb)
    total, first = cross_correlate(ua, ub)
    overlap, _ = cross_correlate(ka[..., None].astype(np.float32), kb[..., None].astype(np.float32))
    overlap = np.rint(overlap)
    mean = np.where(overlap > 0, total / np.maximum(overlap, 1), np.nan)
    return OffsetScores(mean, overlap, first)


def comparable_features(grid: npt.NDArray[Any]) -> tuple[FloatArray, BoolArray]:
    """Prepare one plane's features for comparison with another's.

    Blank patches are set aside, what the other patches share is taken away (their mean: brightness for pixel projections,
    the common direction of a network's tokens), and each is scaled to length 1.

    Parameters
    ----------
    grid : (rows, cols, dim) float
        Features of one plane.

    Returns
    -------
    features : (rows, cols, dim) float32
        Unit vectors; zero for blank patches.
    known : (rows, cols) bool
        Patches that are not blank.
    """
    known = ~blank_patches(grid)
    if not known.any():
        return np.zeros(grid.shape, np.float32), known
    centred = grid - grid[known].mean(axis=0, dtype=np.float64).astype(np.float32)
    unit = _unit(centred)
    known &= np.any(unit != 0, axis=-1)
    unit[~known] = 0
    return unit, known


def blank_patches(grid: npt.NDArray[Any]) -> BoolArray:
    """Find patches without content: all zero, or padding that touches the border.

    Padding is the most frequent feature that repeats bit for bit along a whole side of the grid: noise never does.

    Parameters
    ----------
    grid : (rows, cols, dim) float

    Returns
    -------
    blank : (rows, cols) bool
    """
    blank = ~np.any(grid, axis=-1)
    for side in (grid[0], grid[-1], grid[:, 0], grid[:, -1]):
        if len(side) > 1 and np.all(side == side[0]):
            blank |= np.all(grid == side[0], axis=-1)
    return np.asarray(blank)


def cross_correlate(fixed: npt.NDArray[Any], moving: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], tuple[int, int]]:
    """Sum products of two grids over all offsets, without wrapping around.

    Parameters
    ----------
    fixed, moving : (rows, cols, channels) float
        Grids; their sizes may differ.

    Returns
    -------
    sums : (R, C) float64
        ``sums[i, j] = sum over p, channel of fixed[p] * moving[p + first + (i, j)]``.
    first : (2,) ints
        Offset of element ``[0, 0]``.
    """
    from scipy import fft

    (rows, cols), (moving_rows, moving_cols) = fixed.shape[:2], moving.shape[:2]
    full = (rows + moving_rows - 1, cols + moving_cols - 1)
    size = tuple(fft.next_fast_len(n, real=True) for n in full)
    spectrum = np.zeros((size[0], size[1] // 2 + 1), np.complex128)
    for channel in range(fixed.shape[-1]):
        f = fft.rfft2(np.asarray(fixed[..., channel], np.float64), size)
        f = np.conj(f, out=f)
        f *= fft.rfft2(np.asarray(moving[..., channel], np.float64), size)
        spectrum += f
    sums = fft.irfft2(spectrum, size)
    first = (-(rows - 1), -(cols - 1))
    return np.roll(sums, (-first[0], -first[1]), (0, 1))[: full[0], : full[1]], first


def _best_offset(scores: OffsetScores, min_overlap: float) -> Translation:
    needed = max(1.0, min_overlap * float(scores.overlap.max()))
    allowed = scores.overlap >= needed
    if not scores.overlap.any():
        return Translation(0.0, 0.0)
    mean = np.where(allowed, scores.mean, -np.inf)
    ties = np.argwhere(mean >= mean.max() - 1e-9) + scores.first
    row, col = ties[np.argmin(np.abs(ties).sum(axis=1))]
    return Translation(float(row), float(col))


def _median_of_mutual_matches(fixed: FloatArray, moving: FloatArray) -> Translation:
    (ua, ka), (ub, kb) = comparable_features(fixed), comparable_features(moving)
    if not (ka.any() and kb.any()):
        return Translation(0.0, 0.0)
    at_a, at_b = np.argwhere(ka), np.argwhere(kb)
    fa, fb = ua[ka], ub[kb]
    forward, best, backward = _best_matches(fa, fb)
    mutual = backward[forward] == np.arange(len(fa))
    distinct = mutual.copy()
    twin_a, twin_b = _best_twin(fa, np.flatnonzero(mutual)), _best_twin(fb, forward[mutual])
    distinct[mutual] = best[mutual] > np.maximum(twin_a, twin_b) + _TIE
    chosen = distinct if distinct.any() else mutual
    steps = at_b[forward[chosen]] - at_a[chosen]
    row, col = np.median(steps, axis=0)
    return Translation(float(row), float(col))


def _best_matches(a: FloatArray, b: FloatArray) -> tuple[npt.NDArray[np.intp], FloatArray, npt.NDArray[np.intp]]:
    """Find the best match of each row of `a` in `b`, its cosine, and of each row of `b` in `a`, block by block."""
    forward, best = np.empty(len(a), np.intp), np.empty(len(a), np.float32)
    backward, best_back = np.zeros(len(b), np.intp), np.full(len(b), -np.inf, np.float32)
    step = max(1, _BLOCK // len(b))
    for start in range(0, len(a), step):
        across = a[start : start + step] @ b.T
        forward[start : start + step] = across.argmax(axis=1)
        best[start : start + step] = across.max(axis=1)
        highest = across.max(axis=0)
        better = highest > best_back
        backward[better] = start + across[:, better].argmax(axis=0)
        best_back[better] = highest[better]
    return forward, best, backward


def _best_twin(features: FloatArray, chosen: npt.NDArray[np.intp]) -> FloatArray:
    """Cosine of each chosen patch with the most similar other patch of its own map."""
    best = np.full(len(chosen), -1, np.float32)
    step = max(1, _BLOCK // len(features))
    for start in range(0, len(chosen), step):
        some = chosen[start : start + step]
        own = features[some] @ features.T
        own[np.arange(len(some)), some] = -1
        best[start : start + step] = own.max(axis=1)
    return best


def _unit(features: npt.NDArray[Any]) -> FloatArray:
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    return np.asarray(np.divide(features, length, out=np.zeros_like(features), where=length > _TINY), dtype=np.float32)


def _pair_of_grids(a: FeatureMap | npt.ArrayLike, b: FeatureMap | npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    if isinstance(a, FeatureMap) and isinstance(b, FeatureMap):
        a.check_fits(b)
    first, second = _one_grid(a), _one_grid(b)
    if first.shape[-1] != second.shape[-1]:
        raise InputError(
            f"Features of width {first.shape[-1]} and {second.shape[-1]}", "equal widths", "Extract both with the same backbone"
        )
    return first, second


def _one_grid(features: FeatureMap | npt.ArrayLike) -> FloatArray:
    if isinstance(features, FeatureMap):
        if len(features) != 1:
            raise InputError(
                f"A feature map of {len(features)} planes", "a single plane", "Pass features.plane(i), or extract one plane"
            )
        return features.plane(0)
    grid = np.asarray(features, dtype=np.float32)
    if grid.ndim == 4 and grid.shape[0] == 1:
        grid = grid[0]
    if grid.ndim != 3 or 0 in grid.shape:
        raise InputError(
            f"Features of shape {grid.shape}", "(rows, cols, dim), none of them 0", "Pass the patch grid of one plane"
        )
    return grid
