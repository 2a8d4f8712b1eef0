"""Heads that keep examples: nearest prototypes, and trees grown again from their stored samples.

Trees are not written to files node by node: their samples are, and growing them again from the same samples and seed takes
about a second. So a probe file holds plain arrays only, whatever the head.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_dinov3.learn.prototypes import PrototypeHead
from napari_dinov3.segment.heads import Arrays, FloatArray

__all__ = ["PrototypeHead", "TreeHead", "TreeKind"]

TreeKind: TypeAlias = Literal["forest", "boosting"]

_SURE = 1e-3  # a tree's vote of 0 or 1 stands for at most these odds, so that interpolation stays finite


class TreeHead:
    """Random forest or gradient boosting of scikit-learn.

    Parameters
    ----------
    kind : {"forest", "boosting"}
        Which.
    features, codes, weight
        Standardised samples, the class index and the weight of each.
    seed : int
        Grown trees are a function of samples and seed.
    """

    def __init__(
        self,
        kind: TreeKind,
        features: FloatArray,
        codes: npt.NDArray[np.intp],
        weight: npt.NDArray[np.float64],
        seed: int,
    ) -> None:
        self.kind, self.seed = kind, seed
        self._samples: Arrays = {"features": features, "codes": codes, "weight": weight}
        self._model = _new_model(kind, seed).fit(features, codes, sample_weight=weight)

    def scores(self, features: FloatArray) -> FloatArray:
        """Score patches; see :class:`~napari_dinov3.segment.heads.Head`."""
        votes = self._model.predict_proba(features)
        logs: FloatArray = np.log(np.clip(votes, _SURE, 1)).astype(np.float32)
        scores: FloatArray = logs[:, 1:] - logs[:, :1] if logs.shape[1] == 2 else logs
        return scores

    def arrays(self) -> Arrays:
        """Return the samples and the seed."""
        return {**self._samples, "seed": np.array(self.seed)}


def _new_model(kind: TreeKind, seed: int) -> Any:
    from sklearn import ensemble

    if kind == "forest":
        return ensemble.RandomForestClassifier(n_estimators=100, min_samples_leaf=2, n_jobs=-1, random_state=seed)
    return ensemble.HistGradientBoostingClassifier(
        # 60 rounds on 63 steps a feature: the F1 of 100 rounds on 255, within 0.01 on most real sets, in a third of the time
        max_iter=60,
        max_bins=63,
        learning_rate=0.1,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    )
