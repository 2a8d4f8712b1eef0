"""Save transforms or the aligned stack, and load transforms to apply them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QMessageBox, QPushButton, QVBoxLayout, QWidget

from napari_dinov3._napari.align.files import FOLDERS, FORMATS, in_the_way, with_ending
from napari_dinov3.widgets.form import Choice, Form

WHAT = Choice("save_as", "Save as", "What is written, and in which format.", "json", FORMATS)
PATTERN = "Alignments (*.json)"


class AlignFiles(QWidget):
    """Ask for a place and say what to write there.

    Signals
    -------
    saveRequested(path, what), loadRequested(path)
    """

    saveRequested = Signal(str, str)
    loadRequested = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.what = Form((WHAT,))
        self.save_button, self.load_button = QPushButton("Save…"), QPushButton("Load transforms…")
        self.save_button.clicked.connect(lambda _=False: self.save())
        self.load_button.clicked.connect(lambda _=False: self.load())
        row = QHBoxLayout()
        row.addWidget(self.save_button)
        row.addWidget(self.load_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.what)
        layout.addLayout(row)

    def say_why(self, save: str, load: str) -> None:
        """Switch the buttons off where there is a reason, and give it."""
        for button, reason, tip in (
            (self.save_button, save, "Choose a place and write it there."),
            (self.load_button, load, "Apply transforms of a JSON file to the chosen layers."),
        ):
            button.setEnabled(not reason)
            button.setToolTip(reason or tip)

    def save(self, path: str = "") -> None:
        """Ask where to save; what lies there is only replaced after another question."""
        what = str(self.what.value()["save_as"])
        asked = not path
        if asked and what in FOLDERS:
            path = QFileDialog.getExistingDirectory(self, "Save transforms in a folder")
        elif asked:
            name = "alignment.json" if what == "json" else f"aligned{what}"
            path = QFileDialog.getSaveFileName(self, "Save", name, options=QFileDialog.Option.DontConfirmOverwrite)[0]
        if not path:
            return
        path = path if what in FOLDERS else with_ending(path, what)
        if self.may_replace(in_the_way(path, what)):
            self.saveRequested.emit(str(Path(path)), what)

    def load(self, path: str = "") -> None:
        """Ask for a file of transforms."""
        path = path or QFileDialog.getOpenFileName(self, "Load transforms", "", PATTERN)[0]
        if path:
            self.loadRequested.emit(path)

    def may_replace(self, there: str) -> bool:
        """Ask whether what is there may be replaced."""
        if not there:
            return True
        buttons: Any = QMessageBox.StandardButton
        text = f"{there} is there already. Replace it?"
        answer = QMessageBox.question(self, "Replace?", text, buttons.Yes | buttons.No, buttons.No)
        return bool(answer == buttons.Yes)
