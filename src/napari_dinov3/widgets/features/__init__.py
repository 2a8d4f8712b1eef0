"""The features panel."""

from napari_dinov3.widgets.features.panel import FeaturesPanel

__all__ = ["FeaturesPanel"]
