"""What the panels of one viewer share: cached feature maps, and the settings and results a closed panel comes back with.

napari destroys a dock widget when it is closed, so nothing that took time may live in one. A feature map is filed under the
layer's unique id, a version of its data, and everything that changes the numbers; changing the data drops the map, renaming
the layer does not. The oldest maps go when the cache budget is exceeded.
"""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.utils.events import EventEmitter

from napari_dinov3._napari.compat import unwrap
from napari_dinov3._napari.layers import Placement
from napari_dinov3._napari.owned import OwnedLayer
from napari_dinov3._napari.settings import setting
from napari_dinov3.backbones.options import split_options, stride_of
from napari_dinov3.backbones.registry import backbone_facts, choose_backbone
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.features.on_demand import PlanesOnDemand, planes_here
from napari_dinov3.recipe import ExtractConfig

_FINGERPRINT_PIXELS = 1 << 16


@dataclass(frozen=True, slots=True)
class FeatureKey:
    """Everything a feature map's numbers depend on.

    Parameters
    ----------
    layer_id : hashable
        napari's `unique_id`.
    version : hashable
        Of the layer's data.
    level : int
        Pyramid level.
    stack, fixed
        Which axes were planes, and where the others were indexed.
    backbone, stride, options
        Of the extraction, defaults resolved.
    """

    layer_id: Hashable
    version: Hashable
    level: int
    stack: int | None
    fixed: tuple[tuple[int, int], ...]
    backbone: str
    stride: int
    options: tuple[tuple[str, Any], ...] = ()


class Session:
    """State of one viewer that outlives its panels; get it with :func:`session_of`.

    Parameters
    ----------
    viewer : napari viewer
        Only a weak reference is kept.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = ref(viewer)
        self._maps: OrderedDict[FeatureKey, FeatureMap] = OrderedDict()
        self._lock = threading.Lock()  # workers file maps, the main thread drops them
        self._edits: dict[Hashable, int] = {}
        self._watched: set[Hashable] = set()
        self.panel_values: dict[str, Any] = {}
        self._kept: dict[str, dict[str, Any]] = {}
        self._owned: dict[tuple[str, str], OwnedLayer] = {}
        self.features_changed = EventEmitter(source=None, type_name="features_changed")
        self.handed_over = EventEmitter(source=None, type_name="handed_over")
        self._features_config: ExtractConfig | None = None
        viewer.layers.events.removed.connect(self._on_removed)

    def key(
        self,
        layer: Any,
        placement: Placement,
        *,
        backbone: str = "auto",
        stride: int | None = None,
        level: int = 0,
        **options: Any,
    ) -> FeatureKey:
        """Name the feature map of a layer under given settings.

        Parameters
        ----------
        layer : napari layer
            The source; it is watched for changes of its data from now on.
        placement : Placement
            As :func:`~napari_dinov3._napari.layers.read_layer` gave it.
        backbone, stride, level, **options
            Of the extraction.
        """
        facts = backbone_facts(choose_backbone(backbone)[0])
        self._watch(layer)
        return FeatureKey(
            layer.unique_id,
            self.version(layer),
            level,
            placement.stack,
            placement.fixed,
            facts.name,
            stride_of(facts, stride, split_options(options)[0]),
            tuple(sorted(options.items())),
        )

    def version(self, layer: Any) -> Hashable:
        """Tell one state of a layer's data from another.

        Replaced data always count. Data edited in place are noticed through a checksum of a sample when they are a numpy
        array in memory; lazy data are never read for it.
        """
        data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
        return self._edits.get(layer.unique_id, 0), id(data), _fingerprint(data)

    def find(self, key: FeatureKey, *, begun: bool = False) -> FeatureMap | None:
        """Look a map up; it counts as used.

        Parameters
        ----------
        key : FeatureKey
            Where it is filed.
        begun : bool
            Also give a map that computes on demand and is not complete yet: reading it may take long.
        """
        with self._lock:
            features = self._maps.get(key)
            if features is None or not (begun or len(planes_here(features)) == len(features)):
                return None
            self._maps.move_to_end(key)
            return features

    def keep(self, key: FeatureKey, features: FeatureMap) -> None:
        """File a map, and drop those it replaces (earlier data of its layer) or that exceed the cache budget.

        A map whose layer was removed while it was made is not filed.
        """
        budget = float(setting("cache_gb")) * 1e9
        with self._lock:
            if key.layer_id not in self._watched:
                return
            for other in [k for k in self._maps if k.layer_id == key.layer_id and k.version != key.version]:
                del self._maps[other]
            self._maps[key] = features
            self._maps.move_to_end(key)
            while len(self._maps) > 1 and self.cached_bytes > budget:
                self._maps.popitem(last=False)

    @property
    def cached_bytes(self) -> int:
        """Memory the cached maps take; maps on disk count nothing."""
        return sum(int(m.array.nbytes) for m in self._maps.values() if m.in_memory or isinstance(m.array, PlanesOnDemand))

    def __len__(self) -> int:
        return len(self._maps)

    def clear(self) -> None:
        """Forget every cached map."""
        with self._lock:
            self._maps.clear()

    def kept(self, panel: str) -> dict[str, Any]:
        """Give what a panel keeps when its dock is closed: results that took time, for the next panel of its kind.

        Parameters
        ----------
        panel : str
            Name of the panel's class.

        Returns
        -------
        kept : dict
            The same one every time; fill it, do not replace it. What was made of a layer goes with that layer: put the layer's
            unique id under ``"layer_id"``, and the dict is emptied when the layer is removed. Ask for it again each time it is
            read, and hold nothing in it that refers to the viewer or to a widget.
        """
        kept = self._kept.setdefault(panel, {})
        viewer, layer_id = self._viewer(), kept.get("layer_id")
        if layer_id is not None and viewer is not None and all(layer.unique_id != layer_id for layer in viewer.layers):
            kept.clear()
        return kept

    def hand_over(self, panel: str, **values: Any) -> None:
        """Set some settings of another panel: at once where it is open, else when it is opened.

        Parameters
        ----------
        panel : str
            Name of the panel's class.
        **values
            Some of its settings; a layer by its unique id.
        """
        self.panel_values[panel] = {**self.panel_values.get(panel, {}), **values}
        self.handed_over(panel=panel, values=values)

    def owned(self, panel: str, kind: str = "") -> OwnedLayer:
        """Give the result layer of a panel, the same one after its dock was closed and opened again.

        Parameters
        ----------
        panel : str
            Name of the panel's class.
        kind : str
            Tells several result layers of a panel apart.
        """
        if (panel, kind) not in self._owned:
            self._owned[panel, kind] = OwnedLayer(self._viewer())
        return self._owned[panel, kind]

    @property
    def features_config(self) -> ExtractConfig:
        """How features are extracted in this viewer: one choice for all panels, from the Preferences at first."""
        if self._features_config is None:
            self._features_config = ExtractConfig(backbone=setting("backbone"), memory_gb=float(setting("memory_gb")))
        return self._features_config

    @features_config.setter
    def features_config(self, config: ExtractConfig) -> None:
        if config != self.features_config:
            self._features_config = config
            self.features_changed()

    def _watch(self, layer: Any) -> None:
        layer = unwrap(layer)
        if layer.unique_id not in self._watched:
            self._watched.add(layer.unique_id)
            layer.events.data.connect(self._on_data)

    def _on_data(self, event: Any) -> None:
        layer_id = event.source.unique_id
        self._edits[layer_id] = self._edits.get(layer_id, 0) + 1
        self._drop(layer_id)

    def _on_removed(self, event: Any) -> None:
        layer = unwrap(event.value)
        with self._lock:
            self._watched.discard(layer.unique_id)
        self._drop(layer.unique_id)
        for kept in self._kept.values():
            if kept.get("layer_id") == layer.unique_id:
                kept.clear()

    def _drop(self, layer_id: Hashable) -> None:
        with self._lock:
            for key in [k for k in self._maps if k.layer_id == layer_id]:
                del self._maps[key]


_SESSIONS: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()


def session_of(viewer: Any) -> Session:
    """Get the session of a viewer, the same one for every proxy of it."""
    viewer = unwrap(viewer)
    if viewer not in _SESSIONS:
        _SESSIONS[viewer] = Session(viewer)
    return _SESSIONS[viewer]


def _fingerprint(data: Any) -> int:
    if not isinstance(data, np.ndarray) or isinstance(data, np.memmap):
        return 0
    if data.flags.c_contiguous:
        sample = data.reshape(-1)[:: max(1, data.size // _FINGERPRINT_PIXELS)]
    else:
        sample = data[tuple(slice(None, None, max(1, n // 64)) for n in data.shape)]
    return zlib.crc32(np.ascontiguousarray(sample).view(np.uint8).data)
