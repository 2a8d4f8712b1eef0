"""The classify panel."""

from napari_dinov3.widgets.classify.panel import ClassifyImagesPanel

__all__ = ["ClassifyImagesPanel"]
