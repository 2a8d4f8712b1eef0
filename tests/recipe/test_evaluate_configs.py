"""Configs of measuring and of work on many files: the options of their functions, replayed and written as Python."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import napari_dinov3 as nd
from napari_dinov3.evaluate.backbones import compare_backbones_steps
from napari_dinov3.evaluate.segmentation import evaluate_segmentation_steps
from napari_dinov3.recipe import (
    ApplyProbeConfig,
    ClassifyImagesConfig,
    CompareConfig,
    EvaluateConfig,
    PredictImagesConfig,
    Recipe,
    Step,
    run_recipe,
    to_python,
)
from napari_dinov3.recipe.batch import apply_probe_steps
from napari_dinov3.recipe.image_run import classify_images_steps


def keyword_defaults(function: Callable[..., Any]) -> dict[str, Any]:
    return {p.name: p.default for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY}


def test_configs_mirror_the_functions() -> None:
    named = {name: value for name, value in keyword_defaults(evaluate_segmentation_steps).items() if name != "names"}
    assert EvaluateConfig().options() == named
    compared = keyword_defaults(compare_backbones_steps)
    assert {name: value for name, value in CompareConfig().options().items() if name in compared} == compared
    assert ClassifyImagesConfig(images="x").options() == {"images": "x", **keyword_defaults(classify_images_steps)}
    places: dict[str, Any] = {"probe": "p", "images": ("i",), "folder": "f"}
    assert ApplyProbeConfig(**places).options() == {**places, **keyword_defaults(apply_probe_steps)}


def test_a_recipe_measures_and_compares() -> None:
    sample = nd.synthetic.em(planes=4, size=64, rng=0)
    steps = (
        Step(EvaluateConfig(tolerance=1.0)),
        Step(CompareConfig(heads=("linear",), strides=(8,), folds=2), ("image", "masks")),
    )
    recipe = Recipe.from_json(Recipe(steps).to_json())
    given = {"labels": sample.masks, "reference": sample.masks, "image": sample.images, "masks": sample.masks}
    results = run_recipe(recipe, given)
    assert results["scores"].mean_iou == 1 and results["comparison"].best.mean() > 0.8
    names = dict(given) | {"nd": nd}
    exec(to_python(recipe), names)
    assert names["comparison"].best.mean() == results["comparison"].best.mean()


def test_places_count_from_the_folder_of_the_recipe(tmp_path: Path) -> None:
    for kind, period in (("fine", 2.0), ("coarse", 9.0)):
        (tmp_path / "set" / kind).mkdir(parents=True)
        for seed in range(3):
            wave = 100 + 50 * np.sin(np.arange(48) / period + seed)
            nd.write(tmp_path / "set" / kind / f"{seed}.png", np.tile(wave, (48, 1)).astype(np.uint8))
    nd.classify_images(tmp_path / "set", folds=3).model.save(tmp_path / "model.npz")
    recipe = Recipe(
        (Step(ClassifyImagesConfig(images="set", folds=3)), Step(PredictImagesConfig(model="model.npz", images=("set",))))
    )
    results = run_recipe(recipe, folder=tmp_path)
    assert results["predictions"].labels == ["coarse"] * 3 + ["fine"] * 3 and results["classes"].result.top(1) == 1
    assert "nd.predict_images('model.npz', ['set'])" in to_python(recipe)
