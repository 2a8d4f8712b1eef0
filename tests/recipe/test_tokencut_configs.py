"""Recipes of discovery give what the functions give, and their scripts too."""

import inspect
import warnings
from dataclasses import asdict

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.discover.cut import CutOptions
from napari_dinov3.discover.many import maskcut_steps, spectral_clusters_steps
from napari_dinov3.discover.masks import MaskOptions
from napari_dinov3.recipe import ClustersConfig, ExtractConfig, MaskCutConfig, Recipe, Step, TokenCutConfig, run_recipe, to_python


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.asarray(nd.synthetic.em(planes=2, size=64, rng=1).images)


@pytest.mark.parametrize(
    "config",
    [MaskCutConfig(rounds=2, tau=0.3), ClustersConfig(clusters=3, tau=0.3), TokenCutConfig(stack="joint", window=1)],
    ids=lambda config: config.task,
)
def test_a_recipe_and_its_script_give_the_same_labels(config, image):
    recipe = Recipe((Step(ExtractConfig(backbone="filter-bank", stride=2)), Step(config)))
    names: dict[str, object] = {"image": image}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nd.errors.IllPosedWarning)
        labels = run_recipe(recipe, {"image": image})[config.output].labels
        exec(compile(to_python(recipe), "script", "exec"), names)
    assert labels.any()
    np.testing.assert_array_equal(names[config.output].labels, labels)


def test_configs_mirror_the_options_and_their_defaults():
    def own(function):
        return {p.name: p.default for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY}

    cut, masks = asdict(CutOptions(stack="joint")), asdict(MaskOptions())
    del masks["refine"]
    expected = {**own(maskcut_steps), **cut, **masks}
    del expected["image"]
    assert MaskCutConfig().options() == expected
    del cut["vectors"]
    assert ClustersConfig().options() == {**own(spectral_clusters_steps), **cut}
