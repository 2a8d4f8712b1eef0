"""How common each class is in the image, which strokes do not say.

A rare class (a lesion, a ventricle) gets as much paint as the rest, so a classifier trained on the strokes finds it far too
often. Its mean probability over the image says how much of it there seems to be. Adding the logarithm of that share to the
scores, and measuring again, is the expectation-maximisation of [1]_; carried to its end it is the best decision where the
probabilities are right, and it extinguishes rare classes where they are not: after a few strokes. So one step is taken, and
half of it applied. On 13 real sets of labels (membranes, nuclei, brain structures, lesions), painted evenly or with strokes,
that came close to the best offset there is; the full step and further steps lost more on some sets than they gained on others.

References
----------
.. [1] M. Saerens, P. Latinne, C. Decaestecker, "Adjusting the outputs of a classifier to new a priori probabilities",
   Neural Computation 14 (2002), doi:10.1162/089976602753284446.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_dinov3.segment.heads import FloatArray, probabilities_of

Prior: TypeAlias = Literal["estimated", "scribbles"]

SHARE_OF_STEP = 0.5
_LEAST_SHARE = 1e-4  # a class that seems to be nowhere stays possible


def prior_offset(surround: FloatArray, painted: npt.NDArray[np.float64]) -> FloatArray:
    """Find what to add to the scores, so that each class claims a plausible share of the image.

    Parameters
    ----------
    surround : (n, k) float32
        Scores of patches drawn evenly from the image; one column for two classes, else one a class.
    painted : (classes,) float64
        Share of each class in the training samples, as weighted: what the classifier takes for granted.

    Returns
    -------
    offset : (k,) float32
        Half the logarithm of each class's share in the image over its share in the samples (for two classes: the difference
        of the two). Zeros without any patch.
    """
    if not len(surround):
        return np.zeros(surround.shape[1], np.float32)
    shares = np.maximum(probabilities_of(surround).mean(axis=0), _LEAST_SHARE)
    logs = SHARE_OF_STEP * np.log(shares / painted)
    offset = logs[1:] - logs[:1] if surround.shape[1] == 1 else logs - logs.mean()
    return np.asarray(offset, dtype=np.float32)


def decision_offset(classes: Sequence[int], thresholds: Mapping[int, float] | None) -> FloatArray:
    """Turn thresholds of probabilities into what to add to the scores when labels are chosen.

    Parameters
    ----------
    classes : sequence of int
        Label values, two or more, in the order of the scores.
    thresholds : mapping from label value to probability, optional
        A class needs this probability instead of one half: of two classes exactly; of several, the one whose odds exceed the
        odds of its threshold most is chosen. Label values that are no class are left aside.

    Returns
    -------
    offset : (k,) float32
        ``log((1 - t) / t)`` of each class; for two classes the difference of the two.
    """
    each = np.array([0.5 if thresholds is None else thresholds.get(value, 0.5) for value in classes])
    logs = np.log((1 - each) / each)
    return np.asarray(logs[1:] - logs[:1] if len(classes) == 2 else logs, dtype=np.float32)
