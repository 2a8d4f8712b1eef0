"""Measures, the reference experiments and their report.

``nd.evaluate.evaluate_labels(predicted, reference)`` is the report of a segmentation; the other names are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_dinov3.evaluate.corloc import read_voc_boxes, score_discovery, tau_sweep_steps
    from napari_dinov3.evaluate.experiments import run_experiments
    from napari_dinov3.evaluate.metrics import Report, evaluate_labels

_WHERE = {
    "Report": "metrics",
    "evaluate_labels": "metrics",
    "read_voc_boxes": "corloc",
    "run_experiments": "experiments",
    "score_discovery": "corloc",
    "tau_sweep_steps": "corloc",
}

__all__ = ["Report", "evaluate_labels", "read_voc_boxes", "run_experiments", "score_discovery", "tau_sweep_steps"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
