"""Heads: what turns the features of a patch into one score a class.

A head is fitted to standardised samples and keeps what it learned as plain arrays. Its scores are log-odds: one column for
two classes (positive: the second class), one column a class otherwise. :func:`labels_of` and :func:`probabilities_of` read
them, on the patch grid or after interpolation to pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from napari_dinov3.learn.heads import Arrays, FloatArray, Head, LinearHead, labels_of, probabilities_of
from napari_dinov3.parallel import in_threads

__all__ = [
    "Arrays",
    "ClassWeight",
    "FloatArray",
    "GridHead",
    "Head",
    "HeadName",
    "KernelHead",
    "LinearHead",
    "labels_of",
    "probabilities_of",
]

HeadName: TypeAlias = Literal["kernel", "linear", "boosting", "forest", "prototypes", "decoder"]
ClassWeight: TypeAlias = Literal["balanced"] | Mapping[int, float] | None


@runtime_checkable
class GridHead(Head, Protocol):
    """A classifier that looks at the neighbours of a patch, and so takes whole planes."""

    def grid_scores(self, features: FloatArray) -> FloatArray:
        """Score a plane of standardised features: ``(rows, cols, dim)`` to ``(rows, cols, k)``."""


class KernelHead:
    """Kernel logistic regression on landmarks (Nystroem), with a rational quadratic kernel.

    Parameters
    ----------
    landmarks : (m, dim) float32
        Standardised samples the kernel is evaluated at.
    weights : (m, k) float32
        Weight of each landmark in the scores.
    bias : (k,) float32
        Added to the scores.
    gamma : float
        Kernel ``1 / (1 + gamma * |x - landmark|**2)``.

    Notes
    -----
    The rational quadratic kernel is a mixture of Gaussians of all widths: one setting follows both broad tissue and thin
    membranes. Scoring costs one matrix product of ``dim`` by ``m`` and ``m`` divisions a patch, in blocks that stay in the
    cache.

    References
    ----------
    .. [1] C. Williams, M. Seeger, "Using the Nystroem method to speed up kernel machines", NIPS 2000.
    .. [2] C. Rasmussen, C. Williams, "Gaussian Processes for Machine Learning", MIT Press 2006, section 4.2.
    """

    def __init__(self, landmarks: FloatArray, weights: FloatArray, bias: FloatArray, gamma: float) -> None:
        self.landmarks = np.ascontiguousarray(landmarks, dtype=np.float32)
        self.weights = np.ascontiguousarray(weights, dtype=np.float32)
        self.bias = np.asarray(bias, dtype=np.float32)
        self.gamma = float(gamma)

    @classmethod
    def span(cls, features: FloatArray, codes: npt.NDArray[np.intp], *, landmarks: int, rng: np.random.Generator) -> KernelHead:
        """Choose landmarks and width, and span the space in which a logistic regression is fitted.

        Parameters
        ----------
        features, codes
            As in :meth:`LinearHead.fit`.
        landmarks : int
            Most landmarks; drawn from the samples, the same number of each class as far as there are any.
        rng : numpy Generator
            Which samples become landmarks.

        Returns
        -------
        span : KernelHead
            Its scores are the coordinates in that space.
        """
        chosen = features[_even_choice(codes, landmarks, rng)]
        distances = _squared_distances(chosen, chosen)
        typical = float(np.median(distances[np.triu_indices(len(chosen), 1)])) if len(chosen) > 1 else 1.0
        gamma = 1.0 / max(typical, 1e-6)
        values, vectors = np.linalg.eigh(1 / (1 + gamma * distances.astype(np.float64)))
        kept = values > 1e-4 * values[-1]
        whiten = (vectors[:, kept] / np.sqrt(values[kept])).astype(np.float32)
        return cls(chosen, whiten, np.zeros(whiten.shape[1], np.float32), gamma)

    def with_linear(self, linear: LinearHead) -> KernelHead:
        """Join the span with the logistic regression fitted in it."""
        return KernelHead(self.landmarks, self.weights @ linear.weights, linear.bias, self.gamma)

    def like(self, scores: FloatArray) -> LinearHead:
        """Find the regression in this span with the given scores, ``(landmarks, k)``, at the landmarks."""
        # with the kernel at the landmarks V L V', the span is V L^-1/2, and V L^1/2 w = scores
        return LinearHead(self.weights.T @ scores, np.zeros(scores.shape[1], np.float32))

    def scores(self, features: FloatArray) -> FloatArray:
        """Score patches; see :class:`Head`."""
        # 1 + gamma |x - l|^2 as one matrix product: [x, |x|^2, 1] @ [-2 gamma l, gamma, 1 + gamma |l|^2]
        norms = np.einsum("ij,ij->i", self.landmarks, self.landmarks)[None]
        gamma = np.float32(self.gamma)
        right = np.concatenate([-2 * gamma * self.landmarks.T, np.full_like(norms, gamma), 1 + gamma * norms])
        out = np.empty((len(features), self.weights.shape[1]), np.float32)

        def score_block(start: int) -> None:
            block = features[start : start + BLOCK]
            left = np.ones((len(block), len(right)), np.float32)
            left[:, :-2] = block
            left[:, -2] = np.einsum("ij,ij->i", block, block)
            kernel = left @ right
            np.maximum(kernel, 1, out=kernel)  # rounding of large distances must not cross 0
            np.reciprocal(kernel, out=kernel)
            np.matmul(kernel, self.weights, out=out[start : start + BLOCK])

        in_threads(score_block, range(0, len(features), BLOCK))
        out += self.bias
        return out

    def arrays(self) -> Arrays:
        """Return landmarks, weights, bias and width."""
        return {"landmarks": self.landmarks, "weights": self.weights, "bias": self.bias, "gamma": np.array(self.gamma)}


BLOCK = 2048  # patches scored at once: the kernel block stays in the second-level cache


def _squared_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    squares: FloatArray = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2 * (a @ b.T)
    np.maximum(squares, 0, out=squares)
    return squares


def _even_choice(codes: npt.NDArray[np.intp], count: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Choose up to `count` samples, evenly over the classes, small classes whole."""
    if len(codes) <= count:
        return np.arange(len(codes))
    order = rng.permutation(len(codes))
    rank = np.empty(len(codes), np.intp)
    for code in np.unique(codes):
        mine = order[codes[order] == code]
        rank[mine] = np.arange(len(mine))
    # the lowest ranks first: one of each class, then the second of each class, and so on
    return np.sort(order[np.argsort(rank[order], kind="stable")[:count]])
