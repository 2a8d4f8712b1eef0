"""A piece of work written down: one frozen config per task, an ordered recipe of them, JSON, and a plain Python script.

A widget, the command line and a script describe what they did with the same configs; a :class:`Recipe` replays it without a
GUI (:func:`run_recipe`) or turns it into a script that needs nothing but this package (:func:`to_python`).

Conventions. A config holds the keyword options of one public function, under the same names and with the same defaults; a
:class:`Step` says which named results go in and what the result is called. A dotted name such as ``cut.masks`` is a public
attribute of an earlier result.
"""

from napari_dinov3.recipe.align_configs import AlignConfig, ApplyConfig, PairConfig
from napari_dinov3.recipe.classify_configs import ClassifyObjectsConfig, MeasureConfig, ObjectsConfig, PaintClassesConfig
from napari_dinov3.recipe.configs import CONFIGS
from napari_dinov3.recipe.evaluate_configs import (
    ApplyProbeConfig,
    ClassifyImagesConfig,
    CompareConfig,
    EvaluateConfig,
    EvaluateObjectsConfig,
    PredictImagesConfig,
)
from napari_dinov3.recipe.image_configs import ExtractConfig, PcaConfig, ReadConfig, SimilarityConfig, WriteConfig
from napari_dinov3.recipe.recipe import Recipe, Step, load_recipe, run_recipe, run_recipe_steps, save_recipe, to_python
from napari_dinov3.recipe.segment_configs import ProbeConfig
from napari_dinov3.recipe.task_config import TaskConfig
from napari_dinov3.recipe.tokencut_configs import ClustersConfig, MaskCutConfig, TokenCutConfig

__all__ = [
    "AlignConfig",
    "ApplyConfig",
    "ClustersConfig",
    "ApplyProbeConfig",
    "CONFIGS",
    "ClassifyImagesConfig",
    "ClassifyObjectsConfig",
    "CompareConfig",
    "EvaluateConfig",
    "EvaluateObjectsConfig",
    "ExtractConfig",
    "MeasureConfig",
    "ObjectsConfig",
    "PaintClassesConfig",
    "PairConfig",
    "MaskCutConfig",
    "PcaConfig",
    "PredictImagesConfig",
    "ProbeConfig",
    "ReadConfig",
    "Recipe",
    "SimilarityConfig",
    "Step",
    "TaskConfig",
    "TokenCutConfig",
    "WriteConfig",
    "load_recipe",
    "run_recipe",
    "run_recipe_steps",
    "save_recipe",
    "to_python",
]
