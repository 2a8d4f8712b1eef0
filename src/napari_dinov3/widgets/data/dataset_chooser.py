"""Ask which data sets of an HDF5 file, or arrays of an .npz file, to open, where the file does not say by its layout.

Without a window to ask in, as in a script, the first one is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QDialog, QDialogButtonBox, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_dinov3._napari import file_hooks
from napari_dinov3._napari.file_options import LayerData
from napari_dinov3.errors import InputError
from napari_dinov3.io.choices import needs_choice
from napari_dinov3.widgets.form import wrapped_label


class DatasetChooser(QDialog):
    """Tick the data sets to open.

    Parameters
    ----------
    name : str
        Of the file.
    datasets : dict
        Shape of each data set, by its name.
    """

    def __init__(self, name: str, datasets: dict[str, tuple[int, ...]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"Open {name}")
        self.list = QListWidget()
        self.list.setAccessibleName("Data sets")
        self.list.setToolTip("Every ticked data set becomes a layer.")
        for number, (dataset, shape) in enumerate(datasets.items()):
            item = QListWidgetItem(f"{dataset}   {' x '.join(map(str, shape))}")
            item.setData(Qt.ItemDataRole.UserRole, dataset)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Unchecked if number else Qt.CheckState.Checked)
            self.list.addItem(item)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.list.itemChanged.connect(self._on_ticked)
        layout = QVBoxLayout(self)
        layout.addWidget(wrapped_label(f"{name} holds several data sets. Which ones are to be opened?"))
        layout.addWidget(self.list)
        layout.addWidget(self.buttons)
        self.resize(480, 320)

    def value(self) -> tuple[str, ...]:
        """Give the names of the ticked data sets."""
        items = [self.list.item(row) for row in range(self.list.count())]
        return tuple(i.data(Qt.ItemDataRole.UserRole) for i in items if i is not None and i.checkState() == Qt.CheckState.Checked)

    def _on_ticked(self, *_: Any) -> None:
        button = self.buttons.button(QDialogButtonBox.StandardButton.Open)
        if button is not None:
            button.setEnabled(bool(self.value()))
            button.setToolTip("" if self.value() else "Tick at least one data set.")


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Offer to open an HDF5 file; see :func:`napari_dinov3._napari.file_hooks.get_reader`.

    Parameters
    ----------
    path : str or list of str
        What was dropped.
    """
    if not isinstance(path, str):
        return None
    try:
        datasets = needs_choice(Path(path))
    except InputError:
        return file_hooks.read_layers  # which fails again, and so says why in napari
    return file_hooks.get_reader(path) if datasets is None else lambda _: _read(path, datasets)


def ask(name: str, datasets: dict[str, tuple[int, ...]], window: QWidget | None) -> tuple[str, ...]:
    """Ask which data sets to open; none where that is cancelled, the first one where there is no window to ask in.

    Parameters
    ----------
    name : str
        Of the file.
    datasets : dict
        Shape of each, by name.
    window : QWidget or None
        The dialog lies over it.
    """
    if window is None:
        return (next(iter(datasets)),)
    dialog = DatasetChooser(name, datasets, window)
    accepted = dialog.exec() == QDialog.DialogCode.Accepted
    chosen = dialog.value() if accepted else ()
    dialog.deleteLater()
    return chosen


def _read(path: str, datasets: dict[str, tuple[int, ...]]) -> list[LayerData]:
    window = QApplication.activeWindow() if QApplication.instance() is not None else None
    chosen = ask(Path(path).name, datasets, window)
    return [layer for dataset in chosen for layer in file_hooks.read_layers(path, dataset=dataset)] or [(None,)]  # type: ignore[list-item]
