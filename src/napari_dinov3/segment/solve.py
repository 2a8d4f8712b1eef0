"""Solve the normalised cut of every plane of a feature map, and keep the eigenvectors.

The solve is the long part; masks are made from the eigenvectors by :mod:`napari_dinov3.segment.masks` as often as wanted.

Large grids. Up to `max_patches` the cut is solved directly. Beyond it every f-th patch of every f-th row is solved, and the
eigenvector of the fine grid follows from one application of the affinity between all patches and the solved ones,
``v_i = sum_j A_ij v_j / (mu d_i)`` (Nystroem), which is exact at the solved patches themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import Job, Progress, collect, part_of
from napari_dinov3.segment.affinity import EPSILON, FloatArray, Weighting, build_affinity_steps, link_matrix, normalise_rows
from napari_dinov3.segment.ncut import Eigenpairs, guess_from, smallest_eigenpairs_steps
from napari_dinov3.segment.tau import clearest, sweep_tau_steps

Scaling = Literal["auto", "none", "standardize"]
Stack = Literal["planes", "joint"]
MAX_PATCHES = 65_536
MAX_FINE_PATCHES = 8_192
MAX_JOINT_PATCHES = 8_192
_FINE_STRIDE = 8
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class CutOptions:
    """How patches are linked, and how the cut is solved.

    Parameters
    ----------
    tau : float or "auto"
        Cosine above which two patches are linked, -1..1. ``"auto"`` tries 0..0.95, and the deciles above, on a sample of
        each plane and takes the threshold with the widest eigengap.
    scaling : {"auto", "none", "standardize"}
        Whether each feature is brought to mean 0 and variance 1 over the stack before the cosine. ``"auto"`` does so for the
        filter bank, whose features have all kinds of sizes (their plain cosines all lie near 1), and takes of it only the
        intensities blurred by 1 to 8 pixels: edges and textures split outlines off from their objects. Features of other
        backbones are compared as they are.
    weighting : {"binary", "cosine"}
        Whether a link counts 1 (the paper) or its cosine.
    epsilon : float
        Affinity of patches that are not linked.
    vectors : int
        How many eigenvectors are kept.
    max_patches : int or "auto"
        Most patches solved directly (see the module's notes). ``"auto"``: 65,536, or 8,192 where patches are closer than
        8 pixels, since features on so fine a grid repeat each other.
    memory_gb : float
        Most memory for the links.
    stack : {"planes", "joint"}
        Whether each plane is cut on its own, as in the paper, or all planes together: one graph of patches from every plane, one
        set of eigenvectors, one split, so that objects keep their side along z or t.
    """

    tau: float | Literal["auto"] = "auto"
    scaling: Scaling = "auto"
    weighting: Weighting = "binary"
    epsilon: float = EPSILON
    vectors: int = 2
    max_patches: int | Literal["auto"] = "auto"
    memory_gb: float = 2.0
    stack: Stack = "planes"

    def __post_init__(self) -> None:
        if self.tau != "auto" and not _is_number(self.tau, -1, 1):
            raise InputError(f"tau={self.tau!r}", "a cosine in -1..1, or 'auto'", "Try tau='auto', or values around 0.2 and 0.9")
        for name, allowed in (("scaling", Scaling), ("weighting", Weighting), ("stack", Stack)):
            if getattr(self, name) not in get_args(allowed):
                raise InputError(f"{name}={getattr(self, name)!r}", f"one of {', '.join(get_args(allowed))}", "Choose another")
        if not 0 < self.epsilon < 1:
            raise InputError(f"epsilon={self.epsilon}", "an affinity in 0..1, without the ends", "Use the paper's 1e-5")
        if self.vectors < 1:
            raise InputError(f"vectors={self.vectors}", "at least one eigenvector", "Use 2")
        if self.max_patches != "auto" and not _is_number(self.max_patches, 4, math.inf):
            raise InputError(f"max_patches={self.max_patches!r}", "at least 4 patches, or 'auto'", "Use 'auto'")
        if not self.memory_gb > 0:
            raise InputError(f"memory_gb={self.memory_gb}", "a positive number of gigabytes", "Use 2")


@dataclass(frozen=True, slots=True, eq=False)
class NormalisedCut:
    """Solved cuts of all planes.

    Parameters
    ----------
    eigenvectors : (planes, rows, cols, k) float32
        Generalised eigenvectors ``v``, the second smallest eigenvalue first; the entry of largest magnitude is positive.
    eigenvalues : (planes, k) float64
        NaN where the plane has no such eigenvector.
    well_posed : (planes,) bool
        Whether the second eigenvalue stands apart from the third; a mask made otherwise is arbitrary.
    tau : (planes,) float64
        Threshold used.
    density : (planes,) float64
        Part of the pairs of patches that are linked.
    valid : (planes, rows, cols) bool
        Patches that took part: those without NaN.
    stride, first_centre, image_shape
        Where the patches lie, as in :class:`~napari_dinov3.features.feature_map.FeatureMap`.
    options : CutOptions
        How it was solved.
    """

    eigenvectors: FloatArray = field(repr=False)
    eigenvalues: npt.NDArray[np.float64]
    well_posed: npt.NDArray[np.bool_]
    tau: npt.NDArray[np.float64]
    density: npt.NDArray[np.float64] = field(repr=False)
    valid: npt.NDArray[np.bool_] = field(repr=False)
    stride: float
    first_centre: float
    image_shape: tuple[int, int]
    options: CutOptions

    def __len__(self) -> int:
        return len(self.eigenvectors)


def _is_number(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and low <= float(value) <= high


def solve_steps(features: FeatureMap, options: CutOptions) -> Job[NormalisedCut]:
    """Solve the normalised cut of every plane.

    Parameters
    ----------
    features : FeatureMap
        Read plane by plane.
    options : CutOptions
        How patches are linked.

    Returns
    -------
    cut : NormalisedCut
    """
    if options.stack == "joint" and len(features) > 1:
        return (yield from _solve_joint_steps(features, options))
    planes, (rows, cols), k = len(features), features.grid, options.vectors
    vectors = np.zeros((planes, rows, cols, k), np.float32)
    values = np.full((planes, k), np.nan)
    valid = np.zeros((planes, rows, cols), bool)
    well_posed = np.zeros(planes, bool)
    tau, density = np.full(planes, np.nan), np.zeros(planes)
    mean, spread = _scaling(features, options.scaling)
    total = 1000 * planes
    for index in range(planes):
        plane = (features.plane(index) - mean) / spread
        valid[index] = np.isfinite(plane).all(axis=2)
        job = _solve_plane(plane, valid[index], features.stride, options)
        pairs, tau[index], density[index] = yield from part_of(job, start=1000 * index, span=1000, total=total)
        vectors[index][valid[index]] = pairs.vectors
        values[index], well_posed[index] = pairs.values, pairs.well_posed
        yield Progress(1000 * (index + 1), total, f"plane {index + 1} of {planes} solved")
    return NormalisedCut(
        vectors, values, well_posed, tau, density, valid, features.stride, features.first_centre, features.image_shape, options
    )


def _solve_joint_steps(features: FeatureMap, options: CutOptions) -> Job[NormalisedCut]:
    """Solve one graph of patches spread over all planes, then extend its eigenvectors to every patch plane by plane."""
    planes, (rows, cols), k = len(features), features.grid, options.vectors
    mean, spread = _scaling(features, options.scaling)
    most = MAX_JOINT_PATCHES if options.max_patches == "auto" else options.max_patches
    read = np.unique(np.linspace(0, planes - 1, min(planes, most // 4)).round().astype(int))
    total = 1000 + 2000
    parts = []
    for done, index in enumerate(read):
        yield Progress(1000 * done // len(read), total, f"sampling plane {index + 1}")
        plane = (features.plane(int(index)) - mean) / spread
        valid = np.isfinite(plane).all(axis=2)
        parts.append(plane[valid][_solved_patches(valid, features.stride, max(4, most // len(read)))])
    solved = normalise_rows(np.concatenate(parts))
    pairs, tau, density = yield from part_of(_solve_patches(solved, options), start=1000, span=1000, total=total)
    vectors, is_valid = np.zeros((planes, rows, cols, k), np.float32), np.zeros((planes, rows, cols), bool)
    for index in range(planes):
        yield Progress(2000 + 1000 * index // planes, total, f"plane {index + 1} of {planes}")
        plane = (features.plane(index) - mean) / spread
        is_valid[index] = np.isfinite(plane).all(axis=2)
        unit = normalise_rows(plane[is_valid[index]])
        if len(unit) and len(solved):
            vectors[index][is_valid[index]] = collect(_extend(pairs, unit, solved, tau, options)).vectors
    yield Progress(total, total, f"{planes} planes solved together")
    return NormalisedCut(
        vectors,
        np.tile(pairs.values, (planes, 1)),
        np.full(planes, pairs.well_posed),
        np.full(planes, tau),
        np.full(planes, density),
        is_valid,
        features.stride,
        features.first_centre,
        features.image_shape,
        options,
    )


def _scaling(features: FeatureMap, scaling: Scaling) -> tuple[FloatArray, FloatArray]:
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


def _solve_plane(
    plane: FloatArray, valid: npt.NDArray[np.bool_], stride: float, options: CutOptions
) -> Job[tuple[Eigenpairs, float, float]]:
    """Return the eigenvectors at the valid patches, tau and the density of links."""
    unit = normalise_rows(plane[valid])
    solved = _solved_patches(valid, stride, options.max_patches)
    if solved.all():
        return (yield from _solve_patches(unit, options))
    coarse = unit[solved]
    pairs, tau, density = yield from part_of(_solve_patches(coarse, options), start=0, span=900, total=1000)
    pairs = yield from part_of(_extend(pairs, unit, coarse, tau, options), start=900, span=100, total=1000)
    return pairs, tau, density


def _solve_patches(unit: FloatArray, options: CutOptions) -> Job[tuple[Eigenpairs, float, float]]:
    """Return the eigenvectors of one graph, tau and the density of links."""
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


def _solved_patches(valid: npt.NDArray[np.bool_], stride: float, max_patches: int | Literal["auto"]) -> npt.NDArray[np.bool_]:
    """Mark, among the valid patches, those of the grid that is solved directly."""
    if max_patches == "auto":
        max_patches = MAX_FINE_PATCHES if stride < _FINE_STRIDE else MAX_PATCHES
    step = math.ceil(math.sqrt(max(1, int(np.count_nonzero(valid))) / max_patches))
    chosen = np.zeros(valid.shape, bool)
    chosen[min(step // 2, valid.shape[0] - 1) :: step, min(step // 2, valid.shape[1] - 1) :: step] = True
    if not (chosen & valid).any():
        chosen[...] = True
    marked: npt.NDArray[np.bool_] = chosen[valid]
    return marked


def _extend(pairs: Eigenpairs, unit: FloatArray, coarse: FloatArray, tau: float, options: CutOptions) -> Job[Eigenpairs]:
    """Carry the eigenvectors from the solved patches to all of them."""
    mu = np.where(np.isfinite(pairs.values), 1 - pairs.values, 1)
    mu = np.where(np.abs(mu) > 1e-6, mu, 1).astype(np.float32)
    # the column of ones gives the degrees in the same product
    known = np.hstack([pairs.vectors / mu, np.ones((len(coarse), 1), np.float32)])
    background = options.epsilon * known.sum(axis=0, dtype=np.float64).astype(np.float32)
    out = np.empty((len(unit), pairs.vectors.shape[1]), np.float32)
    for rows in _row_blocks(len(unit)):
        links = link_matrix(unit[rows] @ coarse.T, tau, options.weighting)
        product = (1 - np.float32(options.epsilon)) * (links @ known) + background
        out[rows] = product[:, :-1] / product[:, -1:]
        yield Progress(rows.stop, len(unit), "refining on the fine grid")
    return Eigenpairs(out, pairs.values, pairs.well_posed, pairs.passes)


def _row_blocks(n: int) -> Iterator[slice]:
    for start in range(0, n, _ROWS_AT_ONCE):
        yield slice(start, min(start + _ROWS_AT_ONCE, n))
