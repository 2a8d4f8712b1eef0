"""The eigenvectors of a normalised cut.

Solve ``(D - A) v = lambda D v`` for the smallest eigenvalues after the trivial one (Shi and Malik 2000). With
``M = D^-1/2 A D^-1/2`` this is the top of ``M``'s spectrum, ``lambda = 1 - mu`` and ``v = D^-1/2 z``. The first eigenvector of
``M``, ``D^1/2 1``, is known and projected out, so that a block Lanczos iteration finds the rest from products with ``A`` alone.

A block of vectors, rather than one, because one vector's Krylov space cannot see that an eigenvalue is double, which is just
what makes a cut arbitrary; and a product with four vectors costs little more than with one.

In a graph that links only neighbouring planes of a stack, the cheapest cut may run between planes. There one trivial vector for
each plane, ``D^1/2`` on its patches and 0 elsewhere, is projected out, so that every eigenvector divides the planes themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.discover.affinity import Affinity, FloatArray
from napari_dinov3.parallel import one_library_thread
from napari_dinov3.progress import Job, Progress

_SMALL = 96  # patches up to which the dense solver is as quick
# vectors multiplied at once; a power of two, for which the look-ups of bits are quickest
_WIDTH = {"dense": 4, "sparse": 8, "bits": 8, "streamed": 8}
_BASIS = 320  # most Lanczos vectors kept before a restart
_PASSES = 200
_LOOK = 2  # products from one look at the residuals to the next; a look costs about as much as a product of a small graph
_FLOOR = 1e-5  # residual that single-precision products reach with certainty
_RELATIVE_GAP = 0.01
_LEAST_GAP = 2e-5


@dataclass(frozen=True, slots=True, eq=False)
class Eigenpairs:
    """Eigenvectors of one graph.

    Parameters
    ----------
    vectors : (n, k) float32
        Generalised eigenvectors ``v``, second smallest eigenvalue first, scaled to ``v^T D v = 1``; the entry of largest
        magnitude is positive. Zero where the graph has no such vector.
    values : (k,) float64
        Generalised eigenvalues ``lambda``, 0..1 and above; NaN where there is none.
    well_posed : bool
        Whether the second eigenvalue stands apart from the third, so that the cut is decided by the data.
    passes : int
        Products with the affinity that were needed.
    """

    vectors: FloatArray = field(repr=False)
    values: npt.NDArray[np.float64]
    well_posed: bool
    passes: int


def smallest_eigenpairs_steps(
    affinity: Affinity, k: int, *, start: FloatArray | None = None, planes: Sequence[slice] | None = None
) -> Job[Eigenpairs]:
    """Find the k eigenvectors after the trivial one.

    Parameters
    ----------
    affinity : Affinity
        The graph, n patches.
    k : int
        Number of eigenvectors, at least 1; two eigenvalues are always computed, to judge whether the cut is well posed.
    start : (n, any) float32, optional
        Guesses, for example the solution of a similar graph; speeds the search, does not change its result.
    planes : sequence of slice, optional
        Patches of each plane; each plane then has a trivial vector of its own, and each eigenvector a weighted mean of 0 on it.

    Returns
    -------
    pairs : Eigenpairs

    Notes
    -----
    Block Lanczos with full reorthogonalisation and restarts on the best Ritz vectors. It stops when the residual of the first
    vector is a thousandth of the gap to the next eigenvalue (of the others: five): the error of an eigenvector is about
    residual / gap.

    References
    ----------
    Shi and Malik, "Normalized cuts and image segmentation", IEEE TPAMI 22 (2000), doi:10.1109/34.868688.
    """
    degree = affinity.degree
    n = len(degree)
    if n < 2 or affinity.density in (0.0, 1.0):
        # one patch, nothing linked or everything linked: all directions are alike, and no vector is an answer
        value = np.nan if n < 2 else 1.0 if affinity.density else _isolated_value(degree)
        values = np.where(np.arange(k) < n - 1, value, np.nan)
        return Eigenpairs(np.zeros((n, k), np.float32), values, False, 0)
    scale = (1 / np.sqrt(degree)).astype(np.float32)[:, None]
    trivial = _Trivial(degree, planes)
    wanted = min(max(k, 2), n - trivial.count)
    if wanted < 1:
        return Eigenpairs(np.zeros((n, k), np.float32), np.full(k, np.nan), False, 0)
    if n - trivial.count <= _SMALL:
        mu, z, passes = yield from _dense(affinity, scale, degree, wanted, trivial)
    else:
        mu, z, passes = yield from _lanczos(affinity, scale, wanted, start, trivial)
    values = np.full(k, np.nan)
    vectors = np.zeros((n, k), np.float32)
    kept = min(k, wanted)
    values[:kept] = 1 - mu[:kept]
    vectors[:, :kept] = scale * z[:, :kept]
    vectors *= np.where(vectors[np.abs(vectors).argmax(axis=0), np.arange(k)] < 0, -1, 1).astype(np.float32)
    return Eigenpairs(vectors, values, _is_well_posed(1 - mu), passes)


def _is_well_posed(values: npt.NDArray[np.float64]) -> bool:
    if len(values) < 2:
        return False
    gap = values[1] - values[0]
    return bool(gap > max(_LEAST_GAP, _RELATIVE_GAP * values[1]))


def _isolated_value(degree: npt.NDArray[np.float64]) -> float:
    """Eigenvalue of a graph without links, whose every row sums to the background plus 1."""
    background = float(degree[0]) - 1
    epsilon = background / (len(degree) - 1)
    return 1 - (1 - epsilon) / float(degree[0])


class _Trivial:
    """The trivial vectors, which are projected out: ``D^1/2`` on all patches, or on those of each plane.

    Parameters
    ----------
    degree : (n,) float64
        Of the graph.
    planes : sequence of slice, optional
        Patches of each plane.
    """

    def __init__(self, degree: npt.NDArray[np.float64], planes: Sequence[slice] | None) -> None:
        whole = [slice(0, len(degree))] if planes is None else [one for one in planes if one.stop > one.start]
        self.count = len(whole)
        self._columns = [(one, np.sqrt(degree[one] / degree[one].sum()).astype(np.float32)[:, None]) for one in whole]

    def remove(self, block: FloatArray) -> None:
        """Take the trivial part out of a block, in place."""
        for rows, column in self._columns:
            block[rows] -= column @ (column.T @ block[rows])

    def matrix(self) -> npt.NDArray[np.float64]:
        """(n, n) projection onto the trivial vectors."""
        n = self._columns[-1][0].stop
        full = np.zeros((n, n))
        for rows, column in self._columns:
            full[rows, rows] = column.astype(np.float64) @ column.T
        return full


def _dense(affinity: Affinity, scale: FloatArray, degree: npt.NDArray[np.float64], k: int, trivial: _Trivial) -> Job[Any]:
    n = len(scale)
    matrix = (yield from affinity.dot_steps(np.eye(n, dtype=np.float32))).astype(np.float64)
    matrix /= np.sqrt(degree[:, None] * degree)
    known = trivial.matrix()
    matrix = (matrix + matrix.T) / 2
    # moved to -3, below every eigenvalue of M, a trivial vector cannot mix with a second eigenvalue that is 0 too
    inside = np.eye(n) - known
    mu, z = np.linalg.eigh(inside @ matrix @ inside - 3 * known)
    return mu[::-1][:k], z[:, ::-1][:, :k].astype(np.float32), 1


def _lanczos(affinity: Affinity, scale: FloatArray, k: int, start: FloatArray | None, trivial: _Trivial) -> Job[Any]:
    n, width = len(scale), max(_WIDTH[affinity.storage], k + 2)
    basis = np.empty((n, _BASIS + width), np.float32, order="F")
    image = np.empty_like(basis, order="F")
    size, passes = 0, 0
    block = _starting_block(n, width, start)
    small = np.zeros((0, 0))
    while True:
        with one_library_thread():
            block = _orthonormal(block, basis[:, :size], trivial)
        new = slice(size, size + block.shape[1])
        product = yield from affinity.dot_steps(scale * block)
        product *= scale
        trivial.remove(product)
        basis[:, new], image[:, new] = block, product
        size, passes = new.stop, passes + 1
        small = _extend(small, basis[:, :size], image[:, new])
        full, last = size + width > _BASIS, passes >= _PASSES or size >= n - trivial.count
        if passes % _LOOK and not (full or last):
            block = product  # spans, with what is known, the same space as the residuals do, and costs no decomposition
            continue
        with one_library_thread():
            mu, rotation = np.linalg.eigh(small)
        mu, rotation = mu[::-1], rotation[:, ::-1].astype(np.float32)
        some = min(width, size)
        ritz, image_ritz = basis[:, :size] @ rotation[:, :some], image[:, :size] @ rotation[:, :some]
        rest = image_ritz - ritz * mu[:some].astype(np.float32)
        error = np.linalg.norm(rest, axis=0)
        yield Progress(passes, passes + 1, f"solving, residual {error[:k].max():.1e}")
        if last or np.all(error[:k] <= _tolerance(mu, k)):
            return mu[:k].astype(np.float64), ritz[:, :k], passes
        block = rest[:, error > _FLOOR / 10] if np.any(error > _FLOOR / 10) else rest
        if full:
            keep = min(size, 4 * width)
            basis[:, :keep], image[:, :keep] = basis[:, :size] @ rotation[:, :keep], image[:, :size] @ rotation[:, :keep]
            small, size = np.diag(mu[:keep]), keep


def _tolerance(mu: npt.NDArray[Any], k: int) -> npt.NDArray[np.float64]:
    """Residual below which each of the first k Ritz vectors is settled."""
    padded = np.append(mu, -1.0)
    gap = padded[:k] - padded[1 : k + 1]
    gap = np.minimum(gap, np.append(np.inf, gap[:-1]))
    # masks are made of the first vector; the others are looked at and clustered, for which a fifth of the accuracy serves
    ease = np.where(np.arange(k) == 0, 1.0, 5.0)
    tolerance: npt.NDArray[np.float64] = ease * np.clip(1e-3 * gap, _FLOOR, 1e-3)
    return tolerance


def guess_from(unit: FloatArray) -> FloatArray:
    """Guess eigenvectors from the features: about the first principal components, by two rounds of power iteration."""
    centred = unit - unit.mean(axis=0)
    block = np.random.default_rng(0).standard_normal((unit.shape[1], 8), dtype=np.float32)
    for _ in range(2):
        block = np.linalg.qr(centred.T @ (centred @ block))[0]
    guess: FloatArray = (centred @ block).astype(np.float32, copy=False)
    return guess


def _starting_block(n: int, width: int, start: FloatArray | None) -> FloatArray:
    random = np.random.default_rng(0).standard_normal((n, width), dtype=np.float32)
    if start is None:
        return random
    guess = start[:, :width]
    # a little noise in every direction: a guess that happens to lack a wanted vector must not hide it
    guess = guess / np.maximum(np.linalg.norm(guess, axis=0), 1e-20) + 1e-3 / np.sqrt(n) * random[:, : guess.shape[1]]
    return np.hstack([guess, random[:, guess.shape[1] :]]).astype(np.float32)


def _orthonormal(block: FloatArray, against: FloatArray, trivial: _Trivial) -> FloatArray:
    """Make a block orthonormal, and orthogonal to columns that are and to the trivial vectors; twice, for single precision."""
    block = block / np.maximum(np.sqrt(np.einsum("nb,nb->b", block, block)), 1e-30)
    for _ in range(2):
        block = block - against @ (against.T @ block)
        trivial.remove(block)
        block = np.linalg.qr(block)[0]
    return block


def _extend(small: npt.NDArray[Any], basis: FloatArray, new_image: FloatArray) -> npt.NDArray[Any]:
    """Grow the projection of ``M`` onto the basis by the newest block."""
    old, added = len(small), basis.T @ new_image
    grown = np.zeros((basis.shape[1],) * 2)
    grown[:old, :old] = small
    grown[:, old:] = added
    grown[old:, :old] = added[:old].T
    grown[old:, old:] = (added[old:] + added[old:].T) / 2
    return grown
