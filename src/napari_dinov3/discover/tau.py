"""Choosing tau: how well each threshold on the cosine divides a plane.

A threshold is judged on a sample of the patches, by the eigenvalues of the cut it gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_dinov3.discover.affinity import EPSILON, FloatArray, Weighting, build_affinity_steps
from napari_dinov3.discover.ncut import smallest_eigenpairs_steps
from napari_dinov3.progress import Job, Progress

TAUS = tuple(round(0.05 * step, 2) for step in range(20))
SAMPLED_PATCHES = 1024
_SMALL_SIDE = 0.05


@dataclass(frozen=True, slots=True)
class TauScore:
    """One threshold of a sweep.

    Parameters
    ----------
    tau : float
        Cosine above which patches are linked.
    density : float
        Part of the pairs that are linked.
    values : (2,) floats
        Second and third smallest eigenvalue.
    share : float
        Part of the patches on the smaller side of the mean of the eigenvector.
    score : float
        Eigengap ``lambda_3 - lambda_2``, less where the smaller side holds under 5 % of the patches (in proportion): a few odd
        patches split off cleanly at many thresholds. 0 where the cut is ill posed.
    """

    tau: float
    density: float
    values: tuple[float, float]
    share: float
    score: float


def sweep_tau_steps(
    unit: FloatArray, *, taus: tuple[float, ...] | None = None, weighting: Weighting = "binary", epsilon: float = EPSILON
) -> Job[tuple[TauScore, ...]]:
    """Judge each threshold on a plane.

    Parameters
    ----------
    unit : (n, dim) float32
        Feature vectors of length 1; at most 1,024 of them, evenly spread, are used.
    taus : tuple of float
        Thresholds to try; by default 0 to 0.95, and above these the deciles of the cosines, for features whose cosines all lie
        near 1.
    weighting, epsilon
        As in :func:`~napari_dinov3.discover.affinity.build_affinity_steps`.

    Returns
    -------
    scores : tuple of TauScore
        In the order of `taus`.
    """
    step = -(-len(unit) // SAMPLED_PATCHES)
    sample = unit[::step]
    taus = _candidates(sample) if taus is None else taus
    scores = []
    guess: FloatArray | None = None
    for done, tau in enumerate(taus):
        yield Progress(done, len(taus), f"trying tau {tau:g}")
        affinity = yield from build_affinity_steps(sample, tau=tau, weighting=weighting, epsilon=epsilon)
        pairs = yield from smallest_eigenpairs_steps(affinity, 2, start=guess)
        vector = pairs.vectors[:, 0]
        high = float(np.mean(vector > vector.mean())) if vector.any() else 0.0
        share = min(high, 1 - high)
        low, next_up = (float(value) for value in pairs.values)
        score = (next_up - low) * min(1.0, share / _SMALL_SIDE) if pairs.well_posed else 0.0
        scores.append(TauScore(tau, affinity.density, (low, next_up), share, score))
        guess = pairs.vectors if vector.any() else None
    return tuple(scores)


def _candidates(unit: FloatArray) -> tuple[float, ...]:
    few = unit[:: -(-len(unit) // 256)]
    deciles = np.quantile(few @ few.T, np.arange(1, 10) / 10)
    return (*TAUS, *(float(tau) for tau in np.unique(deciles) if TAUS[-1] < tau < 1 - 1e-6))


def clearest(scores: tuple[TauScore, ...]) -> float:
    """Pick the threshold with the widest eigengap; the middle of the sweep where no cut is well posed."""
    best = max(scores, key=lambda score: score.score)
    return best.tau if best.score > 0 else scores[len(scores) // 2].tau


TauChoice = float | Literal["auto"]
