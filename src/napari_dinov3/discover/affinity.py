"""Which patches are alike: the graph that a normalised cut divides.

``A = (1 - epsilon) B + epsilon 1 1^T``. ``B`` holds the links (pairs of patches whose cosine exceeds tau): 1 each in the binary
graph, the cosine in the weighted one. Every patch is linked to itself. Only products ``A @ x`` are ever needed, so ``B`` is kept
in whichever form is smallest and quickest for its size and density, or not kept at all; the product is the same:

========== =========================== =================================================
storage    memory for n patches        chosen
========== =========================== =================================================
dense      4 n^2 bytes                 up to 2,048 patches (8,192 in the weighted graph)
sparse     8 bytes a link (CSR)        above, where less than one pair in 64 is linked
bits       n^2 / 8 bytes               above, binary graph
streamed   none (rebuilt each product) where nothing else fits the memory budget
========== =========================== =================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from napari_dinov3.parallel import one_library_thread
from napari_dinov3.progress import Job, Progress

FloatArray = npt.NDArray[np.float32]
Storage = Literal["dense", "sparse", "bits", "streamed"]
Weighting = Literal["binary", "cosine"]

EPSILON = 1e-5
_DENSE_PATCHES = {"binary": 2048, "cosine": 8192}  # bits are quicker above, where the links are equal
_ONE_THREAD = 2048  # products of so few patches are no quicker on several threads
_DOUBLE_PATCHES = 640
_TILE = 2048  # a 16 MB tile of cosines: large enough for the matrix product, small enough to stay out of the budget
_GROUPS = 128  # bytes whose tables are built together
_SPARSE_DENSITY = 1 / 64  # below it CSR is smaller than bits


class Affinity(Protocol):
    """A symmetric affinity matrix, known by its products."""

    @property
    def storage(self) -> Storage:
        """How the links are kept."""

    @property
    def degree(self) -> npt.NDArray[np.float64]:
        """(n,) sums of the rows of ``A``."""

    @property
    def density(self) -> float:
        """Part of all pairs of different patches that are linked, 0..1."""

    def dot_steps(self, x: FloatArray) -> Job[FloatArray]:
        """Multiply: ``(n, b) float32 -> A @ x``, as a job."""


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """What every storage knows: the degrees and the number of links."""

    n: int
    epsilon: float
    links: int  # off the diagonal, both directions
    row_sums: npt.NDArray[np.float64] = field(repr=False)  # of B

    @property
    def degree(self) -> npt.NDArray[np.float64]:
        """(n,) sums of the rows of ``A``."""
        return (1 - self.epsilon) * self.row_sums + self.epsilon * self.n

    @property
    def density(self) -> float:
        """Part of all pairs of different patches that are linked."""
        return self.links / max(1, self.n * (self.n - 1))

    def _with_background(self, product: npt.NDArray[Any], x: FloatArray) -> FloatArray:
        """Turn ``B @ x`` into ``A @ x``, in place where the type allows."""
        product *= 1 - self.epsilon
        product += self.epsilon * x.sum(axis=0, dtype=np.float64)
        return product.astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True, eq=False)
class DenseAffinity(Links):
    """``B`` as an ``(n, n)`` float32 array."""

    matrix: FloatArray = field(repr=False)
    storage: Storage = "dense"

    def dot_steps(self, x: FloatArray) -> Job[FloatArray]:
        """Multiply by one matrix product."""
        yield from ()
        if self.n > _ONE_THREAD:
            return self._with_background(self.matrix @ x, x)
        with one_library_thread():
            return self._with_background(self.matrix @ x, x)


@dataclass(frozen=True, slots=True, eq=False)
class SparseAffinity(Links):
    """``B`` in compressed sparse rows."""

    matrix: Any = field(repr=False)
    storage: Storage = "sparse"

    def dot_steps(self, x: FloatArray) -> Job[FloatArray]:
        """Multiply by one sparse product."""
        yield from ()
        return self._with_background(self.matrix @ x, x)


@dataclass(frozen=True, slots=True, eq=False)
class BitAffinity(Links):
    """Links of the binary graph, one bit each.

    ``bits`` : (ceil(n / 8), n) uint8. Bit ``7 - j`` of ``bits[g, i]`` says whether patches ``8 g + j`` and ``i`` are linked.
    """

    bits: npt.NDArray[np.uint8] = field(repr=False)
    storage: Storage = "bits"

    def dot_steps(self, x: FloatArray) -> Job[FloatArray]:
        """Multiply without unpacking.

        For every group of eight patches, look up the sum its byte stands for (the method of Four Russians): one look-up
        instead of eight multiplications.
        """
        groups, width = self.bits.shape[0], x.shape[1]
        padded = np.zeros((groups * 8, width), np.float32)
        padded[: self.n] = x
        total = np.zeros((self.n, width), np.float64)
        part = np.empty((self.n, width), np.float32)
        found = np.empty_like(part)
        at = np.empty(self.n, np.intp)
        for start in range(0, groups, _GROUPS):
            yield Progress(start, groups, "multiplying")
            part[...] = 0
            tables = byte_sums(padded[8 * start : 8 * (start + _GROUPS)].reshape(-1, 8, width))
            for table, group in zip(tables, self.bits[start : start + _GROUPS], strict=True):
                np.copyto(at, group)
                table.take(at, axis=0, out=found, mode="clip")
                part += found
            total += part  # partial sums in double precision keep the error of 8,000 additions down
        return self._with_background(total, x)


@dataclass(frozen=True, slots=True, eq=False)
class StreamedAffinity(Links):
    """Links formed by blocks from the features at every product, and never stored."""

    unit: FloatArray = field(repr=False)
    tau: float
    weighting: Weighting
    storage: Storage = "streamed"

    def dot_steps(self, x: FloatArray) -> Job[FloatArray]:
        """Multiply block by block, using each block for both of its triangles."""
        total = np.zeros(x.shape, np.float64)
        blocks = list(_tiles(self.n))
        for done, (rows, cols) in enumerate(blocks):
            links = link_matrix(self.unit[rows] @ self.unit[cols].T, self.tau, self.weighting, rows == cols)
            total[rows] += links @ x[cols]
            if rows != cols:
                total[cols] += links.T @ x[rows]
            yield Progress(done + 1, len(blocks), "multiplying")
        return self._with_background(total, x)


def normalise_rows(features: FloatArray) -> FloatArray:
    """Scale feature vectors to length 1; vectors of length 0 stay 0 and are like nothing but themselves.

    Few vectors are kept in double precision: in a small graph one pair on the wrong side of tau shows.
    """
    features = features.astype(np.float64 if len(features) <= _DOUBLE_PATCHES else np.float32, copy=False)
    length = np.sqrt(np.einsum("nd,nd->n", features, features))[:, None]
    unit: FloatArray = np.divide(features, length, out=np.zeros_like(features), where=length > 0)
    return unit


def build_affinity_steps(
    unit: FloatArray,
    *,
    tau: float,
    weighting: Weighting = "binary",
    epsilon: float = EPSILON,
    memory_gb: float = 2.0,
    storage: Storage | None = None,
) -> Job[Affinity]:
    """Link the patches whose cosine exceeds tau.

    Parameters
    ----------
    unit : (n, dim) float32
        Feature vectors of length 1.
    tau : float
        Cosine above which two patches are linked, -1..1.
    weighting : {"binary", "cosine"}
        Whether a link counts 1, as in the paper, or its cosine.
    epsilon : float
        Affinity of patches that are not linked; keeps the graph in one piece.
    memory_gb : float
        Most memory the stored links may take.
    storage : str, optional
        Overrides the choice by size and density.

    Returns
    -------
    affinity : Affinity
    """
    n = len(unit)
    storage = storage or _choose_storage(unit, tau, weighting, memory_gb)
    if storage == "dense":
        matrix = _dense_links(unit, tau, weighting)
        # a product is ten times quicker than .sum(), and exact while the counts stay below 2^24
        sums = np.asarray(matrix @ np.ones(n, np.float32), dtype=np.float64)
        links = round(float(sums.sum())) if weighting == "binary" else int(np.count_nonzero(matrix))
        return DenseAffinity(n, epsilon, links - n, sums, matrix)
    build = {"sparse": _build_sparse, "bits": _build_bits, "streamed": _build_streamed}[storage]
    return (yield from build(unit, tau, weighting, epsilon))


def _dense_links(unit: FloatArray, tau: float, weighting: Weighting) -> FloatArray:
    if unit.dtype == np.float32 and weighting == "binary" and tau >= 0:
        from scipy.linalg.blas import ssyrk

        # one triangle of cosines, the other left 0: numpy would copy it element by element, four times slower than bytes are
        cosine = ssyrk(1.0, unit.T, trans=1).T
        linked = cosine > tau
        np.fill_diagonal(linked, True)
        np.copyto(cosine, linked | linked.T)
        return np.asarray(cosine)
    return link_matrix(unit @ unit.T, tau, weighting, True).astype(np.float32, copy=False)


def _build_bits(unit: FloatArray, tau: float, weighting: Weighting, epsilon: float) -> Job[Affinity]:
    n = len(unit)
    bits = np.zeros((-(-n // 8), n), np.uint8)
    tiles = list(_tiles(n))
    for done, (rows, cols) in enumerate(tiles):
        linked = unit[rows] @ unit[cols].T > tau
        if rows == cols:
            np.fill_diagonal(linked, True)
        bits[rows.start // 8 : -(-rows.stop // 8), cols] = np.packbits(linked, axis=0)
        if rows != cols:
            bits[cols.start // 8 : -(-cols.stop // 8), rows] = np.packbits(linked, axis=1).T
        yield Progress(done + 1, len(tiles), "comparing patches")
    # with epsilon 0 and no row sums yet, the product with ones is the row sums
    sums = yield from BitAffinity(n, 0.0, 0, np.zeros(n), bits).dot_steps(np.ones((n, 1), np.float32))
    row_sums = sums[:, 0].astype(np.float64)
    return BitAffinity(n, epsilon, round(float(row_sums.sum())) - n, row_sums, bits)


def _build_sparse(unit: FloatArray, tau: float, weighting: Weighting, epsilon: float) -> Job[Affinity]:
    from scipy.sparse import coo_array

    n = len(unit)
    parts = []
    tiles = list(_tiles(n))
    for done, (rows, cols) in enumerate(tiles):
        tile = link_matrix(unit[rows] @ unit[cols].T, tau, weighting, rows == cols)
        row, col = np.nonzero(tile)
        weights = tile[row, col]
        row, col = (row + rows.start).astype(np.int32), (col + cols.start).astype(np.int32)
        parts.append((row, col, weights))
        if rows != cols:
            parts.append((col, row, weights))
        yield Progress(done + 1, len(tiles), "comparing patches")
    row, col, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    matrix = coo_array((weights, (row, col)), shape=(n, n)).tocsr()
    return SparseAffinity(n, epsilon, len(weights) - n, np.asarray(matrix.sum(axis=1), dtype=np.float64), matrix)


def _build_streamed(unit: FloatArray, tau: float, weighting: Weighting, epsilon: float) -> Job[Affinity]:
    n, links = len(unit), 0
    sums = np.zeros(n)
    tiles = list(_tiles(n))
    for done, (rows, cols) in enumerate(tiles):
        tile = link_matrix(unit[rows] @ unit[cols].T, tau, weighting, rows == cols)
        sums[rows] += tile.sum(axis=1, dtype=np.float64)
        links += int(np.count_nonzero(tile)) * (1 if rows == cols else 2)
        if rows != cols:
            sums[cols] += tile.sum(axis=0, dtype=np.float64)
        yield Progress(done + 1, len(tiles), "comparing patches")
    return StreamedAffinity(n, epsilon, links - n, sums, unit, tau, weighting)


def _choose_storage(unit: FloatArray, tau: float, weighting: Weighting, memory_gb: float) -> Storage:
    n, budget = len(unit), memory_gb * 1e9
    if n <= _DENSE_PATCHES[weighting] and 4 * n * n <= budget:
        return "dense"
    sample = unit[:: max(1, n // 128)]
    density = float(np.mean(sample @ sample.T > tau))
    # both triangles and the intermediate coordinate lists are alive together, hence 24 bytes a link rather than 8
    fits_sparse = 24 * density * n * n <= budget
    if fits_sparse and (density < _SPARSE_DENSITY or weighting == "cosine"):
        return "sparse"
    if weighting == "binary" and n * n / 8 <= budget:
        return "bits"
    return "streamed"


def _tiles(n: int) -> Iterator[tuple[slice, slice]]:
    """Cut the upper triangle of an n x n matrix; starts are multiples of 8, as the bits need."""
    tile = _TILE if n > 4 * _TILE else _TILE // 2  # smaller tiles leave out more of the lower triangle of a small matrix
    cuts = [slice(start, min(start + tile, n)) for start in range(0, n, tile)]
    for i, rows in enumerate(cuts):
        for cols in cuts[i:]:
            yield rows, cols


def link_matrix(cosine: FloatArray, tau: float, weighting: Weighting, on_diagonal: bool = False) -> FloatArray:
    """Turn a block of cosines into the block of ``B``, in place; on the diagonal every patch is linked to itself."""
    if weighting == "binary":
        np.greater(cosine, tau, out=cosine, casting="unsafe")
    else:
        cosine *= cosine > max(tau, 0.0)  # a negative weight is no affinity
    if on_diagonal:
        np.fill_diagonal(cosine, 1)
    return cosine


def byte_sums(eights: FloatArray) -> FloatArray:
    """Tabulate the 256 sums of subsets of eight rows, the first row being the highest bit: (g, 8, b) -> (g, 256, b)."""
    sums = np.zeros((len(eights), 256, eights.shape[2]), np.float32)
    for bit in range(8):
        size = 1 << bit
        np.add(sums[:, :size], eights[:, 7 - bit, None], out=sums[:, size : 2 * size])
    return sums
