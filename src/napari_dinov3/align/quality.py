"""How far a match stands out from chance: the null test behind every quality score and every refusal.

The aligned pair is compared at the offset found and at all wrong offsets of the same two images. Wrong offsets of unrelated
images score as well as the found one; wrong offsets of a true pair do not. `z` counts the standard deviations between them.
Offsets at which the fixed image resembles itself (along a stripe, within a smooth shape) are no evidence against a match and
are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_dinov3.align.channels import Channels, FloatArray, comparable_channels, shrink
from napari_dinov3.align.coarse import correlation_surface, thumbnail_factor
from napari_dinov3.align.elastic import SplineField
from napari_dinov3.align.refine import overlay
from napari_dinov3.align.transforms import scaled
from napari_dinov3.geometry import Matrix

ACCEPTED_Z = 6.5  # unrelated images, searched over offsets and angles, reach 6; true pairs start above 7
ACCEPTED_LEAD = 1.4
TESTED_SIDE = 192
_SELF_SIMILAR = 0.3  # of the fixed image with itself, moved: the same match, blurred or repeated
_OVERLAPPING = 0.4
_MIN_WRONG = 20


@dataclass(frozen=True, slots=True)
class MatchQuality:
    """What the null test found.

    Parameters
    ----------
    z : float
        Standard deviations by which the match found exceeds wrong offsets of the same pair; accepted from 6.5.
    lead : float
        Match found over the best wrong offset; 1 or less means another place fits as well.
    agreement : float
        Correlation of the aligned channels, 0..1.
    overlap : float
        Part of the fixed image that the moving image covers, 0..1.
    """

    z: float
    lead: float
    agreement: float
    overlap: float

    @property
    def accepted(self) -> bool:
        """Whether the match is beyond chance."""
        return self.z >= ACCEPTED_Z and self.lead >= ACCEPTED_LEAD

    def reason(self) -> str:
        """Say in one sentence why the match is refused; empty when it is accepted."""
        if self.accepted:
            return ""
        return (
            f"These two do not match: the best fit stands {self.z:.1f} standard deviations above wrong offsets "
            f"({ACCEPTED_Z:g} needed) and {self.lead:.2f} times the best of them ({ACCEPTED_LEAD:g} needed)"
        )


NO_MATCH = MatchQuality(z=0.0, lead=0.0, agreement=0.0, overlap=0.0)


def match_quality(fixed: FloatArray, moving: FloatArray, matrix: Matrix, *, field: SplineField | None = None) -> MatchQuality:
    """Test a match against wrong offsets of the same two images.

    Parameters
    ----------
    fixed, moving : (rows, cols) float32
        Grey images.
    matrix, field
        The transform found, fixed to moving.

    Returns
    -------
    quality : MatchQuality
    """
    factor = thumbnail_factor(fixed.shape, moving.shape, side=TESTED_SIDE)
    target = comparable_channels(shrink(fixed, factor))
    small_field = None if field is None else field.scaled(1 / factor)
    now = overlay(target, shrink(moving, factor), scaled(matrix, 1 / factor), field=small_field)
    overlap = float(now.known.sum() / max(1, target.known.sum()))
    if now.known.sum() < 64:
        return NO_MATCH
    fixed_part, moving_part = Channels(now.fixed, now.known), Channels(now.moving, now.known)
    surface = correlation_surface(fixed_part, moving_part, min_overlap=_OVERLAPPING)
    itself = correlation_surface(fixed_part, fixed_part, min_overlap=_OVERLAPPING)
    found = surface.at(0, 0)
    wrong = surface.score[(itself.score < _SELF_SIMILAR) & (surface.score > 0)]
    if wrong.size < _MIN_WRONG:
        return MatchQuality(0.0, 0.0, found, overlap)
    spread = float(wrong.std()) + 1e-6
    return MatchQuality(
        z=float((found - wrong.mean()) / spread), lead=found / max(float(wrong.max()), 1e-6), agreement=found, overlap=overlap
    )
