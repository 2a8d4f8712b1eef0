"""Nearest prototypes: one example a class is enough."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_dinov3.learn.heads import Arrays, FloatArray

_SHARPNESS = 10.0  # cosine distances differ by tenths: this makes differences of log-probabilities out of them


class PrototypeHead:
    """Nearest class mean by cosine similarity: works from one example a class.

    Parameters
    ----------
    prototypes : (classes, dim) float32
        Mean direction of the standardised samples of each class, of length 1.
    """

    def __init__(self, prototypes: FloatArray) -> None:
        self.prototypes = np.asarray(prototypes, dtype=np.float32)

    @classmethod
    def fit(cls, features: FloatArray, codes: npt.NDArray[np.intp], weight: npt.NDArray[np.float64]) -> PrototypeHead:
        """Average the directions of the samples of each class."""
        directions = _unit(features) * weight.astype(np.float32)[:, None]
        return cls(_unit(np.stack([directions[codes == code].mean(axis=0) for code in range(codes.max() + 1)])))

    def scores(self, features: FloatArray) -> FloatArray:
        """Score patches; see :class:`~napari_dinov3.learn.heads.Head`."""
        cosines = _unit(features) @ self.prototypes.T * np.float32(_SHARPNESS)
        return cosines[:, 1:] - cosines[:, :1] if len(self.prototypes) == 2 else cosines

    def arrays(self) -> Arrays:
        """Return the prototypes."""
        return {"prototypes": self.prototypes}


def _unit(rows: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    directions: FloatArray = rows / np.maximum(lengths, np.float32(1e-12))
    return directions
