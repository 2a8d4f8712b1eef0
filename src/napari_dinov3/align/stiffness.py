"""How stiff a spline should be: the stiffness that makes what the images say most probable.

Of each place the images say by how much it wants to move (the slope of their difference) and how strongly (its curvature).
Read as a measurement, the curvature is the inverse variance of that wish, and bending energy is the inverse variance of what
smooth deformations do; integrating over all deformations leaves the probability of the images given the stiffness alone, which
has a maximum [1]_. No half of the image has to be held out for it. What it needs is curvature in true units: the scatter of
the slopes themselves, over blocks wider than the correlation of noise, sets the scale.

References
----------
.. [1] G. Wahba, "A comparison of GCV and GML for choosing the smoothing parameter in the generalized spline smoothing problem",
   Ann. Statist. 13 (1985), doi:10.1214/aos/1176349743.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.elastic import bending_matrix

Vector = npt.NDArray[np.float64]

_LADDER = tuple(10.0 ** (k / 2) for k in range(-6, 13))  # in 1 / px^2: the inverse variance of a second difference
_FIRST_STRIDE = 2  # rungs: a decade, while looking for the valley
_RIDGE = 1e-9
_UNBENT = 3  # coefficients of a displacement component that bending energy does not see: any affine one


class Wishes(NamedTuple):
    """What the images say about the coefficients: ``normal @ coefficients = target``, in inverse variances.

    ``normal``: ``(2 R C, 2 R C)`` sparse curvature. ``target``: ``(2 R C,)``. ``control``: control points along each axis.
    """

    normal: Any
    target: Vector
    control: tuple[int, int]


def solved(wishes: Wishes, stiffness: float) -> tuple[Vector, float]:
    """Solve at one stiffness.

    Parameters
    ----------
    wishes : Wishes
    stiffness : float
        Weight of the bending energy, 1 / px^2.

    Returns
    -------
    coefficients : (2 R C,) float64
    improbability : float
        Minus twice the log of the marginal likelihood, up to a constant.
    """
    from scipy import sparse
    from scipy.sparse.linalg import splu

    energy = _bending(wishes.control)
    ridge = _RIDGE * (float(wishes.normal.diagonal().mean()) + stiffness) + 1e-30
    total = wishes.normal + stiffness * energy + ridge * sparse.identity(len(wishes.target))
    factors = splu(total.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    coefficients = factors.solve(wishes.target)
    volume = float(np.log(np.abs(factors.U.diagonal())).sum())
    bending = len(wishes.target) - 2 * _UNBENT
    return coefficients, volume - bending * math.log(stiffness) - float(wishes.target @ coefficients)


def most_probable(wishes: Wishes, start: float | None = None) -> tuple[Vector, float]:
    """Solve at the most probable stiffness.

    Parameters
    ----------
    wishes : Wishes
    start : float, optional
        Stiffness chosen before: only its neighbours are tried, and on from the better one.

    Returns
    -------
    coefficients : (2 R C,) float64
    stiffness : float
    """
    found: dict[int, tuple[Vector, float]] = {}

    def improbability(rung: int) -> float:
        if rung not in found:
            found[rung] = solved(wishes, _LADDER[rung])
        return found[rung][1]

    rungs = range(len(_LADDER))
    if start is None:
        best = min(rungs[::_FIRST_STRIDE], key=improbability)
    else:
        best = int(np.abs(np.log(np.array(_LADDER) / start)).argmin())
    while True:
        better = min((r for r in (best - 1, best, best + 1) if r in rungs), key=improbability)
        if better == best:
            return found[best][0], _LADDER[best]
        best = better


@lru_cache(maxsize=4)
def _bending(control: tuple[int, int]) -> Any:
    """Bending energy of both components; every step at a level asks for the same."""
    from scipy import sparse

    return sparse.block_diag([bending_matrix(control)] * 2).tocsr()
