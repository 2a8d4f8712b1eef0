"""The discover panel."""

from napari_dinov3.widgets.discover.panel import DiscoverPanel

__all__ = ["DiscoverPanel"]
