"""The commands evaluate, compare and transfer: figures of the functions, files where asked, three lines for a wrong input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.cli import main


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in ("em", "calcium"):
        sample = getattr(nd.synthetic, name)(planes=4, size=64, rng=0)
        nd.write(tmp_path / f"{name}.ome.tif", sample.images, spacing=(50, 4, 4), units="nanometer")
        nd.write(tmp_path / f"{name}_mask.tif", sample.masks.astype(np.uint8), kind="labels")
    return tmp_path


def test_evaluate_prints_and_writes_the_scores(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = nd.read(files / "em_mask.tif")
    found = np.roll(np.asarray(truth), 1, axis=2)
    nd.write(files / "found.ome.tif", found, kind="labels")
    words = ["--csv", str(files / "t.csv"), "--planes", str(files / "p.csv")]
    assert main(["evaluate", str(files / "found.ome.tif"), str(files / "em_mask.tif"), *words]) == 0
    shown = capsys.readouterr().out
    scores = nd.evaluate.evaluate_segmentation(found, np.asarray(truth))
    assert f"mean IoU {scores.mean_iou:.3f}" in shown and "within 2 pixel" in shown
    assert (files / "t.csv").read_text() == scores.to_csv() and len((files / "p.csv").read_text().splitlines()) == 5
    assert main(["evaluate", str(files / "found.ome.tif"), str(files / "em_mask.tif"), *words]) == 2
    assert "exists" in capsys.readouterr().err


def test_evaluate_measures_boundaries_in_the_world(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = np.asarray(nd.read(files / "em_mask.tif"))
    truth = nd.write(files / "truth.ome.tif", masks, spacing=(50, 4, 4), units="nanometer", kind="labels")
    found = nd.write(files / "found.tif", np.roll(masks, 1, axis=2), kind="labels")
    words = ["--tolerance", "4", "--tolerance-unit", "world"]
    assert main(["evaluate", str(found), str(truth), *words]) == 0
    near = capsys.readouterr().out
    assert "within 4 nanometer" in near
    expected = nd.evaluate.evaluate_segmentation(np.roll(masks, 1, axis=2), masks, tolerance=1)
    assert f"Boundary F1 {expected.mean_boundary_f1:.3f}" in near


def test_evaluate_compares_objects(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objects = np.zeros((2, 40, 40), np.uint16)
    objects[:, 2:12, 2:12], objects[:, 20:30, 20:30] = 7, 300
    found = objects.copy()
    found[1, 20:30, 20:30] = 0
    for name, labels in (("truth", objects), ("found", found)):
        nd.write(files / f"{name}.tif", labels, kind="labels", axes="zyx")
    words = ["evaluate", str(files / "found.tif"), str(files / "truth.tif"), "--objects", "planes"]
    assert main([*words, "--csv", str(files / "o.csv")]) == 0
    assert "precision 1.000, recall 0.750" in capsys.readouterr().out
    assert (files / "o.csv").read_text().splitlines()[1].startswith("0.5,3,0,1,1.0,0.75")
    assert main([*words, "--planes", str(files / "p.csv")]) == 2


def test_compare_ranks_and_names_what_was_left_out(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--mask", "--backbones", "filter-bank,dinov3-vits16", "--heads", "linear", "--strides", "4,16", "--folds", "2"]
    out = ["--csv", str(files / "c.csv"), "--plot", str(files / "c.png")]
    assert main(["compare", str(files / "em.ome.tif"), str(files / "em_mask.tif"), *words, *out]) == 1
    shown = capsys.readouterr()
    assert "| filter-bank | linear | 4 | 0.9" in shown.out and "dinov3-vits16 was left out" in shown.err
    assert (files / "c.png").stat().st_size > 1000 and len((files / "c.csv").read_text().splitlines()) == 4


def test_compare_refuses_what_cannot_be_compared(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, mask = str(files / "em.ome.tif"), str(files / "em_mask.tif")
    assert main(["compare", image, mask]) == 2
    assert "One class only: 1" in capsys.readouterr().err
    assert main(["compare", image, mask, "--mask", "--heads", "magic"]) == 2
    assert main(["compare", image, mask, "--mask", "--strides", "x"]) == 2
    small = nd.write(files / "small.tif", np.ones((4, 10, 10), np.uint8), kind="labels")
    capsys.readouterr()
    assert main(["compare", image, str(small)]) == 2
    assert "shape (4, 10, 10)" in capsys.readouterr().err


def test_transfer_prints_the_matrix(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [f"{name}={files / f'{name}.ome.tif'},{files / f'{name}_mask.tif'}" for name in ("em", "calcium")]
    words = [
        "--mask",
        "--stride",
        "4",
        "--backbone",
        "filter-bank",
        "--csv",
        str(files / "t.csv"),
        "--plot",
        str(files / "t.png"),
    ]
    assert main(["transfer", *sets, *words]) == 0
    shown = capsys.readouterr().out
    assert "| trained on | em | calcium |" in shown and (files / "t.png").exists()
    assert len((files / "t.csv").read_text().splitlines()) == 5
    assert main(["transfer", "em", sets[0]]) == 2
    assert "NAME=IMAGE,LABELS" in capsys.readouterr().err
