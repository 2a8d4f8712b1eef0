"""The strength of the penalty by cross-validation over regions: how closely to follow the scribbles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_dinov3.parallel import one_library_thread
from napari_dinov3.progress import Job, Progress
from napari_dinov3.segment.heads import FloatArray, LinearHead, probabilities_of

CANDIDATES = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
_LEAST_PROBABILITY = 1e-4


@dataclass(frozen=True, slots=True)
class StrengthChoice:
    """What cross-validation found.

    Parameters
    ----------
    strength : float
        The candidate nearest to the default of those as good as the best.
    losses : dict of float to float
        Each candidate and its loss on held-out regions: the negative log-probability of the true class, averaged over classes.
    """

    strength: float
    losses: dict[float, float]


def choose_strength_steps(
    features: FloatArray,
    codes: npt.NDArray[np.intp],
    weight: npt.NDArray[np.float64],
    fold: npt.NDArray[np.intp],
    *,
    default: float,
) -> Job[StrengthChoice]:
    """Fit a logistic regression for every candidate without each fold in turn, and test it there.

    Parameters
    ----------
    features : (n, d) float32
        Samples, standardised or in the space the landmarks span.
    codes : (n,) ints
        Class index of each.
    weight : (n,) float64
        Weight of each in training.
    fold : (n,) ints
        From :func:`~napari_dinov3.segment.regions.held_out`.
    default : float
        Taken, or the candidate nearest to it, where held-out strokes do not decide: all losses within one standard error of
        the lowest are as good.
    """
    folds = np.unique(fold)
    classes = int(codes.max()) + 1
    losses = np.full((len(folds), len(CANDIDATES), classes), np.nan)
    for row, out in enumerate(folds):
        train, test = fold != out, fold == out
        head: LinearHead | None = None
        for col, strength in enumerate(CANDIDATES):
            yield Progress(
                row * len(CANDIDATES) + col, losses[..., 0].size, f"Trying C={strength:g}, part {row + 1} of {len(folds)}"
            )
            with one_library_thread():
                head = LinearHead.fit(features[train], codes[train], weight=weight[train], strength=strength, start=head)
                chances = probabilities_of(head.scores(features[test]))
            true = np.maximum(chances[np.arange(len(chances)), codes[test]], _LEAST_PROBABILITY)
            for code in np.unique(codes[test]):
                losses[row, col, code] = -np.log(true[codes[test] == code]).mean()
    folded = np.nanmean(losses, axis=-1)
    mean, error = folded.mean(axis=0), folded.std(axis=0) / np.sqrt(len(folds))
    good = np.flatnonzero(mean <= mean.min() + error[mean.argmin()])
    nearest = good[np.abs(np.log(np.array(CANDIDATES)[good] / default)).argmin()]
    return StrengthChoice(CANDIDATES[int(nearest)], dict(zip(CANDIDATES, mean.round(4).tolist(), strict=True)))
