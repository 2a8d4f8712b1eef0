from __future__ import annotations

import json
import os

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3 import cli
from napari_dinov3._napari import demo_window
from napari_dinov3.commands import main_job
from napari_dinov3.errors import InputError
from napari_dinov3.recipe import load_recipe, run_recipe

NO_WINDOW = ["--no-window", "--no-picture"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One demo on a small real-looking stack with scribbles, and its folder."""
    folder = tmp_path_factory.mktemp("demo")
    sample = nd.synthetic.em(planes=6, size=96, rng=3)
    nd.write(folder / "stack.ome.tif", sample.images, spacing=sample.spacing, units=sample.units)
    scribbles = np.zeros(sample.masks.shape, np.uint8)
    scribbles[::2, ::5] = np.where(sample.masks, 7, 3)[::2, ::5]
    nd.write(folder / "scribbles.tif", scribbles, kind="labels")
    words = [
        "demo",
        str(folder / "stack.ome.tif"),
        "--scribbles",
        str(folder / "scribbles.tif"),
        "--planes",
        "5",
        "--out",
        str(folder / "out"),
        *NO_WINDOW,
    ]
    assert cli.main(words) == 0
    return folder, sample


def test_results_are_written_with_spacing_and_tables(demo) -> None:
    folder, sample = demo
    names = {path.name for path in (folder / "out").iterdir()}
    assert {
        "probe_labels.ome.tif",
        "tokencut_masks.ome.tif",
        "aligned.ome.tif",
        "colours.ome.tif",
        "similarity.ome.tif",
        "recipe.json",
        "recipe.py",
        "results.csv",
        "results.json",
        "results.md",
        "transforms.csv",
        "layers.json",
    } <= names
    labels = nd.read(folder / "out" / "probe_labels.ome.tif")
    assert labels.shape == (5, 96, 96) and labels.spacing == pytest.approx(sample.spacing) and labels.kind == "labels"
    assert set(np.unique(np.asarray(labels))) == {3, 7}
    colours = nd.read(folder / "out" / "colours.ome.tif")
    assert colours.rgb and colours.spacing[1] == pytest.approx(2 * sample.spacing[1])


def test_measures_tell_what_is_good_from_what_is_not(demo) -> None:
    folder, _ = demo
    measures = {m["step"]: m["value"] for m in json.loads((folder / "out" / "results.json").read_text())["measures"]}
    assert measures["linear probe"] > 0.8  # bright discs on noise are easy; always the commoner class gives 0.5
    assert measures["aligned stack"] < 0.3 < 2 < measures["shifted stack"]


# whether TokenCut is well posed on a small noisy stack is not what is tested here
@pytest.mark.filterwarnings("ignore::napari_dinov3.errors.IllPosedWarning")
def test_recipe_gives_the_same_results_again(demo) -> None:
    folder, _ = demo
    recipe = load_recipe(folder / "out" / "recipe.json")
    assert recipe.free_inputs == ()
    results = run_recipe(recipe, folder=folder / "out")
    np.testing.assert_array_equal(results["labels"], np.asarray(nd.read(folder / "out" / "probe_labels.ome.tif")))
    np.testing.assert_array_equal(
        np.asarray(nd.read(folder / "out" / "again_aligned.ome.tif")), np.asarray(nd.read(folder / "out" / "aligned.ome.tif"))
    )


def test_what_was_left_out_is_said(tmp_path, capsys, demo) -> None:
    folder, _ = demo
    options = ["--planes", "2", "--seed", "1", "--out", str(tmp_path / "out"), *NO_WINDOW]
    assert cli.main(["demo", str(folder / "stack.ome.tif"), *options]) == 0
    text = capsys.readouterr().out
    assert "planes 2 to 3 of 6" in text and "agreement, not accuracy" in text and "rows of the TokenCut mask" in text


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--scribbles", "x.tif"], "without PATH"),
        (["missing.tif"], "nothing at"),
        (["--size", "wide"], "--size wide"),
        (["--seed", "-1"], "--seed -1"),
        (["--planes", "foo"], "--planes foo"),
        (["--planes", "4"], "--planes 4 without PATH"),
        (["--channel", "1"], "--channel 1 without PATH"),
    ],
)
def test_wrong_options_end_before_any_work(tmp_path, monkeypatch, capsys, words, match) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", *words, *NO_WINDOW]) == 2
    assert match in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_full_folder_is_not_written_into(tmp_path, demo, capsys) -> None:
    folder, _ = demo
    assert cli.main(["demo", "--out", str(folder / "out"), *NO_WINDOW]) == 2
    assert "holds something already" in capsys.readouterr().err


def test_unfit_scribbles_are_refused(tmp_path, demo, capsys) -> None:
    folder, _ = demo
    image = str(folder / "stack.ome.tif")
    for data, match in (
        (np.ones((2, 9, 9), np.uint8), "those of the image"),
        (np.ones((6, 96, 96), np.uint8), "1 classes"),
        (np.ones((6, 96, 96), np.float32), "whole numbers"),
    ):
        path = nd.write(tmp_path / "s.tif", data, overwrite=True)
        assert cli.main(["demo", image, "--scribbles", str(path), "--out", str(tmp_path / "out"), *NO_WINDOW]) == 2
        assert match in capsys.readouterr().err


def test_shifted_windows_hold_the_content_where_the_shifts_say() -> None:
    image = nd.as_planes(np.random.default_rng(0).random((5, 60, 70)), spacing=(3, 2, 2), units="micrometer")
    moved, shifts = main_job.shift_planes(image, np.random.default_rng(1))
    margin = (60 - moved.shape[1]) // 2
    assert moved.spacing == image.spacing and moved.units == image.units
    for z, (dy, dx) in enumerate(shifts.astype(int)):
        assert moved.plane(z)[margin + dy, margin + dx] == image.plane(z)[2 * margin, 2 * margin]
    assert main_job.misplacement(shifts + 5, shifts) == pytest.approx(0)
    assert main_job.misplacement(shifts * 0, shifts) > 1


def test_a_single_image_is_repeated_for_the_alignment() -> None:
    moved, shifts = main_job.shift_planes(nd.as_planes(np.random.default_rng(0).random((60, 70, 3))), np.random.default_rng(1))
    assert moved.shape[0] == len(shifts) == 4 and moved.rgb


def test_a_single_image_is_said_to_be_copied_and_shows_no_slider(tmp_path, capsys) -> None:
    from napari.components import ViewerModel

    nd.write(tmp_path / "one.tif", nd.synthetic.em(size=96, rng=3).images[0])
    out = tmp_path / "out"
    assert cli.main(["demo", str(tmp_path / "one.tif"), "--out", str(out), *NO_WINDOW]) == 0
    text = capsys.readouterr().out
    assert "4 copies of one plane" in text and "translation, by pixels" in text
    viewer = ViewerModel()
    for entry in json.loads((out / "layers.json").read_text()):
        demo_window._add_layer(viewer, out, entry)
    assert viewer.dims.ndim == 2


def test_mean_of_aligned_planes_has_no_black_frame(demo) -> None:
    folder, _ = demo
    before, after = (np.asarray(nd.read(folder / "out" / f"{name}_mean.ome.tif")) for name in ("shifted", "aligned"))
    stack = np.asarray(nd.read(folder / "out" / "aligned.ome.tif"))
    assert before.ndim == after.ndim == 2 and np.isfinite(before).all()
    assert (stack == 0).any()  # planes do not reach everywhere
    assert np.nanmin(after) > 0.5 * np.nanmedian(after)  # their emptiness does not darken the mean
    layers = {entry["file"]: entry for entry in json.loads((folder / "out" / "layers.json").read_text())}
    assert layers["shifted_mean"]["contrast_limits"] == layers["aligned_mean"]["contrast_limits"]


def test_a_demo_that_fails_leaves_no_empty_folder(tmp_path, monkeypatch) -> None:
    def stopped(*_args, **_options):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(main_job, "_embed_steps", stopped)
    assert cli.main(["demo", "--out", str(tmp_path / "out"), *NO_WINDOW]) == 130
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    assert cli.main(["demo", "--out", str(tmp_path / "mine"), *NO_WINDOW]) == 130
    assert (tmp_path / "mine").is_dir()


def test_tokencut_is_what_the_function_does_unasked(demo) -> None:
    folder, _ = demo
    image = nd.read(folder / "out" / "image.ome.tif")
    masks = nd.tokencut(nd.extract(image), image=image, stack="joint").masks
    np.testing.assert_array_equal(np.asarray(nd.read(folder / "out" / "tokencut_masks.ome.tif")), masks)


def test_scribbled_rows_are_sparse_and_true() -> None:
    mask = np.random.default_rng(0).random((4, 48, 48)) > 0.5
    rows = main_job.scribble_rows(mask, 3)
    painted = rows > 0
    assert set(np.flatnonzero(painted.any(axis=(1, 2)))) == {1, 3} and painted[1].mean() < 0.1
    np.testing.assert_array_equal(rows[painted] == main_job.OBJECT, mask[painted])


def test_a_virtual_screen_is_no_screen_for_people(monkeypatch) -> None:
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setenv("NAPARI_DINOV3_SCREEN", "virtual")
    assert not demo_window.has_screen()
    monkeypatch.setenv("NAPARI_DINOV3_SCREEN", "real")
    assert demo_window.has_screen()


@pytest.mark.skipif(os.name == "nt", reason="Xvfb is for Linux")
def test_a_missing_virtual_screen_names_the_packages(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("DISPLAY", raising=False)
    problem = demo_window.take_picture(tmp_path, tmp_path / "window.png", (800, 600))
    assert "Xvfb" in problem and "apt-get install" in problem and "libxcb-cursor0" in problem


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Traceback\nqtpy.QtBindingsNotFoundError: No Qt bindings could be found", "napari-dinov3[all]"),
        ("ImportError: libEGL.so.1: cannot open shared object file: No such file", "libEGL.so.1"),
        ('qt.qpa.plugin: Could not load the Qt platform plugin "xcb"\nAborted', "apt-get install"),
        ("Traceback\nValueError: something else", "something else"),
    ],
)
def test_what_is_missing_for_a_window_is_explained(text, answer) -> None:
    assert answer in demo_window._explain(text)


def test_window_sizes() -> None:
    assert demo_window.parse_size("1366x768") == (1366, 768)
    for wrong in ("1366", "axb", "1366x768x24", "1x1"):
        with pytest.raises(InputError):
            demo_window.parse_size(wrong)


def test_layers_lie_over_each_other_in_the_viewer(demo) -> None:
    from napari.components import ViewerModel

    folder, sample = demo
    viewer = ViewerModel()
    for entry in json.loads((folder / "out" / "layers.json").read_text()):
        demo_window._add_layer(viewer, folder / "out", entry)
    image, colours = viewer.layers["Image"], viewer.layers["PCA colours"]
    assert {str(unit) for layer in viewer.layers for unit in layer.units} == {"micrometer"}
    np.testing.assert_allclose(image.scale, sample.spacing)
    patch = nd.extract(sample.images[:1], backbone="filter-bank")
    corner = patch.first_centre * sample.spacing[1]
    np.testing.assert_allclose(colours.data_to_world((0, 0, 0))[1:], (corner, corner), rtol=1e-6)
    assert viewer.layers["Shifted: mean of planes"].ndim == 2
