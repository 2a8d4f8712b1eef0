"""Coarse alignment: where the moving image may lie, found without a starting guess.

Candidates come from two sources, the normalised correlation of the channels of reduced images at every offset (for a list of
rotations) and the correlation of patch features at every offset; the pixels of the reduced image then decide between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from napari_dinov3.align.channels import BLURRED, Channels, FloatArray, comparable_channels, shrink
from napari_dinov3.align.correlation import OffsetScores, cross_correlate
from napari_dinov3.align.refine import combined_agreement, overlay, pull_grey, refine
from napari_dinov3.align.transforms import LinearModel, corners, rotation_matrix, scaled, translation_matrix
from napari_dinov3.errors import InputError
from napari_dinov3.geometry import Matrix, transform_points

THUMBNAIL = 192  # pixels on the long side: enough for the shapes of a section, a few milliseconds an angle
MIN_OVERLAP = 0.3  # part of the smaller image
NEAR_ANGLES = (0.0, -5.0, 5.0, -10.0, 10.0, -15.0, 15.0)
ALL_ANGLES = tuple(float(a) for a in range(-175, 181, 5))
_VERIFIED = 6
_CLEAR = 0.6  # agreement that no wrong pose comes near: unrelated images reach 0.25
_ROUGHLY = 0.1  # pixels of the thumbnail
_DISTANT = 0.06  # of the longer side: peaks closer than this are one pose, found at neighbouring angles
_SAME = 1.5  # pixels of the thumbnail: closer starts end in the same place


class Candidate(NamedTuple):
    """A possible pose. ``matrix``: fixed to moving. ``score``: 0..1, comparable within one search only."""

    matrix: Matrix
    score: float


NOTHING = Candidate(np.eye(3), -1.0)


class Surface(NamedTuple):
    """Agreement of two images at every offset.

    ``score``: ``(R, C)`` float32, 0..1, 0 where too little overlaps. ``first``: ``(2,)`` ints, offset of ``[0, 0]``. ``share``:
    ``(R, C)`` float32, 0..1, part of the smaller image that overlaps.
    """

    score: FloatArray
    first: tuple[int, int]
    share: FloatArray

    def at(self, row: int, col: int) -> float:
        """Score at an offset, 0 beyond the surface."""
        i, j = row - self.first[0], col - self.first[1]
        return float(self.score[i, j]) if 0 <= i < self.score.shape[0] and 0 <= j < self.score.shape[1] else 0.0

    def peaks(self, count: int, apart: int) -> list[tuple[int, int, float]]:
        """List the offsets that stand out most, at least `apart` pixels from each other, as ``(row, col, significance)``."""
        left, found = significance(self.score, self.share), []
        for _ in range(count):
            i, j = np.unravel_index(int(left.argmax()), left.shape)
            if left[i, j] <= 0:
                break
            found.append((int(i) + self.first[0], int(j) + self.first[1], float(left[i, j])))
            left[max(0, i - apart) : i + apart + 1, max(0, j - apart) : j + apart + 1] = 0
        return found


def significance(score: FloatArray, share: FloatArray) -> FloatArray:
    """Weigh a correlation by the root of what overlaps, as chance does: a small part of an image resembles many things."""
    return np.asarray(score * np.sqrt(np.clip(share, 0, 1)), np.float32)


def thumbnail_factor(*shapes: tuple[int, ...], side: int = THUMBNAIL) -> int:
    """Whole reduction factor that brings the longest side of all images to about `side` pixels."""
    return max(1, int(np.ceil(max(max(shape[:2]) for shape in shapes) / side)))


def correlation_surface(fixed: Channels, moving: Channels, *, min_overlap: float = MIN_OVERLAP) -> Surface:
    """Correlate two images at every offset, normalised by what overlaps there.

    Parameters
    ----------
    fixed, moving : Channels
        Of images that may differ in size.
    min_overlap : float
        Part of the smaller image's known pixels that must overlap.

    Returns
    -------
    surface : Surface
        Intensity of either polarity and structure, combined as in
        :func:`~napari_dinov3.align.refine.combined_agreement`.

    References
    ----------
    .. [1] D. Padfield, "Masked object registration in the Fourier domain", IEEE Trans. Image Process. 21 (2012),
       doi:10.1109/TIP.2011.2181402.
    """
    kf, km = fixed.known[..., None].astype(np.float32), moving.known[..., None].astype(np.float32)
    overlap, first = cross_correlate(kf, km)
    smaller = max(1.0, min(float(kf.sum()), float(km.sum())))
    enough, share = overlap >= max(16.0, min_overlap * smaller), np.asarray(overlap / smaller, np.float32)
    if not enough.any():
        return Surface(np.zeros(overlap.shape, np.float32), first, share)
    parts = []
    for channels in (slice(0, 1), slice(1, 3)):
        f, m = (np.moveaxis(c.values[channels] * c.known, 0, -1) for c in (fixed, moving))
        cross, _ = cross_correlate(f, m)
        ff, _ = cross_correlate((f * f).sum(-1, keepdims=True), km)
        mm, _ = cross_correlate(kf, (m * m).sum(-1, keepdims=True))
        energy = np.sqrt(np.maximum(ff * mm, 1e-12))
        parts.append(np.where(enough & (energy > 1e-3), cross / np.maximum(energy, 1e-3), 0.0))
    score = np.maximum(np.abs(parts[0]), parts[1])
    return Surface(np.where(enough, score, 0).astype(np.float32), first, share)


def coarse_pose(
    fixed: FloatArray,
    moving: FloatArray,
    *,
    model: LinearModel,
    angles: Sequence[float] = NEAR_ANGLES,
    hints: Iterable[Matrix] = (),
) -> Candidate:
    """Find the moving image without a starting guess.

    Parameters
    ----------
    fixed, moving : (rows, cols) float32
        Grey images.
    model : {"translation", "rigid", "similarity", "affine"}
        What may change; rotations are searched for all but translation.
    angles : floats
        Rotations to try, in degrees, 0 first; none to try the hints alone.
    hints : (3, 3) matrices
        Further poses to try (from patch features, or the user); the unmoved pose is always tried.

    Returns
    -------
    best : Candidate
        Right to about a pixel of the reduced image where it is right at all.
    """
    factor = thumbnail_factor(fixed.shape, moving.shape)
    small_fixed, small_moving = shrink(fixed, factor), shrink(moving, factor)
    target = comparable_channels(small_fixed)
    found: list[Candidate] = []
    for angle in angles if model != "translation" else tuple(angles)[:1]:
        found += _at_angle(target, small_moving, angle)
        if max(candidate.score for candidate in found[-2:] or [NOTHING]) > _CLEAR:
            break
    found.sort(key=lambda candidate: -candidate.score)
    side = _DISTANT * max(small_fixed.shape)
    shortlist = _distinct((c.matrix for c in found), small_fixed.shape, apart=side)[:_VERIFIED]
    shortlist = _distinct([*shortlist, *(scaled(hint, 1 / factor) for hint in hints), np.eye(3)], small_fixed.shape, apart=_SAME)
    blurred = comparable_channels(small_fixed, sigmas=BLURRED)
    best = judged = NOTHING
    for start in shortlist:
        pose, free = _tried(target, blurred, small_moving, start, model)
        if max(pose.score, free.score) > max(best.score, judged.score):
            best, judged = pose, free
        if pose.score > _CLEAR:
            break
    if model == "affine" and best.score > _CLEAR:
        judged = _freed(target, blurred, small_moving, best.matrix)
    chosen = judged if model == "affine" and judged.score >= best.score else best
    return Candidate(scaled(chosen.matrix, factor), chosen.score)


def _tried(
    target: Channels, blurred: Channels, moving: FloatArray, start: Matrix, model: LinearModel
) -> tuple[Candidate, Candidate]:
    """Refine one start; where it does not convince, see what an affine transform would make of it.

    Sections that differ in size fit badly wherever they lie; freed, the right pose gains most.
    """
    stiff: LinearModel = "rigid" if model == "affine" else model
    matrix = refine(blurred, moving, start, model=stiff, iterations=6, tolerance=_ROUGHLY)
    matrix = refine(target, moving, matrix, model=stiff, iterations=3, tolerance=_ROUGHLY)
    pose = Candidate(matrix, _verified(target, moving, matrix))
    return pose, NOTHING if pose.score > _CLEAR else _freed(target, blurred, moving, matrix)


def _freed(target: Channels, blurred: Channels, moving: FloatArray, matrix: Matrix) -> Candidate:
    free = refine(blurred, moving, matrix, model="affine", iterations=8, tolerance=_ROUGHLY)
    return Candidate(free, _verified(target, moving, free))


def feature_hints(scores: OffsetScores, stride: float, *, count: int = 3) -> list[Matrix]:
    """Turn the correlation of patch features into translations in pixels.

    Parameters
    ----------
    scores : OffsetScores
        Of two grids of equal stride.
    stride : float
        Pixels between patches.
    count : int
        How many peaks to hand on.
    """
    enough = scores.overlap >= MIN_OVERLAP * scores.overlap.max()
    share = np.asarray(scores.overlap / scores.overlap.max(), np.float32)
    surface = Surface(np.where(enough, np.nan_to_num(scores.mean), 0).astype(np.float32), scores.first, share)
    return [translation_matrix(row * stride, col * stride) for row, col, _ in surface.peaks(count, apart=2)]


def _at_angle(target: Channels, moving: FloatArray, angle: float) -> list[Candidate]:
    centre = ((moving.shape[0] - 1) / 2, (moving.shape[1] - 1) / 2)
    turn = rotation_matrix(angle, centre)
    turned = moving if angle == 0 else pull_grey(moving, turn, shape=(moving.shape[0], moving.shape[1]))
    surface = correlation_surface(target, comparable_channels(turned))
    apart = max(2, min(moving.shape) // 16)
    return [Candidate(turn @ translation_matrix(r, c), s) for r, c, s in surface.peaks(2, apart)]


def _distinct(matrices: Iterable[Matrix], shape: tuple[int, ...], *, apart: float) -> list[Matrix]:
    """Drop starts that lie within `apart` pixels of an earlier one."""
    points, kept = corners((shape[0], shape[1])), list[Matrix]()
    for matrix in matrices:
        at = transform_points(matrix, points)
        if all(np.abs(transform_points(other, points) - at).max() > apart for other in kept):
            kept.append(matrix)
    return kept


def _verified(target: Channels, moving: FloatArray, matrix: Matrix) -> float:
    now = overlay(target, moving, matrix)
    smaller = max(1, min(int(np.count_nonzero(target.known)), int(np.count_nonzero(np.isfinite(moving)))))
    share = int(np.count_nonzero(now.known)) / smaller
    if share < MIN_OVERLAP * 0.5 or not _plausible(matrix):
        return 0.0
    return float(combined_agreement(now.agreement) * np.sqrt(min(1.0, share)))


def _plausible(matrix: Matrix) -> bool:
    """Sections neither collapse nor blow up."""
    stretch = np.linalg.svd(matrix[:2, :2], compute_uv=False)
    return bool(stretch.min() > 0.4 and stretch.max() < 2.5)


def angles_up_to(rotation: float | None) -> tuple[tuple[float, ...], Sequence[float]]:
    """List the angles to try at once, and those to try where these do not convince.

    Parameters
    ----------
    rotation : float, optional
        Largest rotation looked for, degrees 0..180; by default all angles, the small ones first.

    Raises
    ------
    InputError
        Out of that range.
    """
    if rotation is None:
        return NEAR_ANGLES, ALL_ANGLES
    if not 0 <= rotation <= 180:
        raise InputError(f"rotation={rotation}", "degrees, 0..180", "Give the largest rotation to look for")
    return tuple(a for a in sorted({*NEAR_ANGLES, *ALL_ANGLES}, key=abs) if abs(a) <= rotation + 2.5), ()
