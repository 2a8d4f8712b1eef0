"""Linear classifiers of feature vectors, and how scores are read: what every task that learns classes shares.

A head is fitted to standardised samples and keeps what it learned as plain arrays. Its scores are log-odds: one column for
two classes (positive: the second class), one column a class otherwise. :func:`labels_of` and :func:`probabilities_of` read
them.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float32]
Arrays: TypeAlias = dict[str, npt.NDArray[Any]]


class Head(Protocol):
    """A classifier of standardised patch features."""

    def scores(self, features: FloatArray) -> FloatArray:
        """Score patches.

        Parameters
        ----------
        features : (n, dim) float32
            Standardised features.

        Returns
        -------
        scores : (n, 1) or (n, classes) float32
            Log-odds of the second of two classes, or unnormalised log-probabilities of all classes.
        """

    def arrays(self) -> Arrays:
        """Return what was learned as plain arrays, enough to rebuild the head."""


def labels_of(scores: FloatArray) -> npt.NDArray[np.intp]:
    """Choose the class of the highest score: ``(..., k)`` scores to ``(...)`` indices of classes."""
    chosen: npt.NDArray[np.intp] = (scores[..., 0] > 0).astype(np.intp) if scores.shape[-1] == 1 else scores.argmax(axis=-1)
    return chosen


def probabilities_of(scores: FloatArray) -> FloatArray:
    """Turn scores into probabilities: ``(..., k)`` to ``(..., classes)``, summing to 1."""
    if scores.shape[-1] == 1:
        second = 1 / (1 + np.exp(-np.clip(scores, -60, 60)))
        return np.concatenate([1 - second, second], axis=-1)
    exponents = np.exp(scores - scores.max(axis=-1, keepdims=True))
    probabilities: FloatArray = exponents / exponents.sum(axis=-1, keepdims=True)
    return probabilities


class LinearHead:
    """Logistic regression.

    Parameters
    ----------
    weights : (dim, k) float32
        One column for two classes, else one a class.
    bias : (k,) float32
        Added to the scores.
    """

    def __init__(self, weights: FloatArray, bias: FloatArray) -> None:
        self.weights = np.ascontiguousarray(weights, dtype=np.float32)
        self.bias = np.asarray(bias, dtype=np.float32)

    @classmethod
    def fit(
        cls,
        features: FloatArray,
        codes: npt.NDArray[np.intp],
        *,
        weight: npt.NDArray[np.float64],
        strength: float,
        start: LinearHead | None = None,
    ) -> LinearHead:
        """Fit by L-BFGS, from an earlier solution if there is one of the same shape.

        Parameters
        ----------
        features : (n, dim) float32
            Standardised samples.
        codes : (n,) ints
            Class index of each, 0..k-1 with none missing.
        weight : (n,) float64
            Weight of each sample.
        strength : float
            Inverse of the L2 penalty (scikit-learn's ``C``).
        start : LinearHead, optional
            Where to start.
        """
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=strength, max_iter=300, tol=1e-3, warm_start=True)
        columns = codes.max() + 1 if codes.max() > 1 else 1
        if start is not None and start.weights.shape == (features.shape[1], columns):
            model.coef_, model.intercept_ = start.weights.T.astype(features.dtype), start.bias.astype(features.dtype)
            model.classes_ = np.arange(codes.max() + 1)
        model.fit(features, codes, sample_weight=weight)
        return cls(model.coef_.T, model.intercept_)

    def scores(self, features: FloatArray) -> FloatArray:
        """Score patches; see :class:`Head`."""
        scores: FloatArray = features @ self.weights
        scores += self.bias
        return scores

    def arrays(self) -> Arrays:
        """Return weights and bias."""
        return {"weights": self.weights, "bias": self.bias}
