"""Solve the normalised cut of every plane of a feature map, and keep the eigenvectors.

The solve is the long part; masks are made from the eigenvectors by :mod:`napari_dinov3.discover.masks` as often as wanted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_dinov3.discover.affinity import FloatArray
from napari_dinov3.discover.clarity import clarity
from napari_dinov3.discover.cut import CutOptions, NormalisedCut, PlaneCut, SolvedPlanes, assemble
from napari_dinov3.discover.joint import solve_joint_steps
from napari_dinov3.discover.solve_patches import scaling_of, solve_plane_steps
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import Job, Progress, part_of

_CLEARLY_MORE = 0.2


def solve_steps(features: FeatureMap, options: CutOptions, *, resume: SolvedPlanes | None = None) -> Job[NormalisedCut]:
    """Solve the normalised cut of every plane.

    Parameters
    ----------
    features : FeatureMap
        Read plane by plane.
    options : CutOptions
        How patches are linked.
    resume : SolvedPlanes, optional
        Keeps what is finished when the job is closed; given again, the job goes on from there.

    Returns
    -------
    cut : NormalisedCut
    """
    solved = SolvedPlanes() if resume is None else resume
    solved.begin(features, options)
    if options.stack == "joint" and len(features) > 1:
        yield from solve_joint_steps(features, options, solved)
    else:
        yield from _solve_planes_steps(features, options, solved)
    planes = solved.planes
    return assemble(features, options, _matched(planes) if options.stack == "matched" else planes)


def _solve_planes_steps(features: FeatureMap, options: CutOptions, solved: SolvedPlanes) -> Job[None]:
    count = len(features)
    mean, spread = scaling_of(features, options.scaling)
    for index in range(count):
        if index not in solved.planes:
            plane = (features.plane(index) - mean) / spread
            valid = np.isfinite(plane).all(axis=2)
            job = solve_plane_steps(plane, valid, features.stride, options)
            pairs, tau, density = yield from part_of(job, start=1000 * index, span=1000, total=1000 * count)
            judged = clarity(plane, valid, tau, options)
            solved.planes[index] = PlaneCut(pairs.vectors, pairs.values, pairs.well_posed, tau, density, valid, judged)
        yield Progress(1000 * (index + 1), 1000 * count, f"plane {index + 1} of {count} solved")


def _matched(planes: dict[int, PlaneCut]) -> dict[int, PlaneCut]:
    """Give every eigenvector the sign that fits the plane before; one that fits the first of that plane takes its place."""
    matched: dict[int, PlaneCut] = {}
    before: FloatArray | None = None
    for index in sorted(planes):
        plane = planes[index]
        on_grid = np.zeros((*plane.valid.shape, plane.vectors.shape[1]), np.float32)
        on_grid[plane.valid] = plane.vectors
        if before is not None and plane.vectors.any():
            order, signs = _fit(on_grid, before)
            on_grid = on_grid[..., order] * signs
            plane = plane._replace(vectors=on_grid[plane.valid], values=plane.values[order])
        if plane.vectors.any():
            before = on_grid
        matched[index] = plane
    return matched


def _fit(vectors: FloatArray, before: FloatArray) -> tuple[Any, Any]:
    """Order and signs that bring eigenvectors of a plane in line with those of the plane before."""
    k = vectors.shape[-1]
    both = [array.reshape(-1, k) - array.reshape(-1, k).mean(axis=0) for array in (vectors, before)]
    mine, theirs = (array / np.maximum(np.linalg.norm(array, axis=0), 1e-20) for array in both)
    alike = mine.T @ theirs
    order = np.arange(k)
    best = int(np.abs(alike[:, 0]).argmax())
    if abs(alike[best, 0]) > abs(alike[0, 0]) + _CLEARLY_MORE:
        order[[0, best]] = order[[best, 0]]
    return order, np.where(alike[order, np.arange(k)] < 0, -1, 1).astype(np.float32)
