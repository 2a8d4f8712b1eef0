"""New data: what is opened has the pixel size its user knows, is in view, and the script draws it with the same axes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_dinov3._napari.compat import camera_of
from napari_dinov3.widgets.data.dataset_chooser import DatasetChooser
from napari_dinov3.widgets.data.panel import DataPanel

Open = Callable[[type], Any]
Finish = Callable[[Any], str]
KNOWN = {"calibration": {"unit": "micrometer", "plane": 2.0, "row": 0.5, "col": 0.25}}


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    path = tmp_path / "bare.npy"
    np.save(path, np.zeros((2, 16, 4000), np.uint8))
    return path


def test_an_uncalibrated_file_opens_with_the_size_that_was_given(panel_of: Open, finish: Finish, model: Any, bare: Path) -> None:
    panel = panel_of(DataPanel)
    panel.setValue(KNOWN)
    panel.open_path(bare)
    assert "Pixel size" not in finish(panel)
    layer = model.layers["bare"]
    np.testing.assert_array_equal(layer.scale, (2, 0.5, 0.25))
    assert {str(unit) for unit in layer.units} == {"micrometer"}
    assert panel_of(DataPanel).value()["calibration"] == KNOWN["calibration"]


def test_a_file_without_a_size_says_so_where_none_was_given(panel_of: Open, finish: Finish, model: Any, bare: Path) -> None:
    panel = panel_of(DataPanel)
    panel.open_path(bare)
    assert "does not say how large its pixels are" in finish(panel)
    np.testing.assert_array_equal(model.layers["bare"].scale, (1, 1, 1))


def test_spacings_are_asked_for_with_a_unit(panel_of: Open) -> None:
    panel = panel_of(DataPanel)
    assert panel.calibration.editor("row").isHidden()
    panel.setValue(KNOWN)
    assert not panel.calibration.editor("row").isHidden()


def test_what_is_opened_is_in_view(panel_of: Open, finish: Finish, model: Any, bare: Path) -> None:
    camera_of(model).center = (0, -1e6, -1e6)
    panel = panel_of(DataPanel)
    panel.open_path(bare)
    finish(panel)
    assert camera_of(model).center[-1] == pytest.approx(2000, rel=0.01)


@pytest.mark.parametrize("planes", [1, 2])
def test_the_script_keeps_the_names_of_the_axes(panel_of: Open, finish: Finish, model: Any, planes: int) -> None:
    model.layers.clear()
    panel = panel_of(DataPanel)
    panel.setValue({"modality": "calcium", "planes": planes, "size": 32})
    panel.run()
    finish(panel)
    panel.copy_script()
    exec(QApplication.clipboard().text(), {"viewer": model})
    assert len(model.layers) == 4
    assert model.layers[2].axis_labels == model.layers[3].axis_labels == ("t", "y", "x")[-model.layers[0].ndim :]
    assert model.layers[2].units == model.layers[0].units


@pytest.mark.parametrize("accepted", [True, False])
def test_a_file_of_several_images_asks_which_ones(
    panel_of: Open, finish: Finish, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qtbot: Any, accepted: bool
) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, raw=np.zeros((2, 8, 9)), labels=np.ones((2, 8, 9), np.uint16))

    def answer(dialog: DatasetChooser) -> int:
        for row in range(dialog.list.count()):
            item = dialog.list.item(row)
            assert item is not None
            item.setCheckState(Qt.CheckState.Checked)
        return int(accepted)

    monkeypatch.setattr(DatasetChooser, "exec", answer)
    panel = panel_of(DataPanel)
    before = len(model.layers)
    panel.open_path(path)
    text = finish(panel)
    qtbot.waitUntil(lambda: not panel.runner.running)
    added = [layer.name for layer in model.layers[before:]]
    assert added == (["set raw", "set labels"] if accepted else [])
    assert accepted or "Nothing of set.npz was opened" in text
