"""The objects panel."""

from napari_dinov3.widgets.objects.panel import ObjectsPanel

__all__ = ["ObjectsPanel"]
