"""One frozen config per task: the keyword options of one public function, and how that task runs and reads as Python."""

from __future__ import annotations

from napari_dinov3.recipe.align_configs import AlignConfig, ApplyConfig, PairConfig
from napari_dinov3.recipe.classify_configs import ClassifyObjectsConfig, MeasureConfig, ObjectsConfig, PaintClassesConfig
from napari_dinov3.recipe.evaluate_configs import (
    ApplyProbeConfig,
    ClassifyImagesConfig,
    CompareConfig,
    EvaluateConfig,
    EvaluateObjectsConfig,
    PredictImagesConfig,
)
from napari_dinov3.recipe.image_configs import ExtractConfig, PcaConfig, ReadConfig, SimilarityConfig, WriteConfig
from napari_dinov3.recipe.segment_configs import ProbeConfig
from napari_dinov3.recipe.task_config import TaskConfig
from napari_dinov3.recipe.tokencut_configs import ClustersConfig, MaskCutConfig, TokenCutConfig

CONFIGS: dict[str, type[TaskConfig]] = {
    config.task: config
    for config in (
        ReadConfig,
        ExtractConfig,
        PcaConfig,
        SimilarityConfig,
        ProbeConfig,
        TokenCutConfig,
        MaskCutConfig,
        ClustersConfig,
        ObjectsConfig,
        MeasureConfig,
        ClassifyObjectsConfig,
        PaintClassesConfig,
        ClassifyImagesConfig,
        PredictImagesConfig,
        AlignConfig,
        ApplyConfig,
        PairConfig,
        ApplyProbeConfig,
        EvaluateConfig,
        EvaluateObjectsConfig,
        CompareConfig,
        WriteConfig,
    )
}
"""Every config by its name in a recipe file."""
