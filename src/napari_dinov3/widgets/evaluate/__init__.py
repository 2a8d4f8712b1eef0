"""The evaluate panel."""

from napari_dinov3.widgets.evaluate.panel import EvaluatePanel

__all__ = ["EvaluatePanel"]
