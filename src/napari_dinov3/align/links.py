"""The graph of a stack: which sections were compared, and what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.elastic import SplineField
from napari_dinov3.align.quality import ACCEPTED_LEAD, ACCEPTED_Z, MatchQuality
from napari_dinov3.align.transforms import corners
from napari_dinov3.geometry import Matrix, transform_points

DEFAULT_REACH = (1, 2, 3)
_CLOSES = 0.5  # pixels at the corners within which a triangle counts as closed, whatever the others do
_ROUGHLY = 0.05  # of the longer side, by which chance matches miss each other at the very least


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """One comparison.

    Parameters
    ----------
    first, second : int
        Section indices, first < second.
    matrix : (3, 3) float64
        First to second, in pixels.
    match : MatchQuality
        The null test; a link that is not accepted takes no part.
    strength : float
        Weight beyond doubt, for what the user fixed; 0 for what was measured.
    field : SplineField or None
        Elastic displacement after the matrix, in pixels of the second section.
    """

    first: int
    second: int
    matrix: Matrix = dataclasses.field(repr=False)
    match: MatchQuality
    strength: float = 0.0
    field: SplineField | None = dataclasses.field(default=None, repr=False)

    @property
    def accepted(self) -> bool:
        """Whether the two sections match."""
        return self.match.accepted

    @property
    def weight(self) -> float:
        """Trust before residuals are known: signal-to-noise of the agreement, which falls with the distance by itself."""
        if self.strength > 0:
            return self.strength
        r = min(max(self.match.agreement, 0.05), 0.98)
        return r * r / (1 - r * r)


def vouched(links: Sequence[Link], sections: Iterable[int]) -> tuple[Link, ...]:
    """Accept the best link of each of the sections the user vouches for, whatever the null test said."""
    out = list(links)
    for section in sections:
        mine = [i for i, link in enumerate(out) if section in (link.first, link.second) and link.match.z > 0]
        if mine and not any(out[i].accepted for i in mine):
            best = max(mine, key=lambda i: out[i].match.z)
            match = out[best].match
            sure = dataclasses.replace(match, z=max(match.z, ACCEPTED_Z), lead=max(match.lead, ACCEPTED_LEAD))
            out[best] = dataclasses.replace(out[best], match=sure)
    return tuple(out)


def planned_links(count: int, reach: Iterable[int] = DEFAULT_REACH) -> list[tuple[int, int]]:
    """List the pairs to compare, in the order in which a stack is read.

    Parameters
    ----------
    count : int
        Sections.
    reach : ints
        Distances at which sections are compared.
    """
    steps = sorted(set(reach))
    return [(second - step, second) for second in range(count) for step in steps if second - step >= 0]


def consistent(links: Sequence[Link], shape: tuple[int, int], *, roughly: bool = False) -> npt.NDArray[np.bool_]:
    """Vote out links that close no triangle.

    A right link agrees with the way round over a third section at least once; a wrong one never does. A link that is in no
    triangle at all is given the benefit of the doubt.

    Parameters
    ----------
    links : sequence of Link
    shape : (2,) ints
        Rows and columns, over which disagreement is measured.
    roughly : bool
        Vote out only what is off by a good part of the image: links that found something else altogether.

    Returns
    -------
    kept : (links,) bool
    """
    place = {(link.first, link.second): i for i, link in enumerate(links)}
    after: dict[int, list[int]] = {}
    for first, second in place:
        after.setdefault(first, []).append(second)
    best = np.full(len(links), np.inf)
    points = corners(shape)
    for (a, c), long in place.items():
        for b in after.get(a, []):
            if (b, c) not in place:
                continue
            one, two = place[a, b], place[b, c]
            loop = np.linalg.inv(links[long].matrix) @ links[two].matrix @ links[one].matrix
            gap = float(np.abs(transform_points(loop, points) - points).max())
            for i in (one, two, long):
                best[i] = min(best[i], gap)
    known = np.isfinite(best)
    closes, times = (_ROUGHLY * max(shape), 20.0) if roughly else (_CLOSES, 5.0)
    allowed = max(closes, times * float(np.median(best[known]))) if known.any() else np.inf
    return np.asarray(~known | (best <= allowed))


def doubtful(links: Iterable[Link], count: int) -> set[int]:
    """Find the sections that match their neighbours by chance, if at all.

    A section of something else may resemble one or two of its neighbours as unrelated images do now and then. It gives itself
    away against the rest of the stack: it matches less than half as many neighbours as sections here do, and none half as well.
    """
    pairs = list(links)
    typical = {}
    for distance in {link.second - link.first for link in pairs}:
        alike = [link for link in pairs if link.second - link.first == distance]
        scores = [link.match.z for link in alike if link.accepted]
        typical[distance] = len(scores) / len(alike), float(np.median(scores)) if scores else np.inf
    expected, found, best = np.zeros(count), np.zeros(count), np.zeros(count)
    for link in pairs:
        share, score = typical[link.second - link.first]
        for section in (link.first, link.second):
            expected[section] += share
            if link.accepted:
                found[section] += 1
                best[section] = max(best[section], link.match.z / score)
    return {int(z) for z in np.flatnonzero((found > 0) & (found < 0.5 * expected) & (best < 0.5))}


def components(count: int, links: Iterable[Link]) -> npt.NDArray[np.int64]:
    """Find the connected parts of the graph.

    Returns
    -------
    part : (count,) int64
        0 for the largest part, then by size; links that are not accepted do not connect.
    """
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for link in links:
        if link.accepted:
            parent[root(link.first)] = root(link.second)
    roots = np.array([root(i) for i in range(count)])
    names, sizes = np.unique(roots, return_counts=True)
    order = {int(name): rank for rank, name in enumerate(names[np.argsort(-sizes, kind="stable")])}
    return np.array([order[int(r)] for r in roots], dtype=np.int64)
