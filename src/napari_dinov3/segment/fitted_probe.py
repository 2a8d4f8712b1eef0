"""What a probe has learned, and how it scores a plane: the part that is kept in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.segment.heads import FloatArray, GridHead, Head, LinearHead, labels_of, probabilities_of

Labels = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, slots=True)
class FittedProbe:
    """What a probe has learned.

    Parameters
    ----------
    classes : tuple of int
        Label values in rising order.
    mean, scale : (dim,) float32
        Features are standardised as ``(features - mean) / scale``.
    head : Head or None
        None where only one class was labelled: everything is that class.
    offset : (k,) float32
        Added to the scores.
    signature : mapping
        Of the feature maps it fits (see :attr:`FeatureMap.signature`).
    decision : (k,) float32
        Added to the scores where labels are read from them, not where probabilities are: thresholds of the classes.
    report : mapping
        JSON-able: what was found while learning, such as the C that was chosen.
    """

    classes: tuple[int, ...]
    mean: FloatArray = field(repr=False)
    scale: FloatArray = field(repr=False)
    head: Head | None
    offset: FloatArray
    signature: Mapping[str, Any]
    decision: FloatArray = field(default_factory=lambda: np.zeros(1, np.float32))
    report: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Smallest unsigned integer type that holds every label value."""
        return np.min_scalar_type(max(self.classes))

    def scores(self, features: FloatArray) -> FloatArray:
        """Score one plane: ``(rows, cols, dim)`` to ``(rows, cols, k)``."""
        if self.head is None:
            return np.zeros((*features.shape[:2], 1), np.float32)
        standardised = features - self.mean
        standardised *= 1 / self.scale
        if isinstance(self.head, GridHead):
            scores = self.head.grid_scores(standardised)
        else:
            scores = self.head.scores(standardised.reshape(-1, features.shape[-1]))
        scores += self.offset
        return scores.reshape(*features.shape[:2], -1)

    def part_scores(self, features: FloatArray, first: int) -> FloatArray:
        """Score with some of the features only, from number `first` on: for a linear head, whose parts add up.

        The bias and the offset belong to the part that begins at 0.
        """
        if not isinstance(self.head, LinearHead):
            raise TypeError(f"only the scores of a linear head are sums over features, not those of {self.head!r}")
        mine = slice(first, first + features.shape[-1])
        weights = self.head.weights[mine] / self.scale[mine, None]
        scores: FloatArray = features.reshape(-1, features.shape[-1]) @ weights
        scores -= self.mean[mine] @ weights
        if first == 0:
            scores += self.head.bias + self.offset
        return scores.reshape(*features.shape[:2], -1)

    def values(self, scores: FloatArray) -> Labels:
        """Read label values from scores: ``(..., k)`` to ``(...)``."""
        if self.head is None:
            return np.full(scores.shape[:-1], self.classes[0], self.dtype)
        values = np.asarray(self.classes, self.dtype)
        if scores.shape[-1] == 1:  # the common case; choosing is twice as fast as looking up
            return np.asarray(np.where(scores[..., 0] > -self.decision[0], values[1], values[0]))
        labels: Labels = values[labels_of(scores + self.decision)]
        return labels

    def probabilities(self, scores: FloatArray) -> FloatArray:
        """Read probabilities from scores: ``(..., k)`` to ``(..., classes)``."""
        return np.ones((*scores.shape[:-1], 1), np.float32) if self.head is None else probabilities_of(scores)
