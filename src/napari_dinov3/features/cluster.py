"""Embed the planes of a stack on the workers of a Dask cluster.

Each task is a group of planes. It reads its planes, embeds them with a network that its process loads once (on its own graphics
card where it has one) and writes their features straight into the stored map, which must lie where every worker can reach it;
only CLS tokens travel back. The journal of the map is kept here, by one process. A lost worker's tasks are done again by the
others, and a run that stops goes on later, on the cluster or without it: the groups are those of a local run, so the numbers
are too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.backbones.base import Backbone
from napari_dinov3.errors import InputError, MissingDependencyError
from napari_dinov3.features.embedding import Layout, batch_size_of, embed_group, groups_of
from napari_dinov3.features.extract import Extraction, keep_steps, prepare_steps
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.features.store import FeatureStore
from napari_dinov3.features.stored_map import ARRAY, MANIFEST, StoredMap
from napari_dinov3.image import Planes
from napari_dinov3.normalize import Normalization
from napari_dinov3.progress import Job, Progress

_AHEAD = 2  # tasks waiting for each thread of a worker, so that none is idle and few planes are in flight


def extract_on_cluster_steps(
    image: Any,
    *,
    client: Any,
    folder: str | Path | None = None,
    cache: FeatureStore | str | Path | None = None,
    **options: Any,
) -> Job[FeatureMap]:
    """Compute features on a cluster; see :func:`napari_dinov3.extract`.

    Parameters
    ----------
    image : array-like or Planes
        Best a dask array whose chunks every worker can read by itself; a numpy array is sent plane by plane.
    client : dask.distributed.Client or str
        The cluster, or its scheduler's address such as ``"tcp://10.0.0.1:8786"``.
    folder, cache
        Where the map is kept, as in :func:`~napari_dinov3.features.extract.extract_steps`; by default the user's own store. It
        and the weights must be on a file system that all workers share.
    **options
        The other options of :func:`~napari_dinov3.features.extract.extract_steps`.

    Yields
    ------
    progress : Progress
        After each group of planes. Closing the job takes back the tasks that have not begun.

    Raises
    ------
    InputError
        If a worker cannot reach the map, or planes bring their workers down again and again.
    MissingDependencyError
        If dask.distributed is not installed.
    """
    if folder is None and cache is None:
        cache = "user"
    run = yield from prepare_steps(image, **options)
    connected, opened = _connect(client)
    try:
        return (yield from keep_steps(run, folder=folder, cache=cache, fill=lambda run, stored: _fill(run, stored, connected)))
    finally:
        if opened:
            connected.close()


def _connect(client: Any) -> tuple[Any, bool]:
    """Give a client, and whether it was opened here."""
    if not isinstance(client, str):
        return client, False
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise MissingDependencyError(
            f"A cluster at {client} needs dask.distributed", "this package installed", 'Run: pip install "napari-dinov3[cluster]"'
        ) from error
    try:
        return Client(client, timeout="10s"), True
    except (OSError, ValueError) as error:  # a timeout is an OSError
        raise InputError(
            f"No scheduler answers at {client!r}",
            "the address that dask-scheduler prints, such as tcp://10.0.0.1:8786",
            "Start a scheduler, or check the address and the firewall",
        ) from error


def _fill(run: Extraction, stored: StoredMap, client: Any) -> Job[None]:
    """Have the pending planes embedded; keep the journal as groups come back."""
    from dask.distributed import as_completed

    size = run.batch_size or batch_size_of(run.layout, run.model)
    pending, per_plane = set(stored.pending), len(run.layout.tiles)
    waiting = iter([group for group in groups_of(run.layout, size) if not pending.isdisjoint(group)])
    done = run.layout.steps - len(pending) * per_plane
    finished = as_completed(())
    groups: dict[Any, range] = {}
    try:
        _submit(run, stored, client, waiting, groups, finished, size)
        for future in finished:
            group = groups.pop(future)
            for plane, token in _result(future, group):
                stored.record(plane, token)
                done += per_plane * (plane in pending)
            _submit(run, stored, client, waiting, groups, finished, size)
            yield Progress(done, run.layout.steps, f"on the cluster: planes to {group[-1] + 1} of {len(run.planes)}")
    finally:
        client.cancel(list(groups))


def _submit(
    run: Extraction, stored: StoredMap, client: Any, waiting: Iterator[range], groups: dict[Any, range], finished: Any, size: int
) -> None:
    """Keep a few tasks for each thread of the cluster in flight."""
    threads = sum(client.nthreads().values())
    while len(groups) < max(1, threads) * _AHEAD and (group := next(waiting, None)) is not None:
        future = client.submit(
            _embed_here,
            _only(run.planes, group),
            run.model,
            run.window,
            run.layout,
            group,
            size,
            stored.folder.resolve(),
            pure=False,
        )
        groups[future] = group
        finished.add(future)


def _only(planes: Planes, group: range) -> Planes:
    """Take the planes of a group, and of a lazy stack only what leads to them."""
    data = planes.data[group.start : group.stop]
    if planes.lazy:
        import dask

        (data,) = dask.optimize(data)
    return replace(planes, data=data)


def _result(future: Any, group: range) -> list[tuple[int, npt.NDArray[np.float32] | None]]:
    from dask.distributed import KilledWorker

    try:
        tokens: list[tuple[int, npt.NDArray[np.float32] | None]] = future.result()
    except KilledWorker as error:
        raise InputError(
            f"Planes {group[0] + 1} to {group[-1] + 1} brought down every worker that tried them",
            "workers with memory for the network and a tile",
            "Give the workers more memory, or choose a smaller tile_size or model; what is done is kept",
        ) from error
    return tokens


def _embed_here(
    planes: Planes, model: Backbone, window: Normalization, layout: Layout, group: range, batch_size: int, folder: Path
) -> list[tuple[int, npt.NDArray[np.float32] | None]]:
    """Embed a group of planes in this worker and write them to the map; give back their CLS tokens."""
    import dask
    import zarr

    if not (folder / MANIFEST).is_file():
        raise InputError(
            f"A worker cannot see {folder}",
            "a folder on a file system that all workers share",
            "Choose such a folder with folder=... or cache=...",
        )
    array: Any = zarr.open_array(folder / ARRAY, mode="r+")
    tokens = []
    # planes of a lazy stack are read in this thread: handing them back to the cluster could wait for this very thread
    with dask.config.set(scheduler="synchronous"):
        for batch in embed_group(planes, model, window, layout, range(len(group)), batch_size=batch_size):
            for index, grid, token in batch.finished:
                array[group[index]] = grid
                tokens.append((group[index], token))
    return tokens
