"""The graph of a stack: which sections were compared, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.quality import MatchQuality
from napari_dinov3.geometry import Matrix

DEFAULT_REACH = (1, 2, 3)


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
    """

    first: int
    second: int
    matrix: Matrix = field(repr=False)
    match: MatchQuality

    @property
    def accepted(self) -> bool:
        """Whether the two sections match."""
        return self.match.accepted

    @property
    def weight(self) -> float:
        """Trust before residuals are known: signal-to-noise of the agreement, less over more sections."""
        r = min(max(self.match.agreement, 0.05), 0.98)
        return r * r / (1 - r * r) / (self.second - self.first) ** 2


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
