"""Measures, comparisons, the reference experiments and their report.

``nd.evaluate.evaluate_segmentation(predicted, reference)`` measures a segmentation, ``cross_validate``, ``compare_backbones`` and
``transfer`` a way to make one; names are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_dinov3.evaluate.backbones import BackboneComparison, compare_backbones
    from napari_dinov3.evaluate.boundary import boundary_counts
    from napari_dinov3.evaluate.corloc import plane_consistency, read_voc_boxes, score_discovery
    from napari_dinov3.evaluate.cross_validation import CrossValidation, cross_validate
    from napari_dinov3.evaluate.experiments import run_experiments
    from napari_dinov3.evaluate.image_classification import ImageClassification, cross_validate_images
    from napari_dinov3.evaluate.metrics import Report, evaluate_labels
    from napari_dinov3.evaluate.object_metrics import object_scores
    from napari_dinov3.evaluate.segmentation import SegmentationScores, evaluate_segmentation
    from napari_dinov3.evaluate.tau_sweep import tau_sweep_steps
    from napari_dinov3.evaluate.transfer_matrix import TransferMatrix, transfer

_WHERE = {
    "BackboneComparison": "backbones",
    "CrossValidation": "cross_validation",
    "ImageClassification": "image_classification",
    "Report": "metrics",
    "SegmentationScores": "segmentation",
    "TransferMatrix": "transfer_matrix",
    "boundary_counts": "boundary",
    "compare_backbones": "backbones",
    "cross_validate": "cross_validation",
    "cross_validate_images": "image_classification",
    "evaluate_labels": "metrics",
    "evaluate_segmentation": "segmentation",
    "object_scores": "object_metrics",
    "plane_consistency": "corloc",
    "read_voc_boxes": "corloc",
    "run_experiments": "experiments",
    "score_discovery": "corloc",
    "tau_sweep_steps": "tau_sweep",
    "transfer": "transfer_matrix",
}

__all__ = [
    "BackboneComparison",
    "CrossValidation",
    "ImageClassification",
    "Report",
    "SegmentationScores",
    "TransferMatrix",
    "boundary_counts",
    "compare_backbones",
    "cross_validate",
    "cross_validate_images",
    "evaluate_labels",
    "evaluate_segmentation",
    "object_scores",
    "plane_consistency",
    "read_voc_boxes",
    "run_experiments",
    "score_discovery",
    "tau_sweep_steps",
    "transfer",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value  # found at once the next time
    return value
