"""Solve the graph of one set of patches, and carry its eigenvectors to the patches that were left out.

Large grids. Up to `max_patches` the graph is solved directly. Beyond it every f-th patch of every f-th row is solved, and the
eigenvector of the fine grid follows from one application of the affinity between all patches and the solved ones,
``v_i = sum_j A_ij v_j / (mu d_i)`` (Nystroem), which is exact at the solved patches themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from napari_dinov3.discover.affinity import FloatArray, build_affinity_steps, link_matrix, normalise_rows
from napari_dinov3.discover.cut import CutOptions, Scaling
from napari_dinov3.discover.ncut import Eigenpairs, guess_from, smallest_eigenpairs_steps
from napari_dinov3.discover.tau import clearest, sweep_tau_steps
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.parallel import one_library_thread
from napari_dinov3.progress import Job, Progress, collect, part_of

MAX_PATCHES = 65_536
MAX_COARSE_PATCHES = 16_384
MAX_FINE_PATCHES = 8_192
_FINE_STRIDE = 8
_ONE_THREAD = 2_048
_ROWS_AT_ONCE = 1024


def scaling_of(features: FeatureMap, scaling: Scaling) -> tuple[FloatArray, FloatArray]:
    """Find what each feature is brought to before the cosine: ``(feature - mean) / spread``."""
    from napari_dinov3.features.views import sample_patches, standardisation

    if scaling == "auto":
        mean, spread = standardisation(features)
        return mean, _what_stands_out(features, spread)
    sample = sample_patches(features) if scaling == "standardize" else np.empty((0, features.dim), np.float32)
    if not len(sample):
        return np.zeros(features.dim, np.float32), np.ones(features.dim, np.float32)
    spread = sample.std(axis=0)
    return sample.mean(axis=0), np.where(spread > 1e-8, spread, 1).astype(np.float32)


def _what_stands_out(features: FeatureMap, spread: FloatArray) -> FloatArray:
    """Link patches of the filter bank by brightness and colour alone; see `scaling` in :class:`CutOptions`."""
    from napari_dinov3.backbones.filter_bank import blurred_intensities

    if features.backbone != "filter-bank" or features.revision == "unknown":
        return spread
    return np.where(blurred_intensities(features.dim), spread, np.float32(np.inf))


def solve_plane_steps(
    plane: FloatArray, valid: npt.NDArray[np.bool_], stride: float, options: CutOptions
) -> Job[tuple[Eigenpairs, float, float]]:
    """Return the eigenvectors at the valid patches, tau and the density of links."""
    unit = normalise_rows(plane[valid])
    solved = solved_patches(valid, stride, options.max_patches)
    if solved.all():
        return (yield from solve_patches_steps(unit, options))
    coarse = unit[solved]
    pairs, tau, density = yield from part_of(solve_patches_steps(coarse, options), start=0, span=900, total=1000)
    pairs = yield from part_of(extend_steps(pairs, unit, coarse, tau, options), start=900, span=100, total=1000)
    return pairs, tau, density


def solve_patches_steps(unit: FloatArray, options: CutOptions) -> Job[tuple[Eigenpairs, float, float]]:
    """Return the eigenvectors of one graph, tau and the density of links."""
    if len(unit) > _ONE_THREAD:
        return (yield from _solve_steps(unit, options))
    with one_library_thread():  # products this small wait longer for a second thread than it saves
        solved = collect(_solve_steps(unit, options))
    yield Progress(1, 1, "solved")
    return solved


def _solve_steps(unit: FloatArray, options: CutOptions) -> Job[tuple[Eigenpairs, float, float]]:
    if not len(unit):
        return Eigenpairs(np.zeros((0, options.vectors), np.float32), np.full(options.vectors, np.nan), False, 0), math.nan, 0.0
    tau = options.tau
    if tau == "auto":
        sweep = sweep_tau_steps(unit, weighting=options.weighting, epsilon=options.epsilon)
        tau = clearest((yield from part_of(sweep, start=0, span=200, total=1000)))
    build = build_affinity_steps(unit, tau=tau, weighting=options.weighting, epsilon=options.epsilon, memory_gb=options.memory_gb)
    affinity = yield from part_of(build, start=200, span=500, total=1000)
    search = smallest_eigenpairs_steps(affinity, options.vectors, start=guess_from(unit))
    pairs = yield from part_of(search, start=700, span=300, total=1000)
    return pairs, tau, affinity.density


def solved_patches(valid: npt.NDArray[np.bool_], stride: float, max_patches: int | Literal["auto"]) -> npt.NDArray[np.bool_]:
    """Mark, among the valid patches, those of the grid that is solved directly."""
    count = max(1, int(np.count_nonzero(valid)))
    if max_patches == "auto":
        direct, coarse = (MAX_FINE_PATCHES,) * 2 if stride < _FINE_STRIDE else (MAX_PATCHES, MAX_COARSE_PATCHES)
        max_patches = direct if count <= direct else coarse
    step = math.ceil(math.sqrt(count / max_patches))
    chosen = np.zeros(valid.shape, bool)
    chosen[min(step // 2, valid.shape[0] - 1) :: step, min(step // 2, valid.shape[1] - 1) :: step] = True
    if not (chosen & valid).any():
        chosen[...] = True
    marked: npt.NDArray[np.bool_] = chosen[valid]
    return marked


def extend_steps(pairs: Eigenpairs, unit: FloatArray, coarse: FloatArray, tau: float, options: CutOptions) -> Job[Eigenpairs]:
    """Carry the eigenvectors from the solved patches to all of them."""
    mu = np.where(np.isfinite(pairs.values), 1 - pairs.values, 1)
    mu = np.where(np.abs(mu) > 1e-6, mu, 1).astype(np.float32)
    # the column of ones gives the degrees in the same product
    known = np.hstack([pairs.vectors / mu, np.ones((len(coarse), 1), np.float32)])
    background = options.epsilon * known.sum(axis=0, dtype=np.float64).astype(np.float32)
    out = np.empty((len(unit), pairs.vectors.shape[1]), np.float32)
    for rows in row_blocks(len(unit)):
        links = link_matrix(unit[rows] @ coarse.T, tau, options.weighting)
        product = (1 - np.float32(options.epsilon)) * (links @ known) + background
        out[rows] = product[:, :-1] / product[:, -1:]
        yield Progress(rows.stop, len(unit), "refining on the fine grid")
    return Eigenpairs(out, pairs.values, pairs.well_posed, pairs.passes)


def row_blocks(n: int) -> Iterator[slice]:
    """Cut n rows into blocks whose cosines with all solved patches fit into little memory."""
    for start in range(0, n, _ROWS_AT_ONCE):
        yield slice(start, min(start + _ROWS_AT_ONCE, n))
