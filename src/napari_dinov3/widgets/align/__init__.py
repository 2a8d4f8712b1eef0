"""The align panel."""

from napari_dinov3.widgets.align.panel import AlignPanel

__all__ = ["AlignPanel"]
