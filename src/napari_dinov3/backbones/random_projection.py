"""The reference placeholder backbones: 16x16 patches, flattened, through a fixed random sign projection.

They carry no meaning beyond the pixels, need no download, and give the same numbers on every platform: inputs are rounded
to 14 bits and the projection is made of +1 and -1, so every partial sum is a whole number below 2**24 and exact in float32
in whatever order it is added. The signs come from SplitMix64, written out here, not from a library's generator.

References
----------
.. [1] D. Achlioptas, "Database-friendly random projections", J. Comput. Syst. Sci. 66 (2003), doi:10.1016/S0022-0000(03)00025-4.
.. [2] G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014,
   doi:10.1145/2660193.2660195.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from napari_dinov3.backbones.base import BackboneFacts, Embedding

PATCH = 16
_LEVELS = 16383  # 768 inputs * 16383 < 2**24


class RandomProjection:
    """Project flattened 16x16 patches onto fixed random directions.

    Parameters
    ----------
    facts : BackboneFacts
        Registry entry; its width is the number of directions.
    seed : int
        Which directions; 0 by default.
    """

    def __init__(self, facts: BackboneFacts, *, stride: int = PATCH, seed: int = 0) -> None:
        self.facts = facts
        self.stride = stride
        self.halo = 0
        self.revision = f"splitmix64-sign-seed{seed}"
        self._matrix = _sign_matrix(PATCH * PATCH * 3, facts.width, seed)

    def width(self, channels: int) -> int:
        """Numbers a patch; the same for grey and RGB."""
        return self.facts.width

    def embed(self, tiles: npt.NDArray[np.float32]) -> Embedding:
        """Embed a batch of tiles; see :class:`~napari_dinov3.backbones.base.Backbone`."""
        if tiles.ndim == 3:
            tiles = np.repeat(tiles[..., None], 3, axis=-1)
        count, height, width, channels = tiles.shape
        rows, cols = height // PATCH, width // PATCH
        levels = np.rint(tiles * np.float32(_LEVELS))
        patches = levels.reshape(count, rows, PATCH, cols, PATCH, channels).transpose(0, 1, 3, 2, 4, 5)
        features = patches.reshape(count * rows * cols, -1) @ self._matrix
        features *= np.float32(1.0 / (_LEVELS * PATCH))
        return Embedding(features.reshape(count, rows, cols, -1), None)


@lru_cache(maxsize=4)
def _sign_matrix(inputs: int, outputs: int, seed: int) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        counter = np.arange(1, inputs * outputs + 1, dtype=np.uint64)
        state = np.uint64(seed) + counter * np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    signs = np.where(state >> np.uint64(63), np.float32(1), np.float32(-1))
    return signs.reshape(inputs, outputs)
