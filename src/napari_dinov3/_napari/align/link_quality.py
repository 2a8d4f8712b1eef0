"""The links of an alignment as a matrix: which sections were compared, how well they match, and what was done with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_dinov3.align.links import Link, consistent, vouched
from napari_dinov3.align.stack import StackAlignment

Fate = Literal["used", "refused", "voted out", "left out"]
FATES: dict[Fate, str] = {
    "used": "used",
    "refused": "refused: below 6.5, or no better than a wrong offset",
    "voted out": "voted out: it contradicts the way round over other sections",
    "left out": "not used: one of the sections is left out",
}


@dataclass(frozen=True, slots=True)
class LinkCell:
    """One comparison.

    Parameters
    ----------
    first, second : int
        Sections.
    score : float
        Standard deviations above wrong offsets.
    fate : str
        What was done with it.
    """

    first: int
    second: int
    score: float
    fate: Fate

    @property
    def text(self) -> str:
        """Say it in words."""
        return f"Planes {self.first} and {self.second}: match {self.score:.1f}, {FATES[self.fate]}."


def link_cells(alignment: StackAlignment, *, include: tuple[int, ...] = ()) -> tuple[LinkCell, ...]:
    """List the links of an alignment and what was done with each.

    Parameters
    ----------
    alignment : StackAlignment
    include : ints
        Sections that were let in by their best link, whatever the null test said.
    """
    links = vouched(alignment.links, include)
    bad = set(alignment.bad)
    inner = [link for link in links if link.accepted and not {link.first, link.second} & bad]
    kept = {(link.first, link.second) for link, stays in zip(inner, consistent(inner, alignment.shape), strict=True) if stays}
    return tuple(LinkCell(k.first, k.second, float(k.match.z), _fate(k, bad, kept)) for k in links)


def _fate(link: Link, bad: set[int], kept: set[tuple[int, int]]) -> Fate:
    if not link.accepted:
        return "refused"
    if {link.first, link.second} & bad:
        return "left out"
    return "used" if (link.first, link.second) in kept else "voted out"
