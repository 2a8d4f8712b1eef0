"""See, segment, discover and align brain images with self-supervised vision features.

The public names below are loaded when first used, so that importing the package is quick and loads neither torch,
scikit-learn, scipy, Qt nor napari.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

try:
    from napari_dinov3._version import version as __version__
except ImportError:  # an unbuilt checkout on the path
    __version__ = "0.0.0+unknown"

_WHERE = {
    "FeatureMap": "features.feature_map",
    "extract": "features.extract",
    "extract_on_demand": "features.on_demand",
    "extract_steps": "features.extract",
    "as_planes": "image",
    "list_backbones": "backbones.registry",
    "load_backbone": "backbones.registry",
    "LinearProbe": "segment.linear_probe",
    "Probe": "segment.probe",
    "tokencut": "discover.tokencut",
    "maskcut": "discover.many",
    "spectral_clusters": "discover.many",
    "objects_from_labels": "objects.instances",
    "measure_objects": "objects.table",
    "pool_objects": "objects.pooling",
    "classify_objects": "objects.classifier",
    "paint_classes": "objects.classifier",
    "ObjectClassifier": "objects.classifier",
    "ImageClassifier": "classify.images",
    "apply_probe": "recipe.batch",
    "classify_images": "recipe.image_run",
    "classify_planes": "recipe.image_run",
    "predict_images": "recipe.image_run",
    "patch_correlation": "align.correlation",
    "estimate_translation": "align.correlation",
    "align_pair": "align.pairwise",
    "align_stack": "align.stack",
    "read": "io",
    "read_layers": "io",
    "write": "io",
    "collect": "progress",
    "Progress": "progress",
    "InputError": "errors",
}
_SUBMODULES = ("synthetic", "evaluate", "recipe", "errors")

__all__ = [
    "FeatureMap",
    "ImageClassifier",
    "InputError",
    "LinearProbe",
    "ObjectClassifier",
    "Probe",
    "Progress",
    "__version__",
    "align_pair",
    "align_stack",
    "apply_probe",
    "as_planes",
    "classify_images",
    "classify_objects",
    "classify_planes",
    "collect",
    "errors",
    "estimate_translation",
    "evaluate",
    "extract",
    "extract_on_demand",
    "extract_steps",
    "list_backbones",
    "load_backbone",
    "maskcut",
    "measure_objects",
    "objects_from_labels",
    "paint_classes",
    "patch_correlation",
    "pool_objects",
    "predict_images",
    "read",
    "read_layers",
    "recipe",
    "spectral_clusters",
    "synthetic",
    "tokencut",
    "write",
]

if TYPE_CHECKING:
    from napari_dinov3.backbones.registry import list_backbones, load_backbone
    from napari_dinov3.errors import InputError
    from napari_dinov3.features.extract import extract, extract_steps
    from napari_dinov3.features.feature_map import FeatureMap
    from napari_dinov3.features.on_demand import extract_on_demand
    from napari_dinov3.image import as_planes
    from napari_dinov3.progress import Progress, collect


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    elif name in _SUBMODULES:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
