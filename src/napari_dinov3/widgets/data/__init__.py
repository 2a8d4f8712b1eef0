"""The data panel."""

from napari_dinov3.widgets.data.panel import DataPanel

__all__ = ["DataPanel"]
