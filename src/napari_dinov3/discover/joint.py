"""One graph over all planes of a stack: one set of eigenvectors, so that objects keep their side along z or t.

Two graphs. By default patches spread over all planes are linked whatever their distance. With a `window`, only patches of
planes at most that far apart are: then the eigenvectors are sought among those that divide the planes themselves (see
:mod:`napari_dinov3.discover.ncut`), and what this leaves open is set afterwards: in each plane the eigenvector is scaled to
variance 1 (unless the plane itself is not divided, which is said), and raised so that linked patches of neighbouring planes agree
best. Both are solved on as fine a grid as fits, and carried to every patch plane by plane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from napari_dinov3.discover.affinity import FloatArray, link_matrix, normalise_rows
from napari_dinov3.discover.clarity import clarity
from napari_dinov3.discover.cut import CutOptions, PlaneCut, SolvedPlanes
from napari_dinov3.discover.ncut import Eigenpairs, guess_from, smallest_eigenpairs_steps
from napari_dinov3.discover.solve_patches import extend_steps, row_blocks, scaling_of, solve_patches_steps, solved_patches
from napari_dinov3.discover.tau import clearest, sweep_tau_steps
from napari_dinov3.discover.window_affinity import WindowAffinity, build_window_affinity_steps
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import Job, Progress, collect, part_of
from napari_dinov3.wording import counted

MAX_JOINT_PATCHES = 8_192
MAX_WINDOW_PATCHES = 100_000
MAX_WINDOW_PAIRS = 1 << 29
_MOST_LOST = 0.5  # part of its own links that a plane loses where it is divided; noise loses nearly all


@dataclass(frozen=True, slots=True, eq=False)
class _Solved:
    """Solution at some patches: of plane ``read[i]`` those in ``units[i]``, ``chosen[i]`` of its valid ones."""

    pairs: Eigenpairs
    tau: float
    density: float
    read: list[int]
    units: list[FloatArray]
    chosen: list[npt.NDArray[np.bool_]]
    scales: FloatArray  # (planes read, k) factors of the eigenvectors in each plane, and what is then added
    heights: FloatArray
    undivided: frozenset[int]

    @property
    def rows(self) -> list[slice]:
        """Where each plane's patches lie in ``pairs.vectors``."""
        ends = np.cumsum([0, *map(len, self.units)]).tolist()
        return [slice(start, stop) for start, stop in pairwise(ends)]


def solve_joint_steps(features: FeatureMap, options: CutOptions, solved: SolvedPlanes) -> Job[None]:
    """Solve the graph of a stack, then extend its eigenvectors plane by plane into `solved`."""
    count, total = len(features), 3000
    mean, spread = scaling_of(features, options.scaling)
    if solved.shared is None:
        parts = yield from part_of(_read_steps(features, options, mean, spread), start=0, span=1000, total=total)
        solve = _solve_all_steps if options.window is None else _solve_window_steps
        solved.shared = yield from part_of(solve(*parts, options), start=1000, span=1000, total=total)
    found: _Solved = solved.shared
    together = _together(found.units, features.dim)
    for index in range(count):
        yield Progress(2000 + 1000 * index // count, total, f"plane {index + 1} of {count}")
        if index in solved.planes:
            continue
        plane = (features.plane(index) - mean) / spread
        valid = np.isfinite(plane).all(axis=2)
        unit = normalise_rows(plane[valid])
        vectors = np.zeros((len(unit), options.vectors), np.float32)
        if len(unit) and len(together):
            if options.window is None:
                vectors = collect(extend_steps(found.pairs, unit, together, found.tau, options)).vectors
            else:
                vectors = _extended_in_window(found, index, unit, options)
        divided = found.pairs.well_posed and index not in found.undivided
        judged = clarity(plane, valid, found.tau, options)
        solved.planes[index] = PlaneCut(vectors, found.pairs.values, divided, found.tau, found.density, valid, judged)
    yield Progress(total, total, f"{counted(count, 'plane')} solved together")


def _read_steps(
    features: FeatureMap, options: CutOptions, mean: FloatArray, spread: FloatArray
) -> Job[tuple[list[int], list[FloatArray], list[npt.NDArray[np.bool_]]]]:
    """Read the patches that are solved: a sample of all planes, or, with a window, a grid in every plane."""
    count, units, marked = len(features), [], []
    if options.window is None:
        most = MAX_JOINT_PATCHES if options.max_patches == "auto" else options.max_patches
        read = np.unique(np.linspace(0, count - 1, min(count, most // 4)).round().astype(int)).tolist()
        each = max(4, most // len(read))
    else:
        read, each = list(range(count)), _patches_a_plane(count, options.window, options.max_patches)
    planes = []
    for done, index in enumerate(read):
        yield Progress(done, len(read), f"reading plane {index + 1}")
        plane = (features.plane(index) - mean) / spread
        valid = np.isfinite(plane).all(axis=2)
        chosen = solved_patches(valid, features.stride, each)
        if chosen.any():  # the planes on either side of one without a finite feature are neighbours
            planes.append(index)
            units.append(normalise_rows(plane[valid][chosen]))
            marked.append(chosen)
    return planes, units, marked


def _together(units: list[FloatArray], dim: int) -> FloatArray:
    return np.concatenate(units) if units else np.zeros((0, dim), np.float32)


def _patches_a_plane(planes: int, window: int, max_patches: int | str) -> int:
    """Tell how many patches of each plane fit into a windowed graph."""
    if not isinstance(max_patches, str):
        return max(4, max_patches // planes)
    linked = planes * min(planes, 2 * window + 1)
    return max(4, min(math.isqrt(MAX_WINDOW_PAIRS // linked), MAX_WINDOW_PATCHES // planes))


def _solve_all_steps(
    read: list[int], units: list[FloatArray], chosen: list[npt.NDArray[np.bool_]], options: CutOptions
) -> Job[_Solved]:
    pairs, tau, density = yield from solve_patches_steps(_together(units, 1), options)
    return _Solved(pairs, tau, density, read, units, chosen, *_plain(len(read), options.vectors), frozenset())


def _solve_window_steps(
    read: list[int], units: list[FloatArray], chosen: list[npt.NDArray[np.bool_]], options: CutOptions
) -> Job[_Solved]:
    assert options.window is not None  # chosen by the caller
    together = _together(units, 1)
    if not len(together):
        pairs = Eigenpairs(np.zeros((0, options.vectors), np.float32), np.full(options.vectors, np.nan), False, 0)
        return _Solved(pairs, math.nan, 0.0, read, units, chosen, *_plain(len(read), options.vectors), frozenset())
    tau = options.tau
    if tau == "auto":
        sweep = sweep_tau_steps(together, weighting=options.weighting, epsilon=options.epsilon)
        tau = clearest((yield from part_of(sweep, start=0, span=200, total=1000)))
    build = build_window_affinity_steps(units, tau=tau, window=options.window, epsilon=options.epsilon)
    affinity = yield from part_of(build, start=200, span=400, total=1000)
    search = smallest_eigenpairs_steps(affinity, options.vectors, start=guess_from(together), planes=affinity.planes)
    pairs = yield from part_of(search, start=600, span=400, total=1000)
    if not pairs.vectors.any():
        return _Solved(pairs, tau, affinity.density, read, units, chosen, *_plain(len(read), options.vectors), frozenset())
    scales, lost = _scales(affinity, pairs.vectors)
    heights = _heights(affinity, pairs.vectors * np.repeat(scales, affinity.sizes, axis=0))
    undivided = frozenset(np.array(read)[lost[:, 0] > _MOST_LOST].tolist())
    return _Solved(pairs, tau, affinity.density, read, units, chosen, scales, heights, undivided)


def _plain(planes: int, k: int) -> tuple[FloatArray, FloatArray]:
    return np.ones((planes, k), np.float32), np.zeros((planes, k), np.float32)


def _scales(affinity: WindowAffinity, vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Find the factor that gives each plane's part of each eigenvector variance 1, and the part of its links that it cuts.

    Planes that an eigenvector does not divide are scaled as the plane of largest variance, so that their noise stays small.
    """
    scales = np.ones((len(affinity.sizes), vectors.shape[1]), np.float32)
    lost = np.ones_like(scales)
    for p, rows in enumerate(affinity.planes):
        own = vectors[rows].astype(np.float64)
        both = np.hstack([own, np.ones((len(own), 1))]).astype(np.float32)
        sums = affinity.between(p, p, both).astype(np.float64)
        degree = sums[:, -1:]
        own -= (degree * own).sum(axis=0) / degree.sum()
        power = (degree * own**2).sum(axis=0)
        kept = (own * affinity.between(p, p, own.astype(np.float32))).sum(axis=0)
        lost[p] = 1 - np.divide(kept, power, out=np.zeros_like(kept), where=power > 0)
        scales[p] = 1 / np.maximum(own.std(axis=0), 1e-20)
    divided = lost <= _MOST_LOST
    least = np.where(divided, scales, np.inf).min(axis=0)
    return np.where(divided, scales, np.where(np.isfinite(least), least, 1)).astype(np.float32), lost


def _heights(affinity: WindowAffinity, vectors: FloatArray) -> FloatArray:
    """Find what to add to each plane so that linked patches of different planes agree best (least squares over all links)."""
    where, planes = affinity.planes, len(affinity.sizes)
    with_ones = np.hstack([vectors, np.ones((len(vectors), 1), np.float32)])
    laplacian, right = np.zeros((planes, planes)), np.zeros((planes, vectors.shape[1]))
    for p, neighbours in enumerate(affinity.bits):
        for q in neighbours:
            if p == q:
                continue
            sums = affinity.between(p, q, with_ones[where[q]]).astype(np.float64)
            links = float(sums[:, -1].sum())
            laplacian[p, p] += links
            laplacian[p, q] -= links
            right[p] += sums[:, :-1].sum(axis=0) - sums[:, -1] @ vectors[where[p]]
    heights = np.linalg.lstsq(laplacian, right, rcond=None)[0]
    sizes = np.array(affinity.sizes, np.float64)
    heights -= (sizes @ heights) / max(1.0, sizes.sum())
    return np.asarray(heights, np.float32)


def _extended_in_window(found: _Solved, index: int, unit: FloatArray, options: CutOptions) -> FloatArray:
    """Carry the solution to all valid patches of a plane, from the solved patches of the planes within the window."""
    assert options.window is not None  # chosen by the caller
    at = found.read.index(index)  # a plane with patches was read
    rows, vectors, scale, height = found.rows, found.pairs.vectors, found.scales[at], found.heights[at]
    chosen, own = found.chosen[at], found.pairs.vectors[rows[at]]
    if chosen.all():
        return np.asarray(own * scale + height, np.float32)
    near = range(max(0, at - options.window), min(len(found.units), at + options.window + 1))
    coarse = np.concatenate([found.units[q] for q in near])
    known = np.concatenate([vectors[rows[q]] for q in near])
    known = np.hstack([known, np.ones((len(known), 1), np.float32)])
    background = options.epsilon * np.append(vectors.sum(axis=0), len(vectors)).astype(np.float32)
    out = np.empty((len(unit), vectors.shape[1]), np.float32)
    for part in row_blocks(len(unit)):
        links = link_matrix(unit[part] @ coarse.T, found.tau, options.weighting)
        product = (1 - np.float32(options.epsilon)) * (links @ known) + background
        out[part] = product[:, :-1] / product[:, -1:]
    # within a plane D^-1 A v = mu v + a constant, as the plane's trivial vector was projected out
    mu = np.where(np.isfinite(found.pairs.values), 1 - found.pairs.values, 1)
    mu = np.where(np.abs(mu) > 1e-6, mu, 1).astype(np.float32)
    if len(own):
        out -= (out[chosen] - mu * own).mean(axis=0)
    out /= mu
    out[chosen] = own
    return np.asarray(out * scale + height, np.float32)
