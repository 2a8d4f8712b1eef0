"""Turn an image into a feature map: read a plane, normalise it, cut tiles, embed them in batches, put the grid together.

Planes are read one at a time and written to the map as soon as they are whole, so a stack larger than memory passes through
in the memory of a few tiles; a map over the budget goes to disk, and one that is to be kept goes to a folder or a store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from napari_dinov3.backbones.base import Backbone
from napari_dinov3.backbones.options import split_options
from napari_dinov3.backbones.registry import choose_backbone, load_backbone
from napari_dinov3.errors import InputError
from napari_dinov3.features.combine import is_joint, joint_steps
from napari_dinov3.features.embedding import Layout, batch_size_of, embed_group, groups_of, plan
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.features.neighbours import NEIGHBOURS, neighbours_as_colours
from napari_dinov3.features.store import FeatureStore, allocate, content_hashes, fits_in_memory, make_key
from napari_dinov3.features.stored_map import StoredMap, open_map
from napari_dinov3.image import Planes, as_planes
from napari_dinov3.normalize import Normalization, estimate_normalization
from napari_dinov3.progress import Job, Progress, collect

Colours = Literal["own", "neighbours"]


def extract(image: Any, *, backbone: str | Backbone = "auto", client: Any = None, **options: Any) -> FeatureMap:
    """Compute the patch features of an image or a stack.

    Parameters
    ----------
    image : array-like or Planes
        Anything :func:`napari_dinov3.as_planes` accepts: ``(y, x)``, ``(z, y, x)``, with colours last; numpy or dask.
    backbone : str or Backbone
        Registry name; ``"auto"`` takes the best that is present and records which. Several names joined by ``+``, such as
        ``"dinov3-vits16plus+filter-bank"``, give one map of all of them; see :mod:`napari_dinov3.features.combine`.
    client : dask.distributed.Client or str, optional
        A Dask cluster, or the address of its scheduler, whose workers then embed the planes, see
        :mod:`napari_dinov3.features.cluster`.
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
    if client is not None:
        from napari_dinov3.features.cluster import extract_on_cluster_steps

        if is_joint(backbone):
            return collect(joint_steps(extract_on_cluster_steps, image, client=client, backbone=str(backbone), **options))
        return collect(extract_on_cluster_steps(image, client=client, backbone=backbone, **options))
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
    cache: FeatureStore | str | Path | None = None,
    **more: Any,
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
        Keep the map on disk in this folder of its own. A run that was stopped goes on where it was; another image or setting
        is refused.
    cache : "user", path or FeatureStore, optional
        Keep the map in this store between runs, and take it, or as much of it as there is, from there: ``"user"`` is the
        user's own, see :class:`~napari_dinov3.features.store.FeatureStore`. Worth it where a plane takes longer to compute
        than to read twice.
    **more
        Of a network, see :class:`~napari_dinov3.backbones.options.BackboneOptions`: scale, layers, shifts, flips, device,
        precision, weights, source. Of the image, see :func:`napari_dinov3.as_planes`: axes, rgb, channel, spacing, units, level,
        region, name. And ``colours="neighbours"``, which takes three neighbouring planes of a grey stack as the colours of one.

    Yields
    ------
    progress : Progress
        After each batch of tiles.
    """
    how: dict[str, Any] = {"stride": stride, "percentiles": percentiles, "tile_size": tile_size, "batch_size": batch_size}
    how["memory_gb"] = memory_gb
    if is_joint(backbone):
        job = joint_steps(extract_steps, image, backbone=str(backbone), folder=folder, cache=cache, **how, **more)
        return (yield from job)
    run = yield from prepare_steps(image, backbone=backbone, **how, **more)
    if folder is None and cache is None:
        return (yield from _into_memory(run))
    return (yield from keep_steps(run, folder=folder, cache=cache, fill=_fill))


@dataclass(frozen=True, slots=True, eq=False)
class Extraction:
    """All that is settled before the first tile is embedded."""

    planes: Planes
    model: Backbone
    reason: str
    window: Normalization
    percentiles: tuple[float, float]
    layout: Layout
    memory_gb: float
    batch_size: int | None
    colours: Colours = "own"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the features."""
        return len(self.planes), *self.layout.grid, self.model.width(self.planes.channels)

    def how(self) -> dict[str, Any]:
        """Collect what beside the pixels decides the numbers."""
        return {
            "backbone": self.model.facts.name,
            "revision": self.model.revision,
            "stride": self.model.stride,
            "window": [self.window.low, self.window.high],
            "tile": [self.layout.tile_size, getattr(self.model, "overlap", 0.0)],
            # asked for by name; "auto" means that any will do, so that a map made on one computer is found again on another
            **({} if (precision := getattr(self.model, "precision", "auto")) == "auto" else {"precision": precision}),
        }


def prepare_steps(
    image: Any,
    *,
    backbone: str | Backbone = "auto",
    stride: int | None = None,
    percentiles: tuple[float, float] = (0.5, 99.5),
    tile_size: int | None = None,
    batch_size: int | None = None,
    memory_gb: float = 2.0,
    colours: Colours = "own",
    **more: Any,
) -> Job[Extraction]:
    """Settle backbone, tiles and intensity window; the parameters are those of :func:`extract_steps`."""
    network, image_options = split_options(more)
    planes = _in_colours(as_planes(image, **image_options), colours)
    if not isinstance(backbone, str) and network.given():
        raise InputError(
            f"{', '.join(network.given())} beside a backbone that is built already",
            "these options where it is built",
            "Give the backbone's name here, or the options to load_backbone()",
        )
    chosen, reason = choose_backbone(backbone) if isinstance(backbone, str) else (backbone.facts.name, "given as an object")
    model = load_backbone(chosen, stride=stride, **network.given()) if isinstance(backbone, str) else backbone
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size={batch_size}", "at least 1", "Leave it out to choose by memory")
    layout = plan(planes, model, tile_size=tile_size, memory_gb=memory_gb)
    yield Progress(0, layout.steps, f"{chosen} ({reason})")
    window = estimate_normalization(planes, percentiles)
    return Extraction(planes, model, reason, window, percentiles, layout, memory_gb, batch_size, colours)


def _in_colours(planes: Planes, colours: Colours) -> Planes:
    if colours not in get_args(Colours):
        raise InputError(f"colours={colours!r}", f"one of {', '.join(get_args(Colours))}", "Choose one of these")
    if colours == "own":
        return planes
    return neighbours_as_colours(planes)


def _into_memory(run: Extraction) -> Job[FeatureMap]:
    """Embed every plane into an array in memory, or in a temporary folder."""
    array = allocate(run.shape, memory_gb=run.memory_gb)
    cls: list[npt.NDArray[np.float32]] = []
    done = 0
    size = run.batch_size or batch_size_of(run.layout, run.model)
    for group in groups_of(run.layout, size):
        for batch in embed_group(run.planes, run.model, run.window, run.layout, group, batch_size=size):
            for plane, grid, token in batch.finished:
                array[plane] = grid
                cls.extend([] if token is None else [token])
            done += batch.tiles
            yield Progress(done, run.layout.steps, f"plane {group[-1] + 1} of {len(run.planes)}")
    return as_feature_map(
        run, array, np.stack(cls) if len(cls) == len(run.planes) else None, how_it_was_made(run, str(array.dtype))
    )


Fill = Callable[[Extraction, StoredMap], Job[None]]


def keep_steps(
    run: Extraction, *, folder: str | Path | None, cache: FeatureStore | str | Path | None, fill: Fill
) -> Job[FeatureMap]:
    """Find the map on disk, have the planes that are not there filled in, and keep them.

    Parameters
    ----------
    run : Extraction
        From :func:`prepare_steps`.
    folder, cache
        As in :func:`extract_steps`; one of them.
    fill : callable
        Makes the job that embeds the pending planes of a stored map: here, or on a cluster.
    """
    hashes: list[str] = []
    for digest in content_hashes(run.planes):
        yield Progress(0, run.layout.steps, f"looking for stored features: plane {len(hashes) + 1} of {len(run.planes)}")
        hashes.append(digest)
    key = make_key(hashes, run.how())
    facts = {"image": run.planes.name, "backbone": run.model.facts.name}
    if folder is not None:
        stored = open_map(Path(folder).expanduser(), key=key, shape=run.shape, facts=facts)
    else:
        store = cache if isinstance(cache, FeatureStore) else FeatureStore(None if cache == "user" else cache)
        stored = store.open(key, run.shape, facts)
    found = run.shape[0] - len(stored.pending)
    if not stored.complete:
        yield from fill(run, stored)
        stored.describe(how_it_was_made(run, stored.manifest["dtype"]))
    stored.touch()
    array: Any = stored.array
    if folder is None and fits_in_memory(run.shape, run.memory_gb):
        array = np.asarray(stored.array[:], np.float32)
    provenance = {**stored.provenance, "precision": stored.manifest["dtype"], "planes_from_cache": found}
    return as_feature_map(run, array, stored.cls, provenance)


def _fill(run: Extraction, stored: StoredMap) -> Job[None]:
    size = run.batch_size or batch_size_of(run.layout, run.model)
    pending, per_plane = set(stored.pending), len(run.layout.tiles)
    done = run.layout.steps - len(pending) * per_plane
    for group in groups_of(run.layout, size):
        if pending.isdisjoint(group):
            continue
        for batch in embed_group(run.planes, run.model, run.window, run.layout, group, batch_size=size):
            for plane, grid, token in batch.finished:
                if plane in pending:
                    stored.write(plane, grid, token)
            done = min(run.layout.steps, done + batch.tiles)
            yield Progress(done, run.layout.steps, f"plane {group[-1] + 1} of {len(run.planes)}")


def how_it_was_made(run: Extraction, precision: str) -> dict[str, Any]:
    """Collect the provenance of a run's map, whose numbers are kept at a precision such as ``"float16"``."""
    from napari_dinov3 import __version__

    planes, model = run.planes, run.model
    return {
        "package": "napari-dinov3",
        "version": __version__,
        "image": planes.name,
        "image_dtype": str(planes.dtype),
        "backbone": model.facts.name,
        "revision": model.revision,
        "stride": model.stride,
        "intensity_window": [run.window.low, run.window.high],
        "precision": precision,
        "reason": run.reason,
        "percentiles": list(run.percentiles),
        "tile_size": run.layout.tile_size,
        "colours": run.colours,
        **({"network": dict(model.provenance)} if hasattr(model, "provenance") else {}),
    }


def as_feature_map(run: Extraction, array: Any, cls: npt.NDArray[np.float32] | None, provenance: dict[str, Any]) -> FeatureMap:
    """Wrap features with the place of the run's image."""
    planes, model = run.planes, run.model
    _, rows, cols = planes.shape
    return FeatureMap(
        array=array,
        backbone=model.facts.name,
        revision=model.revision + (NEIGHBOURS if run.colours == "neighbours" else ""),
        stride=float(model.stride),
        first_centre=(model.stride - 1) / 2,
        image_shape=(rows, cols),
        world_from_pixel=planes.world_from_pixel,
        axes=planes.axes,
        spacing=planes.spacing,
        units=planes.units,
        cls=cls,
        provenance=MappingProxyType(provenance),
    )
