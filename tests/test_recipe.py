from __future__ import annotations

import inspect
import json

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.errors import FileFormatError, InputError
from napari_dinov3.recipe import (
    CONFIGS,
    ExtractConfig,
    ProbeConfig,
    ReadConfig,
    Recipe,
    SimilarityConfig,
    Step,
    TokenCutConfig,
    WriteConfig,
    load_recipe,
    run_recipe,
    save_recipe,
    to_python,
)

SMALL = ExtractConfig(backbone="filter-bank", stride=4)


@pytest.fixture
def stack() -> np.ndarray:
    image = np.random.default_rng(0).normal(size=(3, 64, 80)).astype(np.float32)
    image[:, :, 40:] += 8
    return image


@pytest.fixture
def scribbles() -> np.ndarray:
    marks = np.zeros((3, 64, 80), np.uint8)
    marks[0, :, :20], marks[0, :, 60:] = 1, 2
    return marks


def full_recipe(folder: str = "") -> Recipe:
    return Recipe(
        (
            Step(ReadConfig(path="stack.npy", spacing=(50.0, 4.0, 4.0), units="nanometer")),
            Step(SMALL),
            Step(ProbeConfig(head="linear")),
            Step(TokenCutConfig(tau=0.3, component="all")),
            Step(WriteConfig(path="labels.ome.tif", kind="labels")),
            Step(WriteConfig(path="masks.ome.tif"), inputs=("cut.masks", "image")),
        )
    )


def test_json_round_trip_keeps_every_step_and_option() -> None:
    recipe = full_recipe()
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert again.steps[3].config.options()["tau"] == 0.3


def test_file_round_trip(tmp_path) -> None:
    path = save_recipe(tmp_path / "recipe.json", full_recipe())
    assert load_recipe(path) == full_recipe()
    with pytest.raises(InputError, match="exists"):
        save_recipe(path, full_recipe())


def test_free_inputs_are_the_names_nobody_makes() -> None:
    assert full_recipe().free_inputs == ("scribbles",)
    assert Recipe((Step(TokenCutConfig(tau=0.3)),)).free_inputs == ("features",)


def test_running_reads_computes_and_writes_with_spacing(tmp_path, stack, scribbles) -> None:
    np.save(tmp_path / "stack.npy", stack)
    seen: list[float] = []
    results = run_recipe(full_recipe(), {"scribbles": scribbles}, folder=tmp_path, on_progress=lambda p: seen.append(p.fraction))
    assert (results["labels"][:, 32, [4, 75]] == (1, 2)).all()
    written = nd.read(tmp_path / "labels.ome.tif")
    assert written.kind == "labels" and written.spacing == (50.0, 4.0, 4.0) and written.units[0] == "nanometer"
    np.testing.assert_array_equal(np.asarray(written), results["labels"])
    np.testing.assert_array_equal(np.asarray(nd.read(tmp_path / "masks.ome.tif")), results["cut"].masks)
    assert seen == sorted(seen) and seen[-1] == 1.0


def test_script_gives_what_the_recipe_gives(tmp_path, monkeypatch, stack, scribbles) -> None:
    np.save(tmp_path / "stack.npy", stack)
    recipe = Recipe(full_recipe().steps[:4])
    expected = run_recipe(recipe, {"scribbles": scribbles}, folder=tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"marks": scribbles}
    exec(compile(to_python(recipe, {"scribbles": "marks"}), "script", "exec"), names)
    np.testing.assert_array_equal(names["labels"], expected["labels"])
    np.testing.assert_array_equal(names["cut"].masks, expected["cut"].masks)


@pytest.mark.parametrize("config", [SMALL, SimilarityConfig(row=3, col=4), ProbeConfig(C=2.0), TokenCutConfig(click=(1, 2))])
def test_piece_of_script_is_python_and_names_only_what_differs(config) -> None:
    line = config.to_python()
    compile(line, "piece", "exec")
    assert ExtractConfig().to_python("stack", output="f") == "f = nd.extract(stack)"
    for name in config.options():
        assert (f"{name}=" in line) == (name in config.options(changed_only=True) or name == "head")


def test_tokencut_takes_the_image_where_brightness_or_edges_decide(stack) -> None:
    for config in (TokenCutConfig(tau=0.3, side="dark"), TokenCutConfig(tau=0.3, refine=2.0), TokenCutConfig()):
        assert config.inputs == ("features", "image")
        recipe = Recipe((Step(SMALL), Step(config)))
        expected = run_recipe(recipe, {"image": stack})["cut"].masks
        names: dict[str, object] = {"image": stack}
        exec(compile(to_python(recipe), "script", "exec"), names)
        np.testing.assert_array_equal(names["cut"].masks, expected)


def test_tokencut_left_to_itself_is_what_the_function_does(stack) -> None:
    results = run_recipe(Recipe((Step(SMALL), Step(TokenCutConfig()))), {"image": stack})
    again = Recipe.from_json(Recipe((Step(SMALL), Step(TokenCutConfig()))).to_json())
    cut = nd.tokencut(results["features"], image=stack)
    assert results["cut"].options == cut.options and cut.options.bipartition == "otsu" and cut.options.refine > 0
    np.testing.assert_array_equal(results["cut"].masks, cut.masks)
    np.testing.assert_array_equal(run_recipe(again, {"image": stack})["cut"].masks, cut.masks)
    assert TokenCutConfig().to_python() == "cut = nd.tokencut(features, image=image)"


def test_tokencut_takes_the_channel_and_the_axes_of_the_features(stack) -> None:
    image = np.stack([np.zeros_like(stack), stack])
    how = {"axes": "czyx", "channel": 1}
    recipe = Recipe((Step(ExtractConfig(backbone="filter-bank", stride=4, **how)), Step(TokenCutConfig(**how))))
    expected = run_recipe(recipe, {"image": image})["cut"].masks
    names: dict[str, object] = {"image": image}
    exec(compile(to_python(recipe), "script", "exec"), names)
    np.testing.assert_array_equal(names["cut"].masks, expected)
    alone = run_recipe(Recipe((Step(SMALL), Step(TokenCutConfig()))), {"image": stack})
    np.testing.assert_array_equal(alone["cut"].masks, expected)


def test_script_names_what_it_needs() -> None:
    assert "# This script needs: scribbles" in to_python(full_recipe())


def _keyword_defaults(function) -> dict[str, object]:
    return {p.name: p.default for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY}


def test_configs_mirror_the_functions_options_and_defaults() -> None:
    from dataclasses import asdict

    from napari_dinov3.align.pairwise import align_pair_steps
    from napari_dinov3.align.stack import StackAlignment, align_stack_steps
    from napari_dinov3.backbones.options import BackboneOptions
    from napari_dinov3.discover.cut import CutOptions
    from napari_dinov3.discover.masks import MaskOptions
    from napari_dinov3.features.extract import extract_steps
    from napari_dinov3.features.views import pca_colours
    from napari_dinov3.image import as_planes
    from napari_dinov3.io.writing import write_steps
    from napari_dinov3.segment.probe import Probe

    files = {"probe": "p", "images": ("i",), "folder": "f"}
    given = {"read": {"path": "x"}, "write": {"path": "x"}, "classify_images": {"images": "x"}, "apply_probe": files}
    given["predict_images"] = {"model": "m", "images": ("i",)}
    own = {name: config(**given.get(name, {})).options() for name, config in CONFIGS.items()}
    image = {k: v for k, v in _keyword_defaults(as_planes).items() if k in ("axes", "rgb", "channel", "level", "region")}
    assert own["extract"] == {**_keyword_defaults(extract_steps), **image, **asdict(BackboneOptions()), "colours": "own"}
    assert own["pca"] == _keyword_defaults(pca_colours)
    assert own["probe"] == {**_keyword_defaults(Probe.__init__), **image}
    left_to_the_function = dict.fromkeys(("bipartition", "side", "component", "refine"))  # there they depend on tau
    assert own["tokencut"] == {**asdict(CutOptions()), **asdict(MaskOptions()), **left_to_the_function, **image}
    assert own["read"] == {"path": "x", **_keyword_defaults(nd.read)}
    aligning = {**_keyword_defaults(align_stack_steps), **image}
    del aligning["known"]  # results of an interrupted run, not an option
    assert own["align"] == aligning
    assert own["align-pair"] == {"model": "affine", **_keyword_defaults(align_pair_steps)}
    where = {name: image[name] for name in ("channel", "level", "region")}
    assert own["apply"] == {**_keyword_defaults(StackAlignment.apply), **where}
    mirrored = _keyword_defaults(write_steps)
    written = {name: mirrored[name] for name in own["write"] if name != "path" and name not in where}
    assert own["write"] == {"path": "x", **written, **where}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "not JSON"),
        ("[1, 2]", "not a recipe"),
        ('{"format": "napari-dinov3-recipe", "version": 99, "steps": []}', "version 99"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_other_files_are_refused(text, match) -> None:
    with pytest.raises(FileFormatError, match=match):
        Recipe.from_json(text)


@pytest.mark.parametrize(
    ("step", "match"),
    [
        ({"task": "rm"}, "Step 1 has the task 'rm'"),
        ({"task": "extract", "options": {"strid": 2}}, "'strid' is not an option"),
        ({"task": "extract", "options": {"stride": "two"}}, "stride is 'two'"),
        ({"task": "extract", "options": {"stride": True}}, "stride is True"),
        ({"task": "extract", "options": {"percentiles": [1]}}, "percentiles"),
        ({"task": "probe", "options": {"head": "magic"}}, "head is 'magic'"),
        ({"task": "read"}, "path is missing"),
        ({"task": "tokencut", "inputs": []}, "0 inputs"),
        ({"task": "tokencut", "inputs": ["a.__class__"]}, "__class__"),
        ({"task": "tokencut", "inputs": ["exit()"]}, r"exit\(\)"),
        ({"task": "tokencut", "output": "x = 1; y"}, "x = 1; y"),
        ({"task": "tokencut", "output": 3}, "malformed"),
        ({"task": "tokencut", "output": "class"}, "'class'"),
        ({"task": "tokencut", "output": "nd"}, "'nd'"),
        ("extract", "task None"),
    ],
)
def test_wrong_steps_are_named(step, match) -> None:
    text = json.dumps({"format": "napari-dinov3-recipe", "version": 1, "steps": [step]})
    with pytest.raises(InputError, match=match) as caught:
        Recipe.from_json(text)
    assert "Step 1" in caught.value.problem


def test_a_version_text_cannot_put_code_into_the_script() -> None:
    assert to_python(Recipe((), made_with="1\nimport os")).splitlines()[:2] == [
        "# Made with napari-dinov3 1 import os",
        "import napari_dinov3 as nd",
    ]


def test_missing_input_is_named() -> None:
    with pytest.raises(InputError, match="needs features"):
        run_recipe(Recipe((Step(TokenCutConfig(tau=0.3)),)))
    with pytest.raises(InputError, match="has no 'mask_s'"):
        run_recipe(Recipe((Step(TokenCutConfig(tau=0.3), inputs=("cut.mask_s",)),)), {"cut": object()})


def test_numbers_of_numpy_and_lists_become_plain() -> None:
    config = ExtractConfig(stride=np.int64(4), percentiles=[np.float32(1), 99])
    assert config.options()["stride"] == 4 and config.percentiles == (1.0, 99.0)
    assert type(config.stride) is int and type(config.percentiles[0]) is float
