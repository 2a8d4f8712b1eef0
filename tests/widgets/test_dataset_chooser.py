"""Which data sets of an HDF5 file are opened: asked where there is a window, the first one where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialogButtonBox, QWidget

from napari_dinov3.errors import FileFormatError
from napari_dinov3.widgets.data import dataset_chooser
from napari_dinov3.widgets.data.dataset_chooser import DatasetChooser, get_reader


@pytest.fixture
def path(tmp_path: Path) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = np.zeros((3, 8, 9), np.uint8)
        file["other/labels"] = np.ones((3, 8, 9), np.uint16)
        file["table"] = np.arange(4)
    return tmp_path / "a.h5"


def test_every_data_set_is_on_offer_and_one_is_needed(qtbot: Any) -> None:
    dialog = DatasetChooser("a.h5", {"raw": (3, 8, 9), "other/labels": (3, 8, 9)})
    qtbot.addWidget(dialog)
    assert dialog.value() == ("raw",)
    second = dialog.list.item(1)
    assert second is not None and "other/labels" in second.text() and "3 x 8 x 9" in second.text()
    second.setCheckState(Qt.CheckState.Checked)
    assert dialog.value() == ("raw", "other/labels")
    for row in (0, 1):
        item = dialog.list.item(row)
        assert item is not None
        item.setCheckState(Qt.CheckState.Unchecked)
    button = dialog.buttons.button(QDialogButtonBox.StandardButton.Open)
    assert button is not None and not button.isEnabled() and "at least one" in button.toolTip()


def test_without_a_window_the_first_one_is_opened(path: Path, qtbot: Any) -> None:
    reader = get_reader(str(path))
    assert reader is not None
    [(data, options, kind)] = reader(str(path))
    assert (kind, options["name"]) == ("labels", "a labels") and data.shape == (3, 8, 9)


@pytest.mark.parametrize("accepted", [True, False])
def test_the_chosen_ones_are_opened_and_none_when_cancelled(path: Path, qtbot: Any, monkeypatch: Any, accepted: bool) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    monkeypatch.setattr(dataset_chooser.QApplication, "activeWindow", staticmethod(lambda: window))

    def answer(dialog: DatasetChooser) -> int:
        for row in range(dialog.list.count()):
            item = dialog.list.item(row)
            assert item is not None
            item.setCheckState(Qt.CheckState.Checked)
        return int(accepted)

    monkeypatch.setattr(DatasetChooser, "exec", answer)
    reader = get_reader(str(path))
    assert reader is not None
    layers = reader(str(path))
    assert [layer[2] for layer in layers] == ["labels", "image"] if accepted else layers == [(None,)]


def test_a_damaged_file_says_why(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    (tmp_path / "a.h5").write_text("hello")
    reader = get_reader(str(tmp_path / "a.h5"))
    assert reader is not None
    with pytest.raises(FileFormatError, match=r"a\.h5"):
        reader(str(tmp_path / "a.h5"))
