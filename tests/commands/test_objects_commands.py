"""Objects and their classes on the command line."""

from __future__ import annotations

import csv

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3 import cli
from napari_dinov3.recipe import load_recipe, run_recipe

PLACES = [(row, col) for row in (8, 28, 48) for col in (8, 28, 48)]
FAST = ["--backbone", "filter-bank"]


def run(*words) -> int:
    return cli.main([str(word) for word in words])


@pytest.fixture
def cells(tmp_path):
    """Files of an image, its classes and its objects: odd objects plain, even ones striped."""
    rng = np.random.default_rng(0)
    image, objects = rng.normal(0, 0.1, (2, 64, 64)).astype(np.float32), np.zeros((2, 64, 64), np.uint16)
    for plane in range(2):
        for number, (row, col) in enumerate(PLACES, start=1 + 9 * plane):
            here = (plane, slice(row, row + 10), slice(col, col + 10))
            image[here] += 2 if number % 2 else 2 * (np.arange(10) % 4 < 2)
            objects[here] = number
    place = {"spacing": (2, 0.5, 0.5), "units": "micrometer"}
    nd.write(tmp_path / "image.ome.tif", image, **place)
    nd.write(tmp_path / "classes.ome.tif", (objects > 0).astype(np.uint8), kind="labels", **place)
    nd.write(tmp_path / "objects.ome.tif", objects, kind="labels", **place)
    nd.write(tmp_path / "probability.ome.tif", (objects > 0) * np.float32(0.75), **place)
    return tmp_path


def rows_of(path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_objects_are_made_measured_scored_and_replayed(cells, capsys, monkeypatch) -> None:
    monkeypatch.chdir(cells)
    words = ["--image", "image.ome.tif", "--table", "t.csv", "--reference", "objects.ome.tif", "--recipe", "r.json"]
    assert run("objects", "classes.ome.tif", "out.ome.tif", "--min-size", 10, *words) == 0
    said = capsys.readouterr().out
    assert "class 1: 18 objects, mean area 25 um^2" in said
    assert "0.5" in said and "AP" in said
    written = nd.read(cells / "out.ome.tif")
    assert written.spacing == (2, 0.5, 0.5)
    np.testing.assert_array_equal(np.asarray(written.data), np.asarray(nd.read(cells / "objects.ome.tif").data))
    rows = rows_of(cells / "t.csv")
    assert float(rows[0]["area (um^2)"]) == 25
    assert float(rows[0]["intensity_mean"]) == pytest.approx(2, abs=0.1)
    assert (cells / "t.csv.json").exists()
    (cells / "out.ome.tif").unlink()
    (cells / "t.csv").unlink()
    (cells / "t.csv.json").unlink()
    assert run("run", "r.json") == 0
    assert rows_of(cells / "t.csv") == rows


def test_a_probability_becomes_objects_with_its_mean(cells) -> None:
    out, table = cells / "out.ome.tif", cells / "t.csv"
    words = ["--method", "watershed", "--landscape", "probability", "--across", "stack", "--fill-holes", "all"]
    assert run("objects", cells / "probability.ome.tif", out, "--table", table, *words) == 0
    rows = rows_of(table)
    assert len(rows) == 9
    assert float(rows[0]["class_probability"]) == 0.75
    assert float(rows[0]["volume (um^3)"]) == 100


def test_no_objects_is_said_and_no_mistake(cells, capsys) -> None:
    assert run("objects", cells / "classes.ome.tif", cells / "out.ome.tif", "--min-size", 1e6) == 0
    assert "no objects" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, message",
    [
        (["--classes", "a"], "--classes a"),
        (["--fill-holes", "some"], "--fill-holes some"),
        (["--landscape", "probability", "--method", "watershed"], "probability map"),
        (["--image", "nothing.tif"], "nothing.tif"),
    ],
)
def test_wrong_options_of_objects_are_said(cells, capsys, words, message) -> None:
    assert run("objects", cells / "classes.ome.tif", cells / "out.ome.tif", *words) == 2
    assert message in capsys.readouterr().err
    assert not (cells / "out.ome.tif").exists()


def test_examples_and_then_their_classifier_classify_objects(cells, capsys, monkeypatch) -> None:
    monkeypatch.chdir(cells)
    (cells / "examples.csv").write_text("label,class,name\n1,1,plain\n2,2,striped\n3,1,plain\n4,2,striped\n")
    common = ["image.ome.tif", "objects.ome.tif"]
    words = ["--examples", "examples.csv", "--save-classifier", "cells.npz", "--table", "t.csv", "--recipe", "r.json"]
    assert run("classify-objects", *common, "out.ome.tif", *words, *FAST) == 0
    assert "class 2 striped: 9 of 18 objects" in capsys.readouterr().out
    painted, objects = (np.asarray(nd.read(cells / name).data) for name in ("out.ome.tif", "objects.ome.tif"))
    np.testing.assert_array_equal(painted, np.where(objects > 0, 2 - objects % 2, 0))
    rows = rows_of(cells / "t.csv")
    assert [row["object_class_name"] for row in rows[:2]] == ["plain", "striped"]
    assert run("classify-objects", *common, "again.ome.tif", "--classifier", "cells.npz", *FAST) == 0
    np.testing.assert_array_equal(np.asarray(nd.read(cells / "again.ome.tif").data), painted)
    (cells / "out.ome.tif").unlink()
    assert "object_classes" in run_recipe(load_recipe("r.json"), folder=cells)
    np.testing.assert_array_equal(np.asarray(nd.read(cells / "out.ome.tif").data), painted)


@pytest.mark.parametrize(
    "text, message",
    [("label,kind\n1,1\n", "not a table of examples"), ("label,class\n", "no example"), ("label,class\n77,1\n", "77")],
)
def test_wrong_examples_are_said(cells, capsys, text, message) -> None:
    (cells / "examples.csv").write_text(text)
    words = [cells / "image.ome.tif", cells / "objects.ome.tif", cells / "out.ome.tif", "--examples", cells / "examples.csv"]
    assert run("classify-objects", *words, *FAST) == 2
    assert message in capsys.readouterr().err


def test_configs_mirror_the_functions() -> None:
    import inspect

    from napari_dinov3.objects.classifier import classify_objects_steps
    from napari_dinov3.objects.instances import objects_from_labels_steps
    from napari_dinov3.objects.table import measure_objects_steps
    from napari_dinov3.recipe import CONFIGS

    def defaults(function) -> dict:
        return {p.name: p.default for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY}

    assert CONFIGS["objects"]().options() == defaults(objects_from_labels_steps)
    assert CONFIGS["classify_objects"]().options() == defaults(classify_objects_steps)
    measure = {**defaults(measure_objects_steps), "intensity": True, "probability": False}
    assert CONFIGS["measure"]().options() == measure
