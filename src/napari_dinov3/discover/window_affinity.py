"""The graph of a stack in which only patches of neighbouring planes are linked.

Patches are ordered plane by plane. Links are kept one bit each, per plane: its patches against those of all planes at most
`window` away. Memory and time grow with the number of planes, not with its square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from napari_dinov3.discover.affinity import EPSILON, FloatArray, Links, Storage, byte_sums
from napari_dinov3.progress import Job, Progress

Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class WindowAffinity(Links):
    """Links of the binary graph between planes at most `window` apart.

    ``sizes`` : patches of each plane. ``bits[p][q]`` : (ceil(n_q / 8), n_p) uint8; bit ``7 - j`` of its row ``g`` and column
    ``i`` says whether patch ``8 g + j`` of plane ``q`` and patch ``i`` of plane ``p`` are linked.
    """

    sizes: tuple[int, ...]
    bits: tuple[dict[int, Bits], ...] = field(repr=False)
    storage: Storage = "bits"

    @property
    def planes(self) -> list[slice]:
        """Where the patches of each plane lie in a vector of all of them."""
        ends = np.cumsum((0, *self.sizes)).tolist()
        return [slice(start, stop) for start, stop in pairwise(ends)]

    @property
    def density(self) -> float:
        """Part of the pairs of different patches in planes that may be linked."""
        pairs = sum(self.sizes[p] * self.sizes[q] for p, row in enumerate(self.bits) for q in row) - self.n
        return self.links / max(1, pairs)

    def dot_steps(self, x: FloatArray) -> Job[FloatArray]:
        """Multiply by looking up, for every group of eight patches, the sum its byte stands for."""
        total = np.zeros(x.shape, np.float64)
        where = self.planes
        tables: dict[int, FloatArray] = {}
        for plane, neighbours in enumerate(self.bits):
            tables = {q: tables[q] if q in tables else _tables(x[where[q]]) for q in neighbours}
            for q, bits in neighbours.items():
                total[where[plane]] += _look_up(tables[q], bits)
            yield Progress(plane + 1, len(self.bits), "multiplying")
        return self._with_background(total, x)

    def between(self, plane: int, other: int, x: FloatArray) -> FloatArray:
        """Sum, for each patch of a plane, `x` over the patches of another plane that it is linked to.

        ``x`` : (n_other, b), ``(n_plane, b)`` is returned.
        """
        return _look_up(_tables(x), self.bits[plane][other])


def build_window_affinity_steps(
    planes: Sequence[FloatArray], *, tau: float, window: int, epsilon: float = EPSILON
) -> Job[WindowAffinity]:
    """Link patches of neighbouring planes whose cosine exceeds tau.

    Parameters
    ----------
    planes : sequence of (n_p, dim) float32
        Feature vectors of length 1 of each plane.
    tau : float
        Cosine above which two patches are linked, -1..1.
    window : int
        Planes at most this far apart are linked, 1 or more.
    epsilon : float
        Affinity of all patches that are not linked.

    Returns
    -------
    affinity : WindowAffinity
        The binary graph.
    """
    count = len(planes)
    bits: tuple[dict[int, Bits], ...] = tuple({} for _ in planes)
    for p, unit in enumerate(planes):
        for q in range(p, min(count, p + window + 1)):
            linked = unit @ planes[q].T > tau
            if p == q:
                np.fill_diagonal(linked, True)
            bits[q][p] = np.packbits(linked, axis=0)
            if p != q:
                bits[p][q] = np.packbits(linked.T, axis=0)
        yield Progress(p + 1, count, f"comparing the patches of plane {p + 1} of {count}")
    sizes = tuple(len(unit) for unit in planes)
    n = sum(sizes)
    ordered = tuple(dict(sorted(row.items())) for row in bits)
    ones = np.ones((n, 1), np.float32)
    # with epsilon 0 and no row sums yet, the product with ones is the row sums
    sums = yield from WindowAffinity(n, 0.0, 0, np.zeros(n), sizes, ordered).dot_steps(ones)
    row_sums = sums[:, 0].astype(np.float64)
    return WindowAffinity(n, epsilon, round(float(row_sums.sum())) - n, row_sums, sizes, ordered)


def _tables(x: FloatArray) -> FloatArray:
    groups = -(-len(x) // 8)
    padded = np.zeros((groups * 8, x.shape[1]), np.float32)
    padded[: len(x)] = x
    return byte_sums(padded.reshape(groups, 8, x.shape[1]))


def _look_up(tables: FloatArray, bits: Bits) -> FloatArray:
    part = np.zeros((bits.shape[1], tables.shape[2]), np.float32)
    found = np.empty_like(part)
    at = np.empty(bits.shape[1], np.intp)
    for table, group in zip(tables, bits, strict=True):
        np.copyto(at, group)
        table.take(at, axis=0, out=found, mode="clip")
        part += found
    return part
