"""How long a backbone takes on this computer: measured once on a small batch, refined by every run, remembered between runs.

What is remembered is a speed: work a second, where the work of a tile is counted from the shape of the network. A vision
transformer's attention grows with the square of its tokens, so that seconds a pixel of a small tile say little of a large one.
Nothing here loads torch; an estimate can be shown before anything is loaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
import numpy.typing as npt

from napari_dinov3.backbones.base import Backbone, BackboneFacts, Embedding
from napari_dinov3.backbones.dinov3_models import PATCH, REGISTERS, STAGE3, spec_of
from napari_dinov3.backbones.options import BackboneOptions, scale_of, stride_of
from napari_dinov3.backbones.sources import cache_folder

_NOTES = "throughput.json"
_WEIGHT_OF_NEW = 0.3  # of a new measurement in the running mean
_WRITE_ABOVE = 0.1  # relative change of a speed that is worth writing down
_LOCK = threading.Lock()
_KNOWN: dict[Path, dict[str, float]] = {}
_WARM: WeakSet[Any] = WeakSet()


def work_of_tile(facts: BackboneFacts, shape: tuple[int, int], options: BackboneOptions, stride: int | None = None) -> float:
    """Count the work of one tile: floating-point operations of a network, pixels of anything else.

    Parameters
    ----------
    facts : BackboneFacts
        Of the backbone.
    shape : (2,) ints
        Rows and columns of the tile in image pixels.
    options, stride
        How it is run: enlarging, shifts and flips multiply the work.
    """
    pixels = float(shape[0] * shape[1])
    if facts.kind != "dinov3":
        return pixels
    spec = spec_of(facts.name)
    scale = scale_of(facts, stride_of(facts, stride, options), options.shifts)
    passes = options.shifts**2 * {"none": 1, "horizontal": 2, "all": 4}[options.flips]
    if spec.family == "convnext":
        stages = list(zip(spec.widths, spec.depths, (4, 8, 16, 32), strict=True))[: 3 if facts.name.endswith(STAGE3) else 4]
        blocks = sum(depth * (16 * width**2 + 98 * width) / step**2 for width, depth, step in stages)
        return passes * pixels * scale**2 * blocks
    tokens = pixels * scale**2 / PATCH**2 + 1 + REGISTERS
    width, linear = spec.width, 4 * spec.width**2 + (3 if spec.gated else 2) * spec.width * spec.hidden
    return passes * spec.depths[0] * (2 * tokens * linear + 4 * tokens**2 * width)


def throughput_key(facts: BackboneFacts, options: BackboneOptions) -> str:
    """Name what a speed is of: backbone, device and precision as they were asked for."""
    return f"{facts.name.removesuffix(STAGE3)}|{options.device}|{options.precision}"


def remember(key: str, work: float, seconds: float) -> None:
    """Take a measurement in; a cache that cannot be written costs a measurement, no more."""
    if work <= 0 or seconds <= 0:
        return
    with _LOCK:
        path = cache_folder() / _NOTES
        known = _read(path)
        before, speed = known.get(key), work / seconds
        known[key] = speed if before is None else before + _WEIGHT_OF_NEW * (speed - before)
        if before is None or abs(known[key] / before - 1) > _WRITE_ABOVE:
            _write(path, known)


def recall(key: str) -> float | None:
    """Give a speed in work a second, None where it has not been measured."""
    with _LOCK:
        return _read(cache_folder() / _NOTES).get(key)


def _read(path: Path) -> dict[str, float]:
    if path not in _KNOWN:
        notes: Any = {}
        with contextlib.suppress(OSError, ValueError):
            notes = json.loads(path.read_text(encoding="utf-8"))
        usable = notes.items() if isinstance(notes, dict) else ()
        _KNOWN[path] = {str(key): float(speed) for key, speed in usable if isinstance(speed, int | float) and speed > 0}
    return _KNOWN[path]


def _write(path: Path, known: dict[str, float]) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(known, indent=1), encoding="utf-8")
        os.replace(fresh, path)


def remember_embedding(model: Backbone, tiles: npt.NDArray[np.float32]) -> Embedding:
    """Embed a batch and remember how long it took; a backbone's first batch loads and warms it, and does not count.

    Parameters
    ----------
    model : Backbone
        Which one.
    tiles : (n, H, W) or (n, H, W, 3) float32
        As for its ``embed``.
    """
    start = time.perf_counter()
    embedding = model.embed(tiles)
    seconds = time.perf_counter() - start
    if model in _WARM:
        options = getattr(model, "options", BackboneOptions())
        work = work_of_tile(model.facts, (tiles.shape[1], tiles.shape[2]), options, model.stride)
        remember(throughput_key(model.facts, options), len(tiles) * work, seconds)
    else:
        _WARM.add(model)
    return embedding
