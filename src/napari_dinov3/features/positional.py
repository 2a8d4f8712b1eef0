"""Take the position out of features, so that patches match by what they show and not by where they are.

A vision transformer's features carry their place in the tile: patches of unrelated images match best at equal coordinates,
which pulls an alignment towards no shift at all. The directions that do so are those in which the features of an image
without content differ; they are projected out. Use the result to match across images, the features themselves within one.

References
----------
.. [1] "INSID3", arXiv:2603.28480.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.backbones.base import Backbone, BackboneFacts
from napari_dinov3.backbones.checkpoints import find_noted
from napari_dinov3.backbones.registry import list_backbones, load_backbone
from napari_dinov3.backbones.sources import cache_folder
from napari_dinov3.errors import InputError
from napari_dinov3.features.embedding import embed_group, plan
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.features.neighbours import NEIGHBOURS
from napari_dinov3.image import as_planes
from napari_dinov3.normalize import Normalization

FloatArray = npt.NDArray[np.float32]

COMPONENTS = 20  # for ViT-B in [1]_; 16 to 500 were seen to work
_GREY = 0.5
_SMALLEST_NORM = 1e-12


def position_basis(
    model: Backbone, image_shape: tuple[int, int], *, components: int = COMPONENTS, tile_size: int | None = None
) -> FloatArray:
    """Find the directions in which a backbone encodes position.

    Parameters
    ----------
    model : Backbone
        The one that made the features.
    image_shape : (2,) ints
        Rows and columns of the images: the code depends on the size of a tile.
    components : int
        How many directions, at most one fewer than there are patches.
    tile_size : int, optional
        As the features were extracted with.

    Returns
    -------
    basis : (components, dim) float32
        Orthonormal, strongest first. Kept on disk for the next time.

    Notes
    -----
    One pass over a grey image; the normalised features are centred over positions, and the leading eigenvectors of their
    covariance taken.
    """
    if components < 1:
        raise InputError(f"components={components}", "at least 1 direction", f"Choose for example {COMPONENTS}")
    tile = tile_size or getattr(model, "tile_size", 0)
    name = hashlib.blake2b(f"1|{model.facts.name}|{model.revision}|{image_shape}|{tile}|{components}".encode(), digest_size=12)
    path = cache_folder() / "positions" / f"{name.hexdigest()}.npy"
    known = _read(path)
    if known is None:
        known = _measure(model, image_shape, components, tile_size)
        _write(path, known)
    return known


def remove_position(features: FeatureMap, basis: FloatArray) -> FeatureMap:
    """Project directions out of every patch, and give each the length 1.

    Parameters
    ----------
    features : FeatureMap
        On disk or in memory; a map on disk is debiased plane by plane as it is read.
    basis : (components, dim) float32
        From :func:`position_basis`.

    Returns
    -------
    features : FeatureMap
        With another revision, so that it cannot be taken for the original. CLS tokens stay as they are.
    """
    if basis.ndim != 2 or basis.shape[1] != features.dim:
        raise InputError(
            f"A basis of shape {basis.shape} for features of {features.dim} numbers",
            f"(components, {features.dim})",
            "Measure the basis with the backbone that made the features",
        )
    array: Any = _LazyPlanes(features.array, lambda plane: _project(plane, basis))
    if features.in_memory:
        array = np.stack([array[plane] for plane in range(len(features))])
    return replace(features, array=array, revision=f"{features.revision}-without-position-{len(basis)}")


def model_of(features: FeatureMap) -> Backbone | None:
    """Load what made a map, by its name and the options it notes; None where its features hold no position to remove.

    Raises
    ------
    InputError
        If its weights are not found, or are others than those that made the map.
    """
    facts = _facts_of(features.backbone)
    if facts is None or facts.kind != "dinov3" or "convnext" in facts.name:
        return None
    noted = features.provenance.get("network", {})
    options = {name: noted[name] for name in ("scale", "shifts", "flips", "layers") if name in noted}
    revision = features.revision.removesuffix(NEIGHBOURS)
    # the very weights, wherever they were read from; else those found by name, which may be the same
    model = load_backbone(facts.name, weights=find_noted(revision.partition("-")[0]), **options)
    if model.revision != revision:
        raise InputError(
            f"The weights of {facts.name} on this computer are others than those that made these features",
            "the backbone that made them, to take their position out",
            "Give it as model=load_backbone(name, weights=...), or model='none' to compare the features as they are",
        )
    return model


def _facts_of(name: str) -> BackboneFacts | None:
    return next((facts for facts in list_backbones() if facts.name == name), None)


def for_matching(features: FeatureMap, model: Backbone, *, components: int = COMPONENTS) -> FeatureMap:
    """Take the position out of a transformer's features; leave those of backbones that do not encode it alone.

    Parameters
    ----------
    features : FeatureMap
        To be matched with those of another image.
    model : Backbone
        The one that made them.
    components : int
        As in :func:`position_basis`.
    """
    if model.facts.kind != "dinov3" or "convnext" in model.facts.name:
        return features
    # tiles of the size the map was made with: the code is relative to the tile
    tile_size = features.provenance.get("tile_size")
    return remove_position(features, position_basis(model, features.image_shape, components=components, tile_size=tile_size))


def _measure(model: Backbone, image_shape: tuple[int, int], components: int, tile_size: int | None) -> FloatArray:
    blank = as_planes(np.full((1, *image_shape), _GREY, np.float32), axes="zyx", name="grey")
    layout = plan(blank, model, tile_size=tile_size, memory_gb=2.0)
    batches = embed_group(blank, model, Normalization(0.0, 1.0), layout, (0,), batch_size=1)
    (grid,) = (grid for batch in batches for _, grid, _ in batch.finished)
    flat = grid.reshape(-1, grid.shape[-1]).astype(np.float64)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), _SMALLEST_NORM)
    flat -= flat.mean(axis=0)
    count = min(components, len(flat) - 1, flat.shape[1])
    if count < 1:
        raise InputError(
            f"An image of {image_shape[0]}x{image_shape[1]} pixels has {len(flat)} patch",
            "at least two patches",
            "Use a larger image; a single patch has no position to remove",
        )
    _, vectors = np.linalg.eigh(flat.T @ flat)
    return np.ascontiguousarray(vectors[:, ::-1][:, :count].T, dtype=np.float32)


def _project(plane: FloatArray, basis: FloatArray) -> FloatArray:
    unit = plane / np.maximum(np.linalg.norm(plane, axis=-1, keepdims=True), _SMALLEST_NORM)
    unit = unit - (unit @ basis.T) @ basis
    unit /= np.maximum(np.linalg.norm(unit, axis=-1, keepdims=True), _SMALLEST_NORM)
    return np.asarray(unit, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _LazyPlanes:
    """Planes of an array, each changed as it is read."""

    source: Any
    change: Callable[[FloatArray], FloatArray]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.source.shape)

    @property
    def dtype(self) -> np.dtype[np.float32]:
        return np.dtype(np.float32)

    def __getitem__(self, at: Any) -> FloatArray:
        """Read planes by index or slice; further axes are cut afterwards."""
        first, rest = (at[0], at[1:]) if isinstance(at, tuple) else (at, ())
        if isinstance(first, slice):
            planes = range(self.shape[0])[first]
            whole = np.stack([self[plane] for plane in planes]) if len(planes) else np.empty((0, *self.shape[1:]), np.float32)
            return whole[(slice(None), *rest)]
        return self.change(np.asarray(self.source[first], np.float32))[rest]


@lru_cache(maxsize=8)
def _read_cached(path: Path, stamp: int) -> FloatArray:
    return np.asarray(np.load(path, allow_pickle=False), np.float32)


def _read(path: Path) -> FloatArray | None:
    try:
        return _read_cached(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, EOFError):
        return None


def _write(path: Path, basis: FloatArray) -> None:
    """Keep a basis; a cache that cannot be written costs time, no more."""
    fresh = path.with_name(f"{os.getpid()}-{path.name}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(fresh, basis)
        os.replace(fresh, path)
