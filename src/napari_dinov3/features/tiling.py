"""Cut a plane into tiles with context, and put their grids together again.

A tile's core is what it contributes; around it lies a halo of true image, clipped at the image border, so that a backbone
whose reach is no longer than the halo gives the same features as on the whole plane. Cores and halos are whole patches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_dinov3.geometry import grid_length


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile, in patches of the plane's grid.

    ``read``: the patches whose pixels are read (core and halo), ``core``: those kept, each ``(row0, row1, col0, col1)``.
    """

    read: tuple[int, int, int, int]
    core: tuple[int, int, int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of patches read."""
        return self.read[1] - self.read[0], self.read[3] - self.read[2]

    def pixels(self, padded: npt.NDArray[np.float32], stride: int) -> npt.NDArray[np.float32]:
        """Cut the tile out of a plane padded by :func:`pad_plane`."""
        row0, row1, col0, col1 = (edge * stride for edge in self.read)
        return padded[row0:row1, col0:col1]

    def keep(self, grid: npt.NDArray[np.float32], out: npt.NDArray[np.float32]) -> None:
        """Copy the core of this tile's features into the plane's grid."""
        row0, row1, col0, col1 = self.core
        top, left = row0 - self.read[0], col0 - self.read[2]
        out[row0:row1, col0:col1] = grid[top : top + row1 - row0, left : left + col1 - col0]


def pad_plane(plane: npt.NDArray[np.float32], stride: int) -> npt.NDArray[np.float32]:
    """Reflect a plane at its lower and right border until its sides are whole patches."""
    pad = [(0, grid_length(size, stride) * stride - size) for size in plane.shape[:2]]
    if not any(after for _, after in pad):
        return plane
    return np.pad(plane, [*pad, *[(0, 0)] * (plane.ndim - 2)], mode="symmetric")


def cut_tiles(image_shape: tuple[int, int], *, stride: int, tile_size: int, halo: int) -> Iterator[Tile]:
    """Cover a plane with tiles of equal core.

    Parameters
    ----------
    image_shape : (2,) ints
        Rows and columns in pixels.
    stride : int
        Pixels a patch.
    tile_size : int
        Side of a tile's core in pixels; rounded down to whole patches, at least one.
    halo : int
        Pixels of context wanted on each side; rounded up to whole patches.
    """
    rows, cols = (grid_length(size, stride) for size in image_shape)
    core, around = max(1, tile_size // stride), -(-halo // stride)
    for row in range(0, rows, core):
        for col in range(0, cols, core):
            row1, col1 = min(row + core, rows), min(col + core, cols)
            read = (max(0, row - around), min(rows, row1 + around), max(0, col - around), min(cols, col1 + around))
            yield Tile(read, (row, row1, col, col1))
