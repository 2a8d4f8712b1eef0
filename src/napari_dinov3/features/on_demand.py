"""Features on demand: a feature map whose planes are computed when they are first read, and kept.

A task that needs three planes of a thousand waits for three. The map is an ordinary :class:`FeatureMap`: its `array` computes
what is read and is not there, with the numbers of a full extraction, because planes are embedded in the same groups and the
intensity window is settled once, before the first plane. Planes are kept in memory within the budget, else on disk; with a
store they stay for the next run.

Several threads may read at once: one group is embedded at a time, a batch after the other, and whoever waits for a plane helps
to finish it. A job that is closed in the middle loses nothing, not even the tiles of an unfinished plane.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.backbones.base import Backbone
from napari_dinov3.features.combine import JointArray, combine, is_joint, joint_steps
from napari_dinov3.features.embedding import EmbeddedBatch, batch_size_of, embed_group, groups_of
from napari_dinov3.features.extract import Extraction, as_feature_map, how_it_was_made, prepare_steps
from napari_dinov3.features.feature_map import FeatureMap, FloatArray
from napari_dinov3.features.store import FeatureStore, allocate, content_hashes, fits_in_memory, make_key
from napari_dinov3.features.stored_map import StoredMap
from napari_dinov3.progress import Job, Progress, collect, part_of

READ_BYTES = 1 << 28  # of planes on disk that are kept in memory after they were read
_STARTED = 4  # unfinished groups that are kept for later; each holds the grid of a plane


def extract_on_demand(image: Any, *, backbone: str | Backbone = "auto", **options: Any) -> FeatureMap:
    """Make a feature map whose planes are computed when they are first read.

    Parameters
    ----------
    image : array-like or Planes
        As for :func:`napari_dinov3.extract`.
    backbone : str or Backbone
        Registry name.
    **options
        Of :func:`on_demand_steps`.

    Returns
    -------
    features : FeatureMap
        The map of :func:`napari_dinov3.extract`, number for number; without CLS tokens, which need every plane:
        :func:`complete_steps` gives it them.

    Examples
    --------
    >>> import numpy as np, napari_dinov3 as nd
    >>> features = nd.extract_on_demand(np.zeros((100, 64, 64)), backbone="filter-bank")
    >>> features.plane(50).shape
    (32, 32, 32)
    """
    return collect(on_demand_steps(image, backbone=backbone, **options))


def on_demand_steps(
    image: Any, *, cache: FeatureStore | str | Path | None = None, memory_gb: float = 2.0, **options: Any
) -> Job[FeatureMap]:
    """Settle how planes are computed, and compute none; see :func:`extract_on_demand`.

    Parameters
    ----------
    image, memory_gb
        As in :func:`~napari_dinov3.features.extract.extract_steps`.
    cache : "user", path or FeatureStore, optional
        Keep the planes between runs, and take those that are there. To find them, every plane of the image is read once.
    **options
        Backbone, stride, percentiles, tile_size, batch_size and those of :func:`napari_dinov3.as_planes`.
    """
    if is_joint(options.get("backbone")):
        return (yield from joint_steps(on_demand_steps, image, cache=cache, memory_gb=memory_gb, **options))
    run = yield from prepare_steps(image, memory_gb=memory_gb, **options)
    stored = None
    if cache is not None:
        hashes: list[str] = []
        for digest in content_hashes(run.planes):
            yield Progress(0, run.layout.steps, f"looking for stored features: plane {len(hashes) + 1} of {len(run.planes)}")
            hashes.append(digest)
        store = cache if isinstance(cache, FeatureStore) else FeatureStore(None if cache == "user" else cache)
        facts = {"image": run.planes.name, "backbone": run.model.facts.name}
        stored = store.open(make_key(hashes, run.how()), run.shape, facts)
    array = PlanesOnDemand(run, stored)
    return as_feature_map(run, array, None, _provenance(run, array.precision, stored))


def _provenance(run: Extraction, precision: str, stored: StoredMap | None) -> dict[str, Any]:
    """Say how the planes are made, and how many are there already; a whole map says so itself, and no network is loaded."""
    if stored is None:
        return how_it_was_made(run, precision)
    made = (stored.complete and stored.provenance) or how_it_was_made(run, precision)
    return {**made, "precision": precision, "planes_from_cache": run.shape[0] - len(stored.pending)}


def planes_here(features: FeatureMap) -> frozenset[int]:
    """List the planes of a map that can be read without computing them."""
    here = getattr(features.array, "here", None)
    return frozenset(range(len(features))) if here is None else frozenset(here)


def fill_steps(features: FeatureMap, planes: Iterable[int]) -> Job[None]:
    """Compute some planes of a map, in the order given; those that are there cost nothing, and closing the job keeps them."""
    fill = getattr(features.array, "fill_steps", None)
    if fill is not None:
        yield from fill(planes)


def complete_steps(features: FeatureMap, first: int = 0) -> Job[FeatureMap]:
    """Compute all planes that are not there, from one plane outward, and give the map that a full extraction makes.

    Parameters
    ----------
    features : FeatureMap
        On demand; any other comes back as it is.
    first : int
        Plane to begin with.
    """
    array = features.array
    if isinstance(array, JointArray):
        maps = []
        for number, part in enumerate(array.sources):
            maps.append((yield from part_of(complete_steps(part, first), start=number, span=1, total=len(array.sources))))
        return combine(maps)
    if not isinstance(array, PlanesOnDemand):
        return features
    yield from array.fill_steps(sorted(range(len(features)), key=lambda plane: (abs(plane - first), plane)))
    return replace(features, array=array.finished(), cls=array.cls, provenance=MappingProxyType(dict(features.provenance)))


class PlanesOnDemand:
    """``(planes, rows, cols, dim)`` features, computed where they are read.

    Parameters
    ----------
    run : Extraction
        What is settled: planes, backbone, tiles, intensity window.
    stored : StoredMap, optional
        Where planes are kept between runs; otherwise in memory, or in a temporary folder over the budget.
    """

    def __init__(self, run: Extraction, stored: StoredMap | None = None) -> None:
        self.shape = run.shape
        self.ndim = 4
        self._run, self._stored = run, stored
        self._started: OrderedDict[int, Iterator[EmbeddedBatch]] = OrderedDict()
        self._embedding = threading.Lock()
        self._reading = threading.Lock()
        self._read: OrderedDict[int, FloatArray] = OrderedDict()
        self._tokens: dict[int, FloatArray | None] = {}
        in_memory = fits_in_memory(run.shape, run.memory_gb)
        self._array: Any = np.empty(run.shape, np.float32) if in_memory else None
        if stored is not None:
            self._tokens = dict.fromkeys(set(range(run.shape[0])) - set(stored.pending))
            self._loaded: set[int] = set()
            if not in_memory:
                self._array = stored.array
        elif not in_memory:
            self._array = allocate(run.shape, memory_gb=run.memory_gb)

    @cached_property
    def _size(self) -> int:
        """Tiles passed at once; asked only when something is computed, since a network's device decides it."""
        return self._run.batch_size or batch_size_of(self._run.layout, self._run.model)

    @cached_property
    def _groups(self) -> list[range]:
        return groups_of(self._run.layout, self._size)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers as they are kept."""
        dtype: np.dtype[Any] = np.dtype(self._array.dtype)
        return dtype

    @property
    def precision(self) -> str:
        """Data type the numbers have been rounded to."""
        return str(self._array.dtype) if self._stored is None else str(self._stored.manifest["dtype"])

    @property
    def here(self) -> frozenset[int]:
        """Planes that are computed."""
        return frozenset(self._tokens)

    @property
    def nbytes(self) -> int:
        """Memory the planes take that are here; nothing for those on disk."""
        return len(self._tokens) * int(np.prod(self.shape[1:])) * 4 if isinstance(self._array, np.ndarray) else 0

    @property
    def cls(self) -> FloatArray | None:
        """``(planes, dim)`` CLS tokens, once every plane is here and the backbone has them."""
        if self._stored is not None:
            return self._stored.cls
        tokens = [self._tokens.get(plane) for plane in range(len(self))]
        present = [token for token in tokens if token is not None]
        return np.stack(present) if len(present) == len(tokens) else None

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        first, *rest = index if isinstance(index, tuple) else (index,)
        if isinstance(first, int | np.integer):
            plane: npt.NDArray[Any] = self.plane(range(len(self))[int(first)])[tuple(rest)]
            return plane
        if first is Ellipsis or first is None:
            every: npt.NDArray[Any] = np.asarray(self)[index]
            return every
        chosen = np.arange(len(self))[first]
        whole = np.stack([self.plane(int(plane)) for plane in chosen]) if len(chosen) else np.empty((0, *self.shape[1:]))
        part: npt.NDArray[Any] = np.asarray(whole[(slice(None), *rest)])
        return part

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        whole: npt.NDArray[Any] = self[:].astype(dtype or self.dtype, copy=False)
        return whole

    def plane(self, index: int) -> npt.NDArray[Any]:
        """Read one plane, computing it first where it is not here: ``(rows, cols, dim)``."""
        while index not in self._tokens:
            self._advance(index)
        if self._stored is not None and isinstance(self._array, np.ndarray):
            with self._reading:
                if index not in self._loaded:
                    self._array[index] = self._stored.array[index]
                    self._loaded.add(index)
        if not isinstance(self._array, np.ndarray):
            return self._from_disk(index)
        plane: npt.NDArray[Any] = self._array[index]
        return plane

    def fill_steps(self, planes: Iterable[int]) -> Job[None]:
        """Compute planes in the order given."""
        wanted = [plane for plane in planes if plane not in self._tokens]
        total = len(wanted) * len(self._run.layout.tiles)
        for plane in wanted:
            batches = 0
            while plane not in self._tokens:
                done = sum(p in self._tokens for p in wanted) * len(self._run.layout.tiles)
                yield Progress(min(done + batches, total), total, f"features of plane {plane + 1} of {len(self)}")
                self._advance(plane)
                batches = min(batches + self._size, len(self._run.layout.tiles) - 1)

    def finished(self) -> Any:
        """Give the plain array behind this one, once every plane is here."""
        if self._stored is None:
            return self._array
        self._stored.touch()
        if isinstance(self._array, np.ndarray):
            for plane in range(len(self)):
                self.plane(plane)
        return self._array

    def _advance(self, plane: int) -> None:
        """Embed the next batch of the group of a plane, or wait for another thread that does."""
        with self._embedding:
            if plane in self._tokens:
                return
            number = next(at for at, group in enumerate(self._groups) if plane in group)
            batches = self._started.get(number)
            if batches is None:
                run = self._run
                batches = embed_group(run.planes, run.model, run.window, run.layout, self._groups[number], batch_size=self._size)
                self._started[number] = batches
                while len(self._started) > _STARTED:
                    self._started.popitem(last=False)
            try:
                batch = next(batches)
                for each, grid, token in batch.finished:
                    self._keep(each, grid, token)
            except BaseException:  # what could not be read or embedded is begun anew by the next who asks
                self._started.pop(number, None)
                raise
            if all(each in self._tokens for each in self._groups[number]):
                self._started.pop(number, None)

    def _keep(self, plane: int, grid: FloatArray, token: FloatArray | None) -> None:
        if plane in self._tokens:
            return
        if self._stored is not None:
            self._stored.write(plane, grid, token)
            self._stored.touch()
            if not self._stored.pending:
                self._stored.describe(how_it_was_made(self._run, self.precision))
        else:
            self._array[plane] = grid
        self._tokens[plane] = token

    def _from_disk(self, plane: int) -> FloatArray:
        """Read a plane, and keep the last few: a probe reads its painted planes again after every stroke."""
        with self._reading:
            found = self._read.get(plane)
            if found is None:
                if self._stored is not None:
                    self._stored.touch()  # a map unused for long is the first to make room for others
                found = self._read[plane] = np.asarray(self._array[plane], np.float32)
            self._read.move_to_end(plane)
            while len(self._read) > max(1, READ_BYTES // max(1, found.nbytes)):
                self._read.popitem(last=False)
            return found
