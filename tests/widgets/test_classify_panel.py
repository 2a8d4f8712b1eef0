"""The Classify images panel: files and planes, matrix, mistakes as layers, models saved and applied, reasons for what is off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

import napari_dinov3 as nd
from napari_dinov3._napari.image_classes import montage, parse_planes, write_planes
from napari_dinov3.errors import InputError
from napari_dinov3.widgets.classify.panel import ClassifyImagesPanel

Open = Callable[[type], Any]
Finish = Callable[[Any], str]


def stripes(period: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 8, (48, 48))
    return (120 + 60 * np.sin(np.arange(48) / period + seed) + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for kind, period in (("fine", 1.5), ("coarse", 8.0)):
        (tmp_path / "set" / kind).mkdir(parents=True)
        for seed in range(8):
            nd.write(tmp_path / "set" / kind / f"{kind}{seed}.png", stripes(period, seed))
    nd.write(tmp_path / "set" / "fine" / "odd.png", stripes(8.0, 9))
    return tmp_path / "set"


@pytest.fixture
def learned(panel_of: Open, finish: Finish, root: Path) -> Any:
    panel = panel_of(ClassifyImagesPanel)
    assert "choose a folder of classes" in panel.status.text()
    panel.setValue({"files": [root], "folds": 4, "backbone": "filter-bank", "C": 0.01})
    panel.run()
    assert "Top-1 0.941" in finish(panel)  # the odd one of seventeen
    return panel


def test_the_matrix_is_shown_with_numbers_and_shades(learned: Any) -> None:
    rows = learned.confusion.rows()
    assert rows == [{"true ↓": "coarse", "coarse": 8, "fine": 0}, {"true ↓": "fine", "coarse": 1, "fine": 8}]
    cells = learned.confusion.table
    assert cells.item(0, 1).background().color() != cells.item(0, 2).background().color()
    assert "balanced accuracy 0.9444" in learned.report.text()


def test_mistakes_become_a_montage_with_names(learned: Any, model: Any) -> None:
    before = [layer.name for layer in model.layers]
    learned.show_mistakes()
    assert [layer.name for layer in model.layers] == [*before, "mistakes", "mistakes names"]
    points, picture = model.layers["mistakes names"], model.layers["mistakes"]
    assert points.features.to_dict("records") == [{"image": "odd.png", "true": "fine", "predicted": "coarse"}]
    assert picture.data.shape == (96, 96) and picture.data.max() > 100
    stack = model.layers["stack"].extent.world
    assert picture.extent.world[0, 1] > stack[1, 2]  # beside the stack, not over it


def test_the_copied_script_gives_the_same(learned: Any, capsys: pytest.CaptureFixture[str]) -> None:
    learned.copy_script()
    names: dict[str, Any] = {}
    exec(QApplication.clipboard().text(), names)
    np.testing.assert_array_equal(names["classes"].result.confusion, [[8, 0], [1, 8]])
    assert "Top-1" in capsys.readouterr().out


def test_a_saved_model_is_loaded_and_applied(learned: Any, panel_of: Open, finish: Finish, root: Path, tmp_path: Path) -> None:
    learned.save(tmp_path / "out")
    assert {"model.npz", "report.md", "mistakes.png"} <= {path.name for path in (tmp_path / "out").iterdir()}
    learned.save(tmp_path / "out")
    assert "exists" in learned.status.text()  # nothing is overwritten
    learned.session.kept("ClassifyImagesPanel").clear()
    fresh = panel_of(ClassifyImagesPanel)
    assert not fresh.new_files_button.isEnabled() and not fresh.save_button.isEnabled()
    fresh.load_model(root / "fine" / "fine0.png")
    assert "not a usable image classifier" in fresh.status.text()
    fresh.load_model(tmp_path / "out" / "model.npz")
    (root / "bad.tif").write_bytes(b"x")
    fresh.apply_to_folder(root)
    assert "1 could not be read" in finish(fresh)
    assert {row["image"]: row["class"] for row in fresh.predictions.rows()}["coarse1.png"] == "coarse"


def test_planes_of_a_stack_get_classes_in_the_viewer(
    panel_of: Open, finish: Finish, model: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = np.stack([stripes(1.5 if n < 5 else 8.0, n) for n in range(10)])
    model.add_image(stack, name="sections", scale=(2, 0.5, 0.5), units=("um", "um", "um"))
    panel = panel_of(ClassifyImagesPanel)
    panel.setValue({"source": "planes", "image": "sections", "backbone": "filter-bank", "folds": 2})
    assert "name planes of two classes" in panel.status.text()
    for planes, name in (("0, 2-3", "fine"), ("6-8", "coarse")):
        panel.plane_labels.planes.setText(planes)
        panel.plane_labels.name.setText(name)
        panel.plane_labels.add()
    panel.run()
    assert "Top-1 1.000" in finish(panel)
    points = model.layers["sections classes"]
    assert points.features["class"].tolist() == ["fine"] * 5 + ["coarse"] * 5
    np.testing.assert_array_equal(points.data[:, 0], np.arange(10))
    np.testing.assert_array_equal(points.scale, (2, 0.5, 0.5))
    panel.copy_script()
    names: dict[str, Any] = {"viewer": model}
    exec(QApplication.clipboard().text(), names)
    assert names["planes"].labels == points.features["class"].tolist()
    capsys.readouterr()
    assert panel_of(ClassifyImagesPanel).plane_labels.value() == panel.plane_labels.value()  # settings outlive the panel


def test_wrong_plane_numbers_are_said(panel_of: Open, model: Any) -> None:
    panel = panel_of(ClassifyImagesPanel)
    panel.setValue({"source": "planes"})
    panel.plane_labels.planes.setText("0-9")
    panel.plane_labels.add()
    assert "Type the name" in panel.status.text()
    panel.plane_labels.name.setText("a")
    panel.plane_labels.add()
    assert "planes of 0..2" in panel.status.text()
    model.dims.set_point(0, 4)
    panel.plane_labels.take_visible()
    assert panel.plane_labels.planes.text() == "2"


def test_one_class_and_single_images_are_refused_in_words(panel_of: Open, finish: Finish, root: Path) -> None:
    panel = panel_of(ClassifyImagesPanel)
    for path in list((root / "fine").iterdir())[1:]:
        path.unlink()
    panel.setValue({"files": [root], "backbone": "filter-bank"})
    panel.run()
    assert "A single image (or group) of fine" in finish(panel)


@pytest.mark.parametrize("text", ["", "a", "3-1", "0-10", "1,,x"])
def test_planes_that_are_not_there_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_planes(text, 10)


def test_planes_are_written_as_they_are_read() -> None:
    assert parse_planes("0-4, 9 ,2", 10) == (0, 1, 2, 3, 4, 9)
    assert write_planes((0, 1, 2, 3, 4, 9)) == "0-4, 9"


def test_a_montage_keeps_every_picture_in_its_place() -> None:
    pictures = np.arange(1, 11, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(5, 2)
    grid, corners = montage(pictures)
    assert grid.shape == (8, 40)
    assert [grid[int(r), int(c)] for r, c in corners] == list(range(1, 11)) and grid[4:, 10:].max() == 0
