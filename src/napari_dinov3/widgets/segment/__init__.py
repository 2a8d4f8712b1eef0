"""The segment panel."""

from napari_dinov3.widgets.segment.panel import SegmentPanel

__all__ = ["SegmentPanel"]
