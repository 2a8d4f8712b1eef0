"""Cut a plane into tiles with context, and put their grids together again.

A tile's core is what it contributes; around it lies a halo of true image, clipped at the image border, so that a backbone
whose reach is no longer than the halo gives the same features as on the whole plane. Cores and halos are whole patches.

A network whose every feature depends on the whole tile knows no such halo. Its tiles are all of one size, overlap, and are
blended with weights that fall off linearly over the overlap and add up to one everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from napari_dinov3.geometry import grid_length

ALIGNMENT = 8  # pixels; a backbone that works on a shrunken image must see the same cells whatever the tiles


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile, in patches of the plane's grid.

    ``read``: the patches whose pixels are read (core and halo), ``core``: those kept, each ``(row0, row1, col0, col1)``.
    ``weights``: of a tile that is blended, the share of each row and of each column it reads; they add up over tiles.
    """

    read: tuple[int, int, int, int]
    core: tuple[int, int, int, int]
    weights: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None = field(default=None, compare=False, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of patches read."""
        return self.read[1] - self.read[0], self.read[3] - self.read[2]

    def pixels(self, padded: npt.NDArray[np.float32], stride: int) -> npt.NDArray[np.float32]:
        """Cut the tile out of a plane padded by :func:`pad_plane`."""
        row0, row1, col0, col1 = (edge * stride for edge in self.read)
        return padded[row0:row1, col0:col1]

    def keep(self, grid: npt.NDArray[np.float32], out: npt.NDArray[np.float32]) -> None:
        """Copy the core of this tile's features into the plane's grid, or add its share to a grid that began as zeros."""
        row0, row1, col0, col1 = self.core
        if self.weights is not None:
            rows, cols = self.weights
            out[row0:row1, col0:col1] += grid * (rows[:, None] * cols)[..., None]
            return
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
        Side of a tile's core in pixels; rounded down to whole patches and multiples of 8 pixels, at least one of them.
    halo : int
        Pixels of context wanted on each side; rounded up likewise.
    """
    rows, cols = (grid_length(size, stride) for size in image_shape)
    step = max(1, ALIGNMENT // stride)
    core, around = max(1, tile_size // stride // step) * step, -(-halo // stride // step) * step
    for row in range(0, rows, core):
        for col in range(0, cols, core):
            row1, col1 = min(row + core, rows), min(col + core, cols)
            read = (max(0, row - around), min(rows, row1 + around), max(0, col - around), min(cols, col1 + around))
            yield Tile(read, (row, row1, col, col1))


def blend_tiles(image_shape: tuple[int, int], *, stride: int, tile_size: int, overlap: float) -> Iterator[Tile]:
    """Cover a plane with overlapping tiles of one size, evenly spread.

    Parameters
    ----------
    image_shape : (2,) ints
        Rows and columns in pixels.
    stride : int
        Pixels a patch.
    tile_size : int
        Side of a tile in pixels; rounded down to whole patches, at least one. A plane no larger is one tile.
    overlap : float
        Smallest part of a tile that neighbours share, 0..1.
    """
    rows, cols = (_spread(grid_length(size, stride), max(1, tile_size // stride), overlap) for size in image_shape)
    for row0, row1, row_weights in rows:
        for col0, col1, col_weights in cols:
            read = (row0, row1, col0, col1)
            whole = len(rows) == len(cols) == 1
            yield Tile(read, read, None if whole else (row_weights, col_weights))


def _spread(length: int, tile: int, overlap: float) -> list[tuple[int, int, npt.NDArray[np.float32]]]:
    """Place tiles along one axis; give first and last patch and the weights, which add up to 1 at every patch."""
    tile = min(tile, length)
    step = max(1, tile - round(tile * overlap))
    count = 1 + -(-(length - tile) // step)
    starts = np.rint(np.linspace(0, length - tile, count)).astype(int)
    weights = np.zeros((count, length))
    for at, start in enumerate(starts):
        inside = np.arange(tile)
        from_left = np.inf if at == 0 else inside + 0.5
        from_right = np.inf if at == count - 1 else tile - inside - 0.5
        shared = max(1, tile - int(np.diff(starts).min(initial=tile)))
        weights[at, start : start + tile] = np.minimum(np.minimum(from_left, from_right) / shared, 1)
    weights /= weights.sum(axis=0)
    return [(int(s), int(s) + tile, weights[at, s : s + tile].astype(np.float32)) for at, s in enumerate(starts)]
