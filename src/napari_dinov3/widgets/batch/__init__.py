"""The batch panel."""

from napari_dinov3.widgets.batch.panel import BatchPanel

__all__ = ["BatchPanel"]
