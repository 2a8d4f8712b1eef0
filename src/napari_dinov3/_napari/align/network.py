"""Whose patch features propose poses: the backbone that is chosen for the whole viewer, with its weights."""

from __future__ import annotations

from typing import Any

from napari_dinov3.backbones.registry import choose_backbone, is_network, part_names
from napari_dinov3.recipe import ExtractConfig

_RUN = ("weights", "device", "precision", "source")


def network_of(config: ExtractConfig) -> str:
    """Name the backbone that alignment takes: of several joined ones the network, which carries meaning.

    ``"auto"`` stays so: it is resolved where the alignment runs.
    """
    if config.backbone == "auto":
        return "auto"
    parts = part_names(config.backbone)
    return next((part for part in parts if is_network(part)), parts[0])


def network_words(config: ExtractConfig) -> dict[str, Any]:
    """Give the backbone, and how and with which weights it runs, as options of an alignment."""
    name = network_of(config)
    if not is_network(choose_backbone(name)[0]):
        return {"backbone": name}
    return {"backbone": name, **{key: getattr(config, key) for key in _RUN}}
