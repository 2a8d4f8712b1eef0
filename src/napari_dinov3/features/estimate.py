"""What an extraction will take, before it is made: time, memory and room on disk.

Time is the work of all tiles over the speed that this computer showed, see :mod:`napari_dinov3.backbones.throughput`; memory is
the weights, the widest layers of one batch, and the map where it stays in memory. No pixel is read and torch is not loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_dinov3.backbones.base import BackboneFacts
from napari_dinov3.backbones.dinov3_models import PATCH, spec_of
from napari_dinov3.backbones.options import BackboneOptions, scale_of, stride_of, width_of
from napari_dinov3.backbones.registry import backbone_facts, load_backbone
from napari_dinov3.backbones.throughput import recall, remember_embedding, throughput_key, work_of_tile
from napari_dinov3.features.store import fits_in_memory
from napari_dinov3.features.tiling import blend_tiles, cut_tiles
from napari_dinov3.geometry import grid_length
from napari_dinov3.image import Planes
from napari_dinov3.progress import Job, Progress

_NETWORK_TILE = 1024  # side of a tile in pixels of the network
_MEASURED_SIDE = 256  # of the tile that is timed, in pixels of the network
_OVERLAP = 0.25
_BYTES_STORED = 2


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """What a run will take.

    Parameters
    ----------
    grid : (2,) ints
        Patches a plane.
    planes, dim : int
        Planes, and numbers a patch.
    stride : int
        Pixels between patch centres.
    patch_pixels : float
        Image pixels that a patch covers.
    seconds : float or None
        None where the speed has never been measured.
    memory_bytes : float
        Weights, one batch, and the map where it stays in memory.
    stored_bytes : float
        Of the map in the cache or in a folder (float16).
    in_memory : bool
        Whether the map fits in its share of the budget.
    """

    grid: tuple[int, int]
    planes: int
    dim: int
    stride: int
    patch_pixels: float
    seconds: float | None
    memory_bytes: float
    stored_bytes: float
    in_memory: bool


def estimate_run(
    planes: Planes,
    backbone: str,
    *,
    stride: int | None = None,
    options: BackboneOptions | None = None,
    rgb: bool | None = None,
    tile_size: int | None = None,
    memory_gb: float = 2.0,
) -> RunEstimate:
    """Estimate an extraction.

    Parameters
    ----------
    planes : Planes
        The image.
    backbone : str
        Registry name, resolved.
    stride, options, tile_size, memory_gb
        As for :func:`napari_dinov3.extract`.
    rgb : bool, optional
        Whether it is embedded in colours; by default whether the image has them.
    """
    facts, options = backbone_facts(backbone), options or BackboneOptions()
    step = stride_of(facts, stride, options)
    count, rows, cols = planes.shape
    grid = (grid_length(rows, step), grid_length(cols, step))
    dim = width_of(facts, rgb=planes.rgb if rgb is None else rgb, options=options)
    scale = scale_of(facts, step, options.shifts) if facts.kind == "dinov3" else 1
    tile, tiles = _tiles(facts, (rows, cols), step, tile_size or _NETWORK_TILE // scale)
    speed = recall(throughput_key(facts, options))
    work = count * tiles * work_of_tile(facts, tile, options, step)
    shape = (count, *grid, dim)
    in_memory = fits_in_memory(shape, memory_gb)
    held = (count if in_memory else 1) * grid[0] * grid[1] * dim * 4.0
    return RunEstimate(
        grid=grid,
        planes=count,
        dim=dim,
        stride=step,
        patch_pixels=facts.patch / scale,
        seconds=None if speed is None else work / speed,
        memory_bytes=held + _network_bytes(facts, tile, scale, options),
        stored_bytes=float(np.prod(shape, dtype=np.float64)) * _BYTES_STORED,
        in_memory=in_memory,
    )


def measure_speed_steps(backbone: str, *, options: BackboneOptions) -> Job[float]:
    """Time one small tile, once the network is loaded and warm; remembered for :func:`estimate_run`.

    Parameters
    ----------
    backbone, options
        As in :func:`estimate_run`; weights must be on this computer.

    Returns
    -------
    speed : float
        Work a second.
    """
    facts = backbone_facts(backbone)
    model = load_backbone(backbone, **options.given())
    scale = scale_of(facts, stride_of(facts, None, options), options.shifts) if facts.kind == "dinov3" else 1
    side = max(facts.patch, _MEASURED_SIDE // scale)
    tile = np.random.default_rng(0).random((1, side, side), dtype=np.float32)
    for turn in range(3):
        yield Progress(turn, 3, f"measuring how quick {backbone} is here")
        remember_embedding(model, tile)
    return recall(throughput_key(facts, options)) or 0.0


def _tiles(facts: BackboneFacts, shape: tuple[int, int], stride: int, side: int) -> tuple[tuple[int, int], int]:
    """Give the pixels of a tile, and how many a plane has."""
    if facts.kind == "dinov3":
        cut = tuple(blend_tiles(shape, stride=stride, tile_size=side, overlap=_OVERLAP))
    else:
        cut = tuple(cut_tiles(shape, stride=stride, tile_size=side, halo=0))
    rows, cols = (max(tile.shape[axis] for tile in cut) * stride for axis in (0, 1))
    return (rows, cols), len(cut)


def _network_bytes(facts: BackboneFacts, tile: tuple[int, int], scale: int, options: BackboneOptions) -> float:
    """Weights and the widest layers of one tile; a filter bank keeps a few images of the tile."""
    pixels = float(tile[0] * tile[1])
    if facts.kind != "dinov3":
        return pixels * 4 * (6 + facts.width / facts.stride**2)
    spec = spec_of(facts.name)
    bytes_each = 4.0 if options.precision == "float32" else 2.0
    tokens = pixels * scale**2 / PATCH**2
    widest = 8 * spec.widths[0] * 16 if spec.family == "convnext" else 8 * spec.width + 2 * spec.hidden
    return spec.millions * 1e6 * bytes_each + tokens * widest * 4
