"""Jobs on layers: the public functions of the package, with the viewer's cache in front and the visible plane first.

Each ``*_steps`` function is a generator as everywhere in the package. It touches no layer and no widget, so it may run in a
worker thread; what it needs of a layer is read beforehand by :func:`request_features`, in the main thread.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3._napari.compat import world_point
from napari_dinov3._napari.layers import Source, plane_at, read_layer
from napari_dinov3._napari.session import FeatureKey, Session
from napari_dinov3.backbones.options import stride_of, width_of
from napari_dinov3.backbones.registry import backbone_facts, choose_backbone, is_network
from napari_dinov3.features.extract import extract_steps
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.features.on_demand import complete_steps, on_demand_steps
from napari_dinov3.features.store import DEFAULT_BUDGET_GB, MAP_SHARE
from napari_dinov3.geometry import grid_length
from napari_dinov3.image import Planes
from napari_dinov3.progress import Job, Progress, part_of
from napari_dinov3.recipe import ExtractConfig

HASHED_GB = 4.0  # an image up to here is read once to find its features of an earlier day


@dataclass(frozen=True, slots=True, eq=False)
class FeatureRequest:
    """Features that are wanted of a layer.

    Parameters
    ----------
    source : Source
        The layer as planes.
    key : FeatureKey
        Where the map is filed.
    config : ExtractConfig
        How to extract it.
    visible : int
        Plane the viewer shows; results of it come first.
    """

    source: Source
    key: FeatureKey
    config: ExtractConfig
    visible: int

    @property
    def image(self) -> tuple[Hashable, ...]:
        """What two requests share if they read the same pixels: layer, state of its data, level, region, planes, fixed axes."""
        return self.key.layer_id, self.key.version, self.key.level, self.config.region, self.key.stack, self.key.fixed

    @property
    def place(self) -> tuple[Hashable, ...]:
        """What two requests share if a result of one may take the place of the other's: the features, and where they lie."""
        transform = self.source.placement.pixel_transform()
        return (self.key, *(str(np.asarray(value).tolist()) for name, value in transform.items() if name != "units"))


def request_features(session: Session, viewer: Any, layer: Any, config: ExtractConfig) -> FeatureRequest:
    """Read what a job needs of a layer; call it in the main thread.

    Parameters
    ----------
    session : Session
        Of the viewer.
    viewer : napari viewer
        Its sliders say which volume of a 4D layer is meant.
    layer : napari layer
        The image.
    config : ExtractConfig
        Backbone, stride, level and so on.
    """
    point = world_point(viewer)
    source = read_layer(layer, point=point, level=config.level, region=config.region)
    key = session.key(
        layer,
        source.placement,
        backbone=config.backbone,
        stride=config.stride,
        level=config.level,
        percentiles=config.percentiles,
        **({} if config.region is None else {"region": config.region}),
        **({} if config.colours == "own" else {"colours": config.colours}),
        **config.network.given(),
    )
    return FeatureRequest(source, key, config, plane_at(source, point))


def map_steps(session: Session, request: FeatureRequest) -> Job[FeatureMap]:
    """Take the features from the cache, or begin a map on demand: no plane is computed before it is read."""
    found = session.find(request.key, begun=True)
    if found is not None:
        yield Progress(1, 1, "features from the cache")
        return found
    config = request.config
    features = yield from on_demand_steps(
        request.source.planes,
        **extraction_options(config),
        cache=store_for(request),
    )
    session.keep(request.key, features)
    return features


def extraction_options(config: ExtractConfig) -> dict[str, Any]:
    """Collect the options of extraction; where the pixels come from is settled, they are the layer's."""
    return {
        "backbone": config.backbone,
        "stride": config.stride,
        "percentiles": config.percentiles,
        "tile_size": config.tile_size,
        "batch_size": config.batch_size,
        "memory_gb": config.memory_gb,
        "colours": config.colours,
        **config.network.given(),
    }


def features_steps(session: Session, request: FeatureRequest) -> Job[FeatureMap]:
    """Take the features from the cache, or extract and file them: all planes, the visible one first."""
    found = session.find(request.key, begun=True)
    if found is None and request.config.folder is not None:
        features = yield from _into_folder_steps(request)
    else:
        begun = yield from map_steps(session, request)
        features = yield from complete_steps(begun, request.visible)
    if features is not found:
        session.keep(request.key, features)
    return features


def is_quick(config: ExtractConfig) -> bool:
    """Whether a plane's features come quickly enough not to ask first: any backbone but a network."""
    return not is_network(choose_backbone(config.backbone)[0])


def _into_folder_steps(request: FeatureRequest) -> Job[FeatureMap]:
    config = request.config
    return (yield from extract_steps(request.source.planes, **extraction_options(config), folder=config.folder))


def store_for(request: FeatureRequest) -> str | None:
    """Decide where a map stays between runs: networks are costly, so theirs go to the user's cache, unless told otherwise.

    Finding a map again means reading the image once, so that images too large for that have none.
    """
    config, planes = request.config, request.source.planes
    if config.cache is not None:
        return config.cache
    return "user" if caches_on_disk(planes, config) else None


def caches_on_disk(planes: Planes, config: ExtractConfig) -> bool:
    """Whether a map goes to the user's cache by itself."""
    pixels = np.prod(planes.shape, dtype=np.float64) * planes.channels * planes.dtype.itemsize
    small = pixels <= HASHED_GB * 1e9 and estimate_features(planes, config).stored_gigabytes <= DEFAULT_BUDGET_GB
    return bool(small) and not is_quick(config)


def pca_steps(session: Session, request: FeatureRequest) -> Job[tuple[FeatureMap, npt.NDArray[np.float32]]]:
    """Colour the patches of a stack by principal components; the map comes along."""
    features = yield from part_of(features_steps(session, request), start=0, span=80, total=100)
    yield Progress(80, 100, "principal components")
    return features, features.pca()


def region_steps(session: Session, request: FeatureRequest, region: Planes) -> Job[tuple[FeatureMap, npt.NDArray[np.float32]]]:
    """Compare every patch with a painted region; the map comes along."""
    features = yield from part_of(features_steps(session, request), start=0, span=80, total=100)
    yield Progress(80, 100, "similarity to the region")
    return features, features.similarity_to_region(region.data)


def outward(count: int, first: int) -> list[int]:
    """Order planes by their distance from the one in view."""
    return sorted(range(count), key=lambda index: (abs(index - first), index))


@dataclass(frozen=True, slots=True)
class FeatureEstimate:
    """What a feature map will take, before it is made.

    Parameters
    ----------
    backbone, stride
        Resolved.
    grid : (2,) ints
        Patches a plane.
    planes, dim : int
        Planes and numbers a patch.
    on_disk : bool
        Whether it exceeds its share of the budget.
    """

    backbone: str
    stride: int
    grid: tuple[int, int]
    planes: int
    dim: int
    on_disk: bool

    @property
    def stored_gigabytes(self) -> float:
        """Size of the map on disk, 1e9 bytes."""
        return self.planes * self.grid[0] * self.grid[1] * self.dim * 2 / 1e9

    @property
    def gigabytes(self) -> float:
        """Size of the map, 1e9 bytes."""
        return self.planes * self.grid[0] * self.grid[1] * self.dim * (2 if self.on_disk else 4) / 1e9


def estimate_features(planes: Planes, config: ExtractConfig) -> FeatureEstimate:
    """Tell how large a feature map will be, reading no pixel."""
    facts = backbone_facts(choose_backbone(config.backbone)[0])
    stride = stride_of(facts, config.stride, config.network)
    count, rows, cols = planes.shape
    dim = width_of(facts, rgb=planes.rgb or config.colours == "neighbours", options=config.network)
    grid = (grid_length(rows, stride), grid_length(cols, stride))
    on_disk = count * grid[0] * grid[1] * dim * 4 > config.memory_gb * 1e9 * MAP_SHARE
    return FeatureEstimate(facts.name, stride, grid, count, dim, on_disk)
