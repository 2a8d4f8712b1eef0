"""What noise allows: the Cramer-Rao bound of a registration whose truth is known.

Two images of one scene, the fixed and the moving one, both with white noise of standard deviation ``sigma``. With the scene and
the brightness curves known, the Fisher information of the transform's parameters is ``sum J^T J g^2`` over the pixels, with
``1/g^2 = sigma^2 (1/|grad f|^2 + 1/|grad m|^2)``: a pixel's residual has the noise of both, each against how steep its own
noise-free image is there. Its inverse, carried to the points where the error is measured, is the least covariance of any
unbiased estimate. A tool does not know the scene, so no tool reaches it where noise hides detail (level 2); it is a floor, not
a forecast. A single pair may lie below it by luck.

References
----------
.. [1] D. Robinson, P. Milanfar, "Fundamental performance limits in image registration", IEEE Trans. Image Process. 13 (2004),
   doi:10.1109/TIP.2004.832923.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_MEDIAN_LENGTH = 1.1774  # of a round two-dimensional Gaussian of deviation 1


def typical_error(
    fixed: np.ndarray, moving: np.ndarray, matrix: np.ndarray, sigma: float, *, model: str, points: np.ndarray
) -> float:
    """Say what median error over `points` the best unbiased tool would make, in pixels.

    Parameters
    ----------
    fixed, moving : (rows, cols)
        Without noise.
    matrix : (3, 3)
        The truth, fixed to moving.
    sigma : float
        Noise in each image; 0 gives 0.
    model : {"translation", "rigid", "affine"}
    points : (N, 2)
        Where the error is measured.
    """
    if sigma == 0:
        return 0.0
    steep, other = (np.stack(np.gradient(image)) for image in (fixed, moving))
    pulled = np.stack(
        [ndimage.affine_transform(g, matrix[:2, :2], matrix[:2, 2], order=1, cval=0, output_shape=fixed.shape) for g in other]
    )
    ours, theirs = (np.sum(g * g, axis=0) for g in (steep, pulled))
    share = np.sqrt(theirs / np.maximum(ours + theirs, 1e-30))
    here = _directions(np.indices(fixed.shape).reshape(2, -1).T.astype(float), model, fixed.shape)
    slopes = (steep * share).reshape(2, -1)
    jacobian = np.einsum("in,nip->np", slopes, here)
    covariance = np.linalg.inv(jacobian.T @ jacobian / sigma**2)
    there = _directions(points, model, fixed.shape)
    variance = np.einsum("nip,pq,niq->n", there, covariance, there)
    return float(np.median(np.sqrt(variance / 2)) * _MEDIAN_LENGTH)


def _directions(points: np.ndarray, model: str, shape: tuple[int, ...]) -> np.ndarray:
    """How a point moves with each parameter, ``(N, 2, parameters)``."""
    y, x = ((points[:, i] - (shape[i] - 1) / 2) / (max(shape) / 2) for i in range(2))
    one, nil = np.ones_like(y), np.zeros_like(y)
    rows, cols = {
        "translation": ([one, nil], [nil, one]),
        "rigid": ([one, nil, -x], [nil, one, y]),
        "affine": ([one, nil, y, x, nil, nil], [nil, one, nil, nil, y, x]),
    }[model]
    return np.stack([np.stack(rows, -1), np.stack(cols, -1)], axis=1)
