"""Embed the planes of an image: cut tiles, pass them in batches, put each plane's grid together.

Batches never reach over a group of planes, and groups are counted from the first plane, so that a plane's numbers are the same
bit for bit whether the run went through, was resumed in the middle or was spread over several computers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_dinov3.backbones.base import Backbone
from napari_dinov3.backbones.throughput import remember_embedding
from napari_dinov3.errors import InputError
from napari_dinov3.features.tiling import Tile, blend_tiles, cut_tiles, pad_plane
from napari_dinov3.geometry import grid_length
from napari_dinov3.image import Planes
from napari_dinov3.normalize import Normalization

DEFAULT_TILE = 1024
SMALLEST_TILE = 128
BATCH_PIXELS = 1 << 20  # more at once is no quicker on a processor
_WORKING_COPIES = 6  # a filter keeps about this many images of a tile beside its features

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Layout:
    """How planes are cut.

    ``grid``: rows and columns of patches. ``tiles``: of each plane. ``tile_size``: side of a tile (its core) in pixels.
    ``planes``: how many. ``batch_limit``: tiles that a quarter of the memory budget holds.
    """

    grid: tuple[int, int]
    tiles: tuple[Tile, ...]
    tile_size: int
    planes: int
    batch_limit: int

    @property
    def steps(self) -> int:
        """Tiles of all planes."""
        return self.planes * len(self.tiles)


def plan(planes: Planes, model: Backbone, *, tile_size: int | None, memory_gb: float) -> Layout:
    """Decide how planes are cut.

    Parameters
    ----------
    planes, model
        The image and the backbone.
    tile_size : int, optional
        Side of a tile in pixels; by default what suits the backbone, less if the memory budget asks for it.
    memory_gb : float
        Budget in gigabytes (1e9 bytes).
    """
    if not 0 < memory_gb < np.inf:
        raise InputError(f"memory_gb={memory_gb}", "a positive number of gigabytes", "Give the memory this run may use")
    if tile_size is not None and tile_size < model.stride:
        raise InputError(f"tile_size={tile_size}", f"at least one patch of {model.stride} pixels", "Give a larger tile size")
    _, rows, cols = planes.shape
    per_pixel = 4 * (planes.channels * _WORKING_COPIES + model.width(planes.channels) / model.stride**2)
    side: int = getattr(model, "tile_size", DEFAULT_TILE) if tile_size is None else tile_size
    while tile_size is None and side > SMALLEST_TILE:
        read = (min(side, rows) + 2 * model.halo) * (min(side, cols) + 2 * model.halo)
        if read * per_pixel <= memory_gb * 1e9 / 4:
            break
        side //= 2
    overlap = getattr(model, "overlap", 0.0)
    if overlap:
        tiles = tuple(blend_tiles((rows, cols), stride=model.stride, tile_size=side, overlap=overlap))
    else:
        tiles = tuple(cut_tiles((rows, cols), stride=model.stride, tile_size=side, halo=model.halo))
    limit = max(1, int(memory_gb * 1e9 / 4 / (_tile_pixels(tiles, model) * per_pixel)))
    return Layout((grid_length(rows, model.stride), grid_length(cols, model.stride)), tiles, side, len(planes), limit)


def batch_size_of(layout: Layout, model: Backbone) -> int:
    """Tiles to pass at once, if the user does not say."""
    at_once = getattr(model, "batch_pixels", BATCH_PIXELS) // _tile_pixels(layout.tiles, model)
    return max(1, min(layout.batch_limit, int(at_once)))


def groups_of(layout: Layout, batch_size: int) -> list[range]:
    """Split the planes into groups whose tiles share batches, counted from the first plane."""
    size = max(1, batch_size // len(layout.tiles))
    return [range(start, min(start + size, layout.planes)) for start in range(0, layout.planes, size)]


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedBatch:
    """What one batch finished: how many tiles it had, and the planes that are now whole with their grids and CLS tokens."""

    tiles: int
    finished: tuple[tuple[int, FloatArray, FloatArray | None], ...]


def embed_group(
    planes: Planes, model: Backbone, window: Normalization, layout: Layout, group: Sequence[int], *, batch_size: int
) -> Iterator[EmbeddedBatch]:
    """Embed the planes of one group, batch after batch.

    Parameters
    ----------
    planes, model, window, layout
        The image, the backbone, the intensity window and the tiles.
    group : sequence of int
        From :func:`groups_of`.
    batch_size : int
        Tiles passed at once.

    Yields
    ------
    batch : EmbeddedBatch
        A plane's grid is ``(rows, cols, dim)`` float32; its CLS token the mean over its tiles.
    """
    grids: dict[int, FloatArray] = {}
    tokens: dict[int, list[FloatArray]] = {}
    left = dict.fromkeys(group, len(layout.tiles))
    for batch in _batches(planes, model, window, layout, group, batch_size):
        embedding = remember_embedding(model, np.stack([pixels for _, _, pixels in batch]))
        finished = []
        for at, (plane, tile, _) in enumerate(batch):
            if plane not in grids:
                grids[plane] = np.zeros((*layout.grid, embedding.patches.shape[-1]), np.float32)
            tile.keep(embedding.patches[at], grids[plane])
            if embedding.cls is not None:
                tokens.setdefault(plane, []).append(embedding.cls[at])
            left[plane] -= 1
            if not left[plane]:
                token = np.mean(tokens.pop(plane), axis=0) if plane in tokens else None
                finished.append((plane, grids.pop(plane), token))
        yield EmbeddedBatch(len(batch), tuple(finished))


_Item = tuple[int, Tile, FloatArray]


def _batches(
    planes: Planes, model: Backbone, window: Normalization, layout: Layout, group: Sequence[int], batch_size: int
) -> Iterator[list[_Item]]:
    batch: list[_Item] = []
    for plane in group:
        padded = pad_plane(window.apply(planes.plane(plane)), model.stride)
        for tile in layout.tiles:
            if batch and (len(batch) == batch_size or batch[0][1].shape != tile.shape):
                yield batch
                batch = []
            batch.append((plane, tile, tile.pixels(padded, model.stride)))
    yield batch


def _tile_pixels(tiles: tuple[Tile, ...], model: Backbone) -> int:
    return max(tile.shape[0] * tile.shape[1] for tile in tiles) * model.stride**2
