"""Turn an image into a feature map: read a plane, normalise it, cut tiles, embed them in batches, put the grid together.

Planes are read one at a time and written to the map as soon as they are whole, so a stack larger than memory passes through
in the memory of a few tiles; a map over the budget goes to disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.backbones.base import Backbone
from napari_dinov3.backbones.registry import choose_backbone, load_backbone
from napari_dinov3.errors import InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.features.store import allocate
from napari_dinov3.features.tiling import Tile, blend_tiles, cut_tiles, pad_plane
from napari_dinov3.geometry import grid_length
from napari_dinov3.image import Planes, as_planes
from napari_dinov3.normalize import Normalization, estimate_normalization
from napari_dinov3.progress import Job, Progress, collect

DEFAULT_TILE = 1024
SMALLEST_TILE = 128
BATCH_PIXELS = 1 << 20  # more at once is no quicker on a processor
_WORKING_COPIES = 6  # a filter keeps about this many images of a tile beside its features


def extract(image: Any, *, backbone: str | Backbone = "auto", **options: Any) -> FeatureMap:
    """Compute the patch features of an image or a stack.

    Parameters
    ----------
    image : array-like or Planes
        Anything :func:`napari_dinov3.as_planes` accepts: ``(y, x)``, ``(z, y, x)``, with colours last; numpy or dask.
    backbone : str or Backbone
        Registry name; ``"auto"`` takes the best that is present and records which.
    **options
        Of :func:`extract_steps`.

    Returns
    -------
    features : FeatureMap
        ``.array`` is ``(planes, rows, cols, dim)``.

    Examples
    --------
    >>> import numpy as np, napari_dinov3 as nd
    >>> nd.extract(np.zeros((32, 48)), backbone="random-projection-cnx-tiny").array.shape
    (1, 2, 3, 384)
    """
    return collect(extract_steps(image, backbone=backbone, **options))


def extract_steps(
    image: Any,
    *,
    backbone: str | Backbone = "auto",
    stride: int | None = None,
    percentiles: tuple[float, float] = (0.5, 99.5),
    tile_size: int | None = None,
    batch_size: int | None = None,
    memory_gb: float = 2.0,
    folder: str | Path | None = None,
    **image_options: Any,
) -> Job[FeatureMap]:
    """Compute features step by step; see :func:`extract`.

    Parameters
    ----------
    image, backbone
        As in :func:`extract`.
    stride : int, optional
        Pixels between patch centres, out of the backbone's own list.
    percentiles : (2,) floats
        Intensity window of the whole stack, see :func:`~napari_dinov3.normalize.estimate_normalization`.
    tile_size : int, optional
        Side of a tile's core in pixels; by default 1024, less if the memory budget asks for it. Away from tile borders, and
        within the backbone's stated tolerance at them, the result does not depend on it.
    batch_size : int, optional
        Tiles embedded at once; by default as many as a quarter of the budget holds.
    memory_gb : float
        Budget in gigabytes (1e9 bytes). A map over half of it goes to disk as float16.
    folder : path, optional
        Keep the map on disk in this folder.
    **image_options
        Of :func:`napari_dinov3.as_planes`: axes, rgb, channel, spacing, units, level, name.

    Yields
    ------
    progress : Progress
        After each batch of tiles.
    """
    planes = as_planes(image, **image_options)
    chosen, reason = choose_backbone(backbone) if isinstance(backbone, str) else (backbone.facts.name, "given as an object")
    model = load_backbone(chosen, stride=stride) if isinstance(backbone, str) else backbone
    layout = _plan(planes, model, tile_size, batch_size, memory_gb)
    yield Progress(0, layout.steps, f"{chosen} ({reason})")
    window = estimate_normalization(planes, percentiles)
    shape = (len(planes), *layout.grid, model.width(planes.channels))
    array = allocate(shape, memory_gb=memory_gb, folder=None if folder is None else Path(folder))
    cls: list[npt.NDArray[np.float32] | None] = [None] * len(planes)
    done = 0
    for plane, grid, token, count in _embedded_planes(planes, model, window, layout):
        done += count
        if grid is not None:
            array[plane] = grid
            cls[plane] = token
        yield Progress(min(done, layout.steps), layout.steps, f"plane {plane + 1} of {len(planes)}")
    return _as_feature_map(planes, model, array, cls, window, {"reason": reason, "percentiles": list(percentiles)})


@dataclass(frozen=True, slots=True)
class _Layout:
    grid: tuple[int, int]
    tiles: tuple[Tile, ...]
    batch_size: int
    steps: int


def _plan(planes: Planes, model: Backbone, tile_size: int | None, batch_size: int | None, memory_gb: float) -> _Layout:
    if memory_gb <= 0:
        raise InputError(f"memory_gb={memory_gb}", "a positive number of gigabytes", "Give the memory this run may use")
    if tile_size is not None and tile_size < model.stride:
        raise InputError(f"tile_size={tile_size}", f"at least one patch of {model.stride} pixels", "Give a larger tile size")
    _, rows, cols = planes.shape
    per_pixel = 4 * (planes.channels * _WORKING_COPIES + model.width(planes.channels) / model.stride**2)
    side: int = tile_size or getattr(model, "tile_size", DEFAULT_TILE)
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
    tile_pixels = max(tile.shape[0] * tile.shape[1] for tile in tiles) * model.stride**2
    at_once = max(1, getattr(model, "batch_pixels", BATCH_PIXELS) // tile_pixels)
    batch = batch_size or int(np.clip(memory_gb * 1e9 / 4 / (tile_pixels * per_pixel), 1, at_once))
    return _Layout((grid_length(rows, model.stride), grid_length(cols, model.stride)), tiles, batch, len(planes) * len(tiles))


_Done = tuple[int, npt.NDArray[np.float32] | None, npt.NDArray[np.float32] | None, int]


def _embedded_planes(planes: Planes, model: Backbone, window: Normalization, layout: _Layout) -> Iterator[_Done]:
    """Embed tile after tile in batches of equal shape; give each plane's grid when it is whole, None for the batches between."""
    grids: dict[int, npt.NDArray[np.float32]] = {}
    tokens: dict[int, list[npt.NDArray[np.float32]]] = {}
    left = [len(layout.tiles)] * len(planes)
    for batch in _batches(planes, model, window, layout):
        embedding = model.embed(np.stack([pixels for _, _, pixels in batch]))
        finished = []
        for at, (plane, tile, _) in enumerate(batch):
            if plane not in grids:
                grids[plane] = np.zeros((*layout.grid, embedding.patches.shape[-1]), np.float32)
            tile.keep(embedding.patches[at], grids[plane])
            if embedding.cls is not None:
                tokens.setdefault(plane, []).append(embedding.cls[at])
            left[plane] -= 1
            if not left[plane]:
                finished.append(plane)
        for plane in finished:
            token = np.mean(tokens.pop(plane), axis=0) if plane in tokens else None
            yield plane, grids.pop(plane), token, 0
        yield batch[-1][0], None, None, len(batch)


_Item = tuple[int, Tile, npt.NDArray[np.float32]]


def _batches(planes: Planes, model: Backbone, window: Normalization, layout: _Layout) -> Iterator[list[_Item]]:
    batch: list[_Item] = []
    for plane in range(len(planes)):
        padded = pad_plane(window.apply(planes.plane(plane)), model.stride)
        for tile in layout.tiles:
            if batch and (len(batch) == layout.batch_size or batch[0][1].shape != tile.shape):
                yield batch
                batch = []
            batch.append((plane, tile, tile.pixels(padded, model.stride)))
    yield batch


def _as_feature_map(
    planes: Planes,
    model: Backbone,
    array: Any,
    cls: list[npt.NDArray[np.float32] | None],
    window: Normalization,
    how: dict[str, Any],
) -> FeatureMap:
    from napari_dinov3 import __version__

    tokens = [token for token in cls if token is not None]
    provenance = {
        "package": "napari-dinov3", "version": __version__, "image": planes.name, "image_dtype": str(planes.dtype),
        "backbone": model.facts.name, "revision": model.revision, "stride": model.stride,
        "intensity_window": [window.low, window.high], "precision": str(array.dtype), **how,
        **({"network": dict(model.provenance)} if hasattr(model, "provenance") else {}),
    }
    _, rows, cols = planes.shape
    return FeatureMap(
        array=array, backbone=model.facts.name, revision=model.revision, stride=float(model.stride),
        first_centre=(model.stride - 1) / 2, image_shape=(rows, cols), world_from_pixel=planes.world_from_pixel, axes=planes.axes,
        spacing=planes.spacing, units=planes.units, cls=np.stack(tokens) if len(tokens) == len(cls) else None,
        provenance=MappingProxyType(provenance),
    )
