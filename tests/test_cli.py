from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3 import cli
from napari_dinov3.align.files import load_alignment
from napari_dinov3.backbones.registry import load_backbone
from napari_dinov3.errors import IllPosedWarning
from napari_dinov3.recipe import load_recipe

FAST = ["--backbone", "filter-bank", "--stride", "4"]


@pytest.fixture
def stack(tmp_path):
    image = np.random.default_rng(0).normal(size=(4, 64, 80)).astype(np.float32)
    image[:, 16:48, 40:64] += 8
    return nd.write(tmp_path / "stack.ome.tif", image, spacing=(50, 4, 4), units="nanometer")


@pytest.fixture
def scribbles(tmp_path):
    marks = np.zeros((4, 64, 80), np.uint8)
    marks[0, 20:24, 8:30], marks[0, 30:34, 44:60] = 1, 2
    return nd.write(tmp_path / "scribbles.tif", marks, kind="labels")


def run(*words) -> int:
    return cli.main([str(word) for word in words])


def test_help_comes_without_loading_anything_heavy() -> None:
    code = (
        "import sys; from napari_dinov3.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "heavy = {'numpy', 'scipy', 'sklearn', 'skimage', 'dask', 'torch', 'napari', 'qtpy'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert all(command in ran.stdout for command in cli.COMMANDS)


@pytest.mark.parametrize("command", [*cli.COMMANDS])
def test_every_command_explains_itself(command, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        run(command, "--help")
    assert stop.value.code == 0
    assert cli.COMMANDS[command][1:20] in capsys.readouterr().out


def test_without_a_command_the_help_is_shown(capsys) -> None:
    assert run() == 0
    assert "COMMAND" in capsys.readouterr().out


def test_backbones(capsys) -> None:
    assert run("backbones") == 0
    text = capsys.readouterr().out
    assert all(facts.name in text for facts in nd.list_backbones())
    assert run("backbones", "--json") == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == [facts.name for facts in nd.list_backbones()]


def test_info(stack, capsys) -> None:
    assert run("info", stack) == 0
    text = capsys.readouterr().out
    assert "Z 4, Y 64, X 80" in text and "Z 50 nanometer" in text and "float32" in text
    assert run("info", stack, "--json", "--spacing", "30,2,2") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["shape"] == [4, 64, 80] and facts["spacing"] == {"Z": 30.0, "Y": 2.0, "X": 2.0}


def test_convert_keeps_pixels_spacing_and_units(stack, tmp_path, capsys) -> None:
    assert run("convert", stack, tmp_path / "copy.npy") == 0
    before, after = nd.read(stack), nd.read(tmp_path / "copy.npy")
    np.testing.assert_array_equal(np.asarray(after), np.asarray(before))
    assert (after.axes, after.spacing, after.units) == (before.axes, before.spacing, before.units)


def test_extract(stack, tmp_path, capsys) -> None:
    from napari_dinov3.io import read_features

    assert run("extract", stack, tmp_path / "f.zarr", *FAST, "--pca", tmp_path / "colours.ome.tif") == 0
    features = read_features(tmp_path / "f.zarr")
    assert features.grid == (16, 20) and features.spacing == (50.0, 4.0, 4.0)
    assert nd.read(tmp_path / "colours.ome.tif").spacing == (50.0, 16.0, 16.0)


def test_segment_writes_labels_and_a_recipe_that_gives_them_again(stack, scribbles, tmp_path, capsys) -> None:
    (tmp_path / "kept").mkdir()
    recipe = tmp_path / "kept" / "recipe.json"
    assert run("segment", stack, scribbles, tmp_path / "labels.ome.tif", *FAST, "--recipe", recipe) == 0
    labels = nd.read(tmp_path / "labels.ome.tif")
    assert labels.kind == "labels" and labels.spacing == (50.0, 4.0, 4.0)
    pixels = np.asarray(labels)
    assert (pixels[:, 32, [10, 52]] == (1, 2)).all()
    assert load_recipe(recipe).steps[0].config.options()["path"] == "../stack.ome.tif"
    assert run("run", recipe, "--overwrite") == 0
    np.testing.assert_array_equal(np.asarray(nd.read(tmp_path / "labels.ome.tif")), pixels)
    assert run("run", recipe, "--python") == 0
    compile(capsys.readouterr().out.split("import napari_dinov3", 1)[1].join(["import napari_dinov3", ""]), "script", "exec")


def test_segment_judges_itself_against_known_labels(stack, scribbles, tmp_path, capsys) -> None:
    from napari_dinov3.evaluate.metrics import evaluate_labels

    truth = np.ones((4, 64, 80), np.uint8)
    truth[:, 16:48, 40:64] = 2
    known = nd.write(tmp_path / "known.tif", truth, kind="labels")
    assert run("segment", stack, scribbles, tmp_path / "labels.tif", *FAST, "--reference", known) == 0
    text = capsys.readouterr().out
    report = evaluate_labels(np.asarray(nd.read(tmp_path / "labels.tif")), truth)
    assert f"accuracy {report.accuracy:.4f}" in text and report.accuracy > 0.8
    assert f"{report.f1[1]:.4g}" in text and f"{report.iou[1]:.4g}" in text
    other = nd.write(tmp_path / "other.tif", truth[:2], kind="labels")
    assert run("segment", stack, scribbles, tmp_path / "new.tif", *FAST, "--reference", other) == 2
    assert not (tmp_path / "new.tif").exists()


def test_segment_refuses_an_image_in_the_place_of_scribbles(stack, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("napari_dinov3.features.extract.extract_steps", lambda *a, **k: pytest.fail("work was done"))
    grey = nd.write(tmp_path / "grey.tif", np.random.default_rng(0).integers(0, 255, (4, 64, 80), np.uint8))
    assert run("segment", stack, grey, tmp_path / "new.tif") == 2
    assert "more than 50 classes" in capsys.readouterr().err
    assert run("segment", stack, stack, tmp_path / "new.tif") == 2
    assert "whole numbers" in capsys.readouterr().err


def test_discover_writes_masks_and_boxes(stack, tmp_path, capsys) -> None:
    assert run("discover", stack, tmp_path / "masks.tif", *FAST, "--tau", "0.5", "--boxes", tmp_path / "boxes.csv") == 0
    masks = np.asarray(nd.read(tmp_path / "masks.tif"))
    assert masks.shape == (4, 64, 80) and set(np.unique(masks)) <= {0, 1}
    lines = (tmp_path / "boxes.csv").read_text().splitlines()
    assert lines[0] == "plane,row0,col0,row1,col1" and len(lines) >= 5


def test_discover_does_what_the_function_does_unasked(stack, tmp_path) -> None:
    recipe = tmp_path / "r.json"
    assert run("discover", stack, tmp_path / "masks.tif", *FAST, "--recipe", recipe) == 0
    image = nd.read(stack)
    cut = nd.tokencut(nd.extract(image, backbone="filter-bank", stride=4), image=image)
    np.testing.assert_array_equal(np.asarray(nd.read(tmp_path / "masks.tif")), cut.masks)
    assert run("run", recipe, "--overwrite") == 0
    np.testing.assert_array_equal(np.asarray(nd.read(tmp_path / "masks.tif")), cut.masks)


def test_discover_cuts_planes_together_where_asked(stack, tmp_path) -> None:
    assert run("discover", stack, tmp_path / "masks.tif", *FAST, "--stack", "joint") == 0
    image = nd.read(stack)
    cut = nd.tokencut(nd.extract(image, backbone="filter-bank", stride=4), image=image, stack="joint")
    np.testing.assert_array_equal(np.asarray(nd.read(tmp_path / "masks.tif")), cut.masks)


def test_a_wrong_tau_is_said_in_plain_words(stack, tmp_path, capsys) -> None:
    assert run("discover", stack, tmp_path / "masks.tif", "--tau", "foo") == 2
    text = capsys.readouterr().err
    assert text.startswith("--tau foo") and "_tau" not in text and len(text.splitlines()) == 3


def test_align_writes_the_stack_and_the_transforms(tmp_path, capsys) -> None:
    sample = nd.synthetic.em(planes=4, size=96, shifts=[[0, 0], [3, -2], [1, 4], [0, 2]], rng=0)
    nd.write(tmp_path / "moved.tif", sample.images)
    words = ["--model", "translation", "--backbone", "none", "--drift", "first", "--transforms", tmp_path / "t.json"]
    words += ["--alignment", tmp_path / "a.json", "--itk", tmp_path / "itk", "--elastix", tmp_path / "elx", "--exclude", "2"]
    assert run("align", tmp_path / "moved.tif", tmp_path / "aligned.tif", *words) == 0
    alignment = load_alignment(tmp_path / "a.json")
    assert alignment.bad == (2,)
    np.testing.assert_array_equal(alignment.apply(sample.images), np.asarray(nd.read(tmp_path / "aligned.tif")))
    assert [len(list((tmp_path / name).iterdir())) for name in ("itk", "elx")] == [4, 4]
    rows = json.loads((tmp_path / "t.json").read_text())
    found = [(row["m02"], row["m12"]) for row in rows if not row["bad"]]
    np.testing.assert_allclose(found, sample.shifts[[0, 1, 3]], atol=0.3)
    assert nd.read(tmp_path / "aligned.tif").shape == (4, 96, 96)


def test_align_takes_a_preset_and_what_is_given_beside_it(tmp_path) -> None:
    nd.write(tmp_path / "movie.tif", nd.synthetic.calcium(planes=3, size=64, rng=0, drift=2).images)
    ends = (tmp_path / "movie.tif", tmp_path / "aligned.tif", "--overwrite", "--alignment", tmp_path / "a.json")
    assert run("align", *ends, "--preset", "movie") == 0
    assert load_alignment(tmp_path / "a.json").model == "translation"
    assert run("align", *ends, "--preset", "movie", "--model", "rigid") == 0
    assert load_alignment(tmp_path / "a.json").model == "rigid"


def test_align_takes_the_options_of_a_network(tmp_path, monkeypatch, capsys) -> None:
    sample = nd.synthetic.em(planes=2, size=64, shifts=[[0, 0], [1, 0]], rng=0)
    nd.write(tmp_path / "moved.tif", sample.images)
    ends = tmp_path / "moved.tif", tmp_path / "out.tif"
    assert run("align", *ends, "--exclude", "x") == 2
    assert capsys.readouterr().err.startswith("--exclude x")
    assert run("align", *ends, "--backbone", "filter-bank", "--device", "cpu") == 2
    assert "device='cpu' for backbone 'filter-bank'" in capsys.readouterr().err
    asked, filter_bank = {}, load_backbone("filter-bank")

    def load(name, **options):
        asked.update(options, name=name)
        return filter_bank

    monkeypatch.setattr("napari_dinov3.backbones.registry.load_backbone", load)
    words = ["--weights", tmp_path / "w", "--precision", "float32", "--recipe", tmp_path / "r.json", "--model", "translation"]
    assert run("align", *ends, "--backbone", "dinov3-vits16", *words) == 0
    assert asked == {"name": "dinov3-vits16", "weights": str(tmp_path / "w"), "precision": "float32"}
    step = json.loads((tmp_path / "r.json").read_text())["steps"][1]
    assert step["options"]["precision"] == "float32"


def test_wrong_input_is_three_lines_and_status_2(tmp_path, capsys) -> None:
    assert run("info", tmp_path / "missing.tif") == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 3 and "missing.tif" in lines[0] and lines[1].startswith("Expected: ") and lines[2].startswith("Try: ")
    assert captured.out == ""
    with pytest.raises(nd.InputError):
        run("info", tmp_path / "missing.tif", "--traceback")


def test_existing_results_are_refused_before_any_work(stack, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "masks.tif").write_text("mine")
    monkeypatch.setattr("napari_dinov3.features.extract.extract_steps", lambda *a, **k: pytest.fail("work was done"))
    assert run("discover", stack, tmp_path / "masks.tif") == 2
    assert (tmp_path / "masks.tif").read_text() == "mine"
    assert run("discover", stack, tmp_path / "new.tif", "--boxes", tmp_path / "new.tif") == 2
    assert "The same name twice" in capsys.readouterr().err


def test_replaying_onto_existing_results_is_refused_before_any_work(stack, tmp_path, monkeypatch, capsys) -> None:
    recipe = tmp_path / "r.json"
    assert run("discover", stack, tmp_path / "masks.tif", *FAST, "--tau", "0.5", "--recipe", recipe) == 0
    monkeypatch.setattr("napari_dinov3.features.extract.extract_steps", lambda *a, **k: pytest.fail("work was done"))
    assert run("run", recipe) == 2
    text = capsys.readouterr().err
    assert "masks.tif exists" in text and "--overwrite" in text and "overwrite=True" not in text


def test_what_lies_beside_an_array_is_refused_before_any_work(stack, scribbles, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "labels.npy.json").write_text("mine")
    monkeypatch.setattr("napari_dinov3.features.extract.extract_steps", lambda *a, **k: pytest.fail("work was done"))
    assert run("segment", stack, scribbles, tmp_path / "labels.npy") == 2
    assert "labels.npy.json exists" in capsys.readouterr().err


def test_interrupting_ends_with_130_and_leaves_nothing(stack, tmp_path, monkeypatch, capsys) -> None:
    def interrupted(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_dinov3.io.ome_tiff._exact", interrupted)
    assert run("convert", stack, tmp_path / "copy.tif") == 130
    assert capsys.readouterr().err.strip().endswith("Stopped.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stack.ome.tif"]


def test_warnings_for_users_are_one_line(monkeypatch, capsys) -> None:
    import warnings

    from napari_dinov3.commands import backbones

    def warn(_options) -> int:
        warnings.warn("The cut is arbitrary.", IllPosedWarning, stacklevel=1)
        return 0

    monkeypatch.setattr(backbones, "run", warn)
    assert run("backbones") == 0
    assert capsys.readouterr().err == "Note: The cut is arbitrary.\n"


def test_recipe_inputs_are_named_files(stack, tmp_path, capsys) -> None:
    from napari_dinov3.recipe import ExtractConfig, PcaConfig, Recipe, Step, save_recipe

    path = save_recipe(tmp_path / "r.json", Recipe((Step(ExtractConfig(backbone="filter-bank", stride=8)), Step(PcaConfig()))))
    assert run("run", path, "--input", f"image={stack}") == 0
    assert run("run", path) == 2
    assert "needs image" in capsys.readouterr().err
    assert run("run", path, "--input", f"picture={stack}") == 2


def test_experiments_refuse_nonsense_before_work(tmp_path, capsys) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert run("experiments", "--seeds", "0") == 2
    assert run("experiments", "--out", tmp_path) == 2
    assert "holds something already" in capsys.readouterr().err


def test_segment_takes_the_options_of_a_probe_several_images_and_keeps_what_it_learned(
    stack, scribbles, tmp_path, capsys
) -> None:
    options = (
        "--head",
        "linear",
        "--C",
        "cv",
        "--thresholds",
        "2=0.4",
        "--class-weight",
        "1=1,2=2",
        "--refine",
        "3",
        "--median",
        "3",
    )
    out, soft, kept = tmp_path / "labels.ome.tif", tmp_path / "soft.ome.tif", tmp_path / "probe.npz"
    extras = ("--also", stack, scribbles, "--probabilities", soft, "--save-probe", kept, "--smooth-z", "0.7")
    assert run("segment", stack, scribbles, out, *FAST, *options, *extras) == 0
    chances = nd.read(soft)
    assert np.asarray(chances).shape == (4, 2, 64, 80) and chances.spacing == (50.0, 4.0, 4.0)
    np.testing.assert_allclose(np.asarray(chances).sum(axis=1), 1, atol=1e-4)
    probe = nd.Probe.load(kept)
    assert probe.options.thresholds == {2: 0.4} and probe.options.smooth_z == 0.7 and probe.options.median == 3
    assert (np.asarray(nd.read(out))[:, 32, [10, 52]] == (1, 2)).all()
    assert "class 1, class 2" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [("--C", "best"), ("--thresholds", "2"), ("--class-weight", "two=1"), ("--median", "4")])
def test_segment_names_a_wrong_option_of_a_probe(wrong, stack, scribbles, tmp_path, capsys) -> None:
    assert run("segment", stack, scribbles, tmp_path / "labels.tif", *FAST, *wrong) == 2
    assert wrong[1] in capsys.readouterr().err
    assert not (tmp_path / "labels.tif").exists()
