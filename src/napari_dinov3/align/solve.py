"""From links between sections to one transform a section.

Unknown are the ``T_z`` (common frame to section ``z``); a link ``L`` from section a to b says ``T_b = L T_a``. Its error in
the common frame, ``T_b^-1 L T_a``, is a small transform near the identity with parameters ``d``; composing each ``T_z`` with
a small transform of parameters ``delta_z`` changes it by ``delta_a - delta_b``. Each step is therefore one weighted graph
Laplacian solve a parameter, whatever the model, and nothing shrinks because nothing is scaled. Links that disagree with the
rest lose weight (Geman-McClure, narrowed step by step from where all count); the start is the maximum spanning tree.

References
----------
.. [1] V. M. Govindu, "Lie-algebraic averaging for globally consistent motion estimation", CVPR 2004,
   doi:10.1109/CVPR.2004.1315098.
.. [2] H. Yang, P. Antonante, V. Tzoumas, L. Carlone, "Graduated non-convexity for robust spatial perception", IEEE RA-L 5
   (2020), doi:10.1109/LRA.2020.2965893.
.. [3] S. Saalfeld et al., "Elastic volume reconstruction from series of ultra-thin microscopy sections", Nat. Methods 9
   (2012), doi:10.1038/nmeth.2072.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.links import Link, consistent
from napari_dinov3.align.transforms import LinearModel, nearest, point_grid
from napari_dinov3.geometry import Matrix, transform_points

ITERATIONS = 60
_SETTLED = 1e-4  # pixels
_VOTED_OUT = 1e-6  # weight left to links that close no triangle: enough to hold the graph together, too little to bend it
_SMALLEST_SCALE = 0.1  # pixels of disagreement that are never held against a link


class Solution(NamedTuple):
    """Poses of all sections of one connected part.

    ``transforms``: ``(N, 3, 3)`` common frame to section. ``residuals``: ``(links,)`` root mean square disagreement of each
    link in pixels. ``trust``: ``(links,)`` 0..1, what robust weighting left of each link.
    """

    transforms: npt.NDArray[np.float64]
    residuals: npt.NDArray[np.float64]
    trust: npt.NDArray[np.float64]


def solve_poses(
    links: Sequence[Link], count: int, *, model: LinearModel, shape: tuple[int, int], iterations: int = ITERATIONS
) -> Solution:
    """Find the poses that agree best with all links.

    Parameters
    ----------
    links : sequence of Link
        Accepted links that connect sections ``0 .. count - 1``.
    count : int
        Sections.
    model : {"translation", "rigid", "similarity", "affine"}
        What a section may do.
    shape : (2,) ints
        Rows and columns, over which disagreement is measured.
    iterations : int
        At most; it stops when no section moves by more than 0.0001 px.

    Returns
    -------
    solution : Solution
        Up to one common transform, which is left at that of the first section being the identity.
    """
    kept = consistent(links, shape)
    transforms = _spanning_tree(links, count, kept)
    if not links:
        return Solution(transforms, np.zeros(0), np.zeros(0))
    points = point_grid(shape, max(1.0, min(shape) / 4))
    first, second = (np.array([getattr(link, end) for link in links]) for end in ("first", "second"))
    base = np.array([link.weight for link in links]) * np.where(kept, 1.0, _VOTED_OUT)
    trust = np.ones(len(links))
    certain = np.array([link.strength > 0 for link in links])
    tolerated = np.inf
    for _ in range(iterations):
        errors, lengths = _disagreement(links, transforms, points, model)
        # Narrowing from where every link counts: a wrong link in the tree would otherwise keep its own company.
        final = _scale(lengths)
        tolerated = max(final, 0.5 * (tolerated if np.isfinite(tolerated) else 4 * float(lengths.max())))
        trust = np.where(certain, 1.0, _robust(lengths, tolerated) * kept)
        delta = _laplacian_solve(first, second, base * trust, errors, count)
        steps = [_as_matrix(d, model, points) for d in delta]
        transforms = np.stack([t @ s for t, s in zip(transforms, steps, strict=True)])
        moved = max(float(np.abs(transform_points(s, points) - points).max()) for s in steps)
        if moved < _SETTLED and tolerated == final:
            break
    _, lengths = _disagreement(links, transforms, points, model)
    common = np.linalg.inv(transforms[0])
    return Solution(transforms @ common, lengths, trust)


def interpolated(
    transforms: npt.NDArray[np.float64], missing: npt.NDArray[np.bool_], shape: tuple[int, int], *, model: LinearModel
) -> npt.NDArray[np.float64]:
    """Give sections that could not be placed the pose between their neighbours'.

    Parameters
    ----------
    transforms : (N, 3, 3) float64
        Poses; those of missing sections are ignored.
    missing : (N,) bool
    shape : (2,) ints
    model : {"translation", "rigid", "similarity", "affine"}
        The pose in between is of this model too.
    """
    out, good = transforms.copy(), np.flatnonzero(~missing)
    if not len(good):
        return np.tile(np.eye(3), (len(transforms), 1, 1))
    for z in np.flatnonzero(missing):
        before, after = good[good < z], good[good > z]
        if len(before) and len(after):
            a, b = before[-1], after[0]
            share = (z - a) / (b - a)
            out[z] = nearest((1 - share) * transforms[a] + share * transforms[b], model, shape)
        else:
            out[z] = transforms[before[-1] if len(before) else after[0]]
    return out


def _spanning_tree(links: Sequence[Link], count: int, kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Chain poses along the most trusted links; those voted out only where nothing else connects."""
    around: dict[int, list[tuple[int, npt.NDArray[Any], float]]] = {i: [] for i in range(count)}
    for link, good in zip(links, kept, strict=True):
        trust = link.match.z if good else 0.0
        around[link.first].append((link.second, link.matrix, trust))
        around[link.second].append((link.first, np.linalg.inv(link.matrix), trust))
    transforms = np.tile(np.eye(3), (count, 1, 1))
    seen: set[int] = set()
    heap: list[tuple[float, int, int]] = [(0.0, 0, -1)]
    poses: dict[tuple[int, int], Matrix] = {}
    while heap:
        _, here, source = heapq.heappop(heap)
        if here in seen:
            continue
        seen.add(here)
        if source >= 0:
            transforms[here] = poses[source, here] @ transforms[source]
        for other, matrix, trust in around[here]:
            if other not in seen:
                poses[here, other] = matrix
                heapq.heappush(heap, (-trust, other, here))
    return transforms


def _disagreement(
    links: Sequence[Link], transforms: npt.NDArray[np.float64], points: Matrix, model: LinearModel
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    errors, lengths = [], []
    inverse = np.linalg.inv(transforms)
    for link in links:
        loop = inverse[link.second] @ link.matrix @ transforms[link.first]
        moved = transform_points(loop, points) - points
        errors.append(_parameters(points, moved, model))
        lengths.append(math.sqrt(float(np.mean(np.sum(moved**2, axis=1)))))
    return np.stack(errors), np.array(lengths)


def _scale(lengths: npt.NDArray[np.float64]) -> float:
    return max(3.0 * 1.4826 * float(np.median(lengths)), _SMALLEST_SCALE)


def _robust(lengths: npt.NDArray[np.float64], scale: float) -> npt.NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + (lengths / scale) ** 2) ** 2)


def _design(points: Matrix, model: LinearModel) -> Matrix:
    """Displacement of all points (rows first, then columns) for each parameter of a small transform."""
    y, x = (points - points.mean(axis=0)).T
    one, zero = np.ones_like(y), np.zeros_like(y)
    columns = [(one, zero), (zero, one)]
    if model in ("rigid", "similarity"):
        columns.append((-x, y))
    if model == "similarity":
        columns.append((y, x))
    if model == "affine":
        columns += [(y, zero), (x, zero), (zero, y), (zero, x)]
    return np.stack([np.concatenate(pair) for pair in columns], axis=1)


def _parameters(points: Matrix, moved: Matrix, model: LinearModel) -> npt.NDArray[np.float64]:
    return np.asarray(np.linalg.lstsq(_design(points, model), moved.T.ravel(), rcond=None)[0], np.float64)


def _as_matrix(delta: npt.NDArray[np.float64], model: LinearModel, points: Matrix) -> Matrix:
    centre = points.mean(axis=0)
    linear = np.eye(2)
    if model in ("rigid", "similarity"):
        grow = 1 + (delta[3] if model == "similarity" else 0.0)
        linear = grow * np.array([[math.cos(delta[2]), -math.sin(delta[2])], [math.sin(delta[2]), math.cos(delta[2])]])
    elif model == "affine":
        linear = np.eye(2) + delta[2:].reshape(2, 2)
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, centre + delta[:2] - linear @ centre
    return matrix


def _laplacian_solve(
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64],
    errors: npt.NDArray[np.float64],
    count: int,
) -> npt.NDArray[np.float64]:
    """Minimise sum of w |delta_second - delta_first - error|^2 with delta_0 = 0."""
    from scipy import sparse
    from scipy.sparse.linalg import splu

    rows = np.arange(len(first))
    one = np.ones(len(first))
    incidence: Any = sparse.csr_matrix(
        (np.concatenate([one, -one]), (np.tile(rows, 2), np.concatenate([second, first]))), shape=(len(first), count)
    )
    weighted = sparse.diags(np.maximum(weights, 1e-9)) @ incidence
    laplacian = (incidence.T @ weighted).tocsc()[1:, 1:]
    delta = np.zeros((count, errors.shape[1]))
    if count > 1:
        delta[1:] = splu(laplacian.tocsc()).solve(np.ascontiguousarray((weighted.T @ errors)[1:]))
    return delta
