"""Constants that bring every dimension of an inner layer to mean 0 and deviation 1.

Before the last layer a few dimensions are huge and nearly constant and would drown all others in any cosine. The constants are
measured once a network on dead-leaves images (occluding discs of scale-free size, which have the statistics of natural images),
never on the user's data: so they are the same for every image, plane and tile, and maps stay comparable.

References
----------
.. [1] A. B. Lee, D. Mumford, J. Huang, "Occlusion models for natural images: a statistical study of a scale-invariant dead
   leaves model", Int. J. Comput. Vis. 41 (2001), doi:10.1023/A:1011109015675.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

IMAGES = 8
SIZE = 256
VERSION = 1  # part of a map's revision: other images, other constants
_DISCS = 1500
_SMALLEST, _LARGEST = 3.0, 128.0
_SMALLEST_DEVIATION = 1e-3  # of the median deviation; a dimension that never moves stays near 0


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """``(features - mean) / deviation``, each ``(dim,)`` float32."""

    mean: npt.NDArray[np.float32]
    deviation: npt.NDArray[np.float32]


def measure(features: npt.NDArray[np.float32]) -> Scaling:
    """Measure the constants on the features of the calibration images.

    Parameters
    ----------
    features : (..., dim) float32
        Of any number of patches.
    """
    flat = features.reshape(-1, features.shape[-1]).astype(np.float64)
    deviation = flat.std(axis=0)
    floor = float(max(np.median(deviation) * _SMALLEST_DEVIATION, np.finfo(np.float32).tiny))
    deviation[deviation < floor] = floor
    return Scaling(flat.mean(axis=0).astype(np.float32), deviation.astype(np.float32))


@lru_cache(maxsize=1)
def dead_leaves() -> npt.NDArray[np.float32]:
    """Draw the calibration images, the same on every platform.

    Returns
    -------
    images : (8, 256, 256, 3) float32 in 0..1
        Half of them grey.
    """
    # RandomState: its stream is frozen for good (NEP 19); a Generator's is not
    random = np.random.RandomState(0)
    rows, cols = np.mgrid[:SIZE, :SIZE]
    images = np.empty((IMAGES, SIZE, SIZE, 3), np.float32)
    for image in range(IMAGES):
        canvas = images[image]
        canvas[:] = random.uniform(size=3)
        # radii with density r**-3, by inversion
        uniform = random.uniform(size=_DISCS)
        radii = 1 / np.sqrt(1 / _LARGEST**2 + uniform * (1 / _SMALLEST**2 - 1 / _LARGEST**2))
        centres = random.uniform(-_SMALLEST, SIZE + _SMALLEST, size=(_DISCS, 2))
        colours = random.uniform(size=(_DISCS, 3))
        if image % 2:
            colours[:] = colours[:, :1]
        for radius, (row, col), colour in zip(radii, centres, colours, strict=True):
            top, bottom = max(0, int(row - radius)), min(SIZE, int(row + radius) + 2)
            left, right = max(0, int(col - radius)), min(SIZE, int(col + radius) + 2)
            box = (slice(top, bottom), slice(left, right))
            canvas[box][(rows[box] - row) ** 2 + (cols[box] - col) ** 2 <= radius**2] = colour
    return images
