"""The training set: images whose scribbles train the probe together with those of the image in view."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QListWidget, QPushButton, QVBoxLayout, QWidget

from napari_dinov3._napari.segment.training_examples import Example
from napari_dinov3.widgets.form import wrapped_label

NONE_YET = "Only the scribbles chosen above train the probe."
ROWS_SHOWN = 3


class ExampleList(QWidget):
    """List the training set, and ask for additions and removals.

    Signals
    -------
    added(), filesWanted(), removed(index)
        What the user asked for.
    """

    added = Signal()
    filesWanted = Signal()
    removed = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.text = wrapped_label(NONE_YET, name="examples")
        self.list = QListWidget()
        self.list.setAccessibleName("Training set")
        self.list.setToolTip("Images and scribbles that train the probe too, as they were when they were added.")
        self.list.itemSelectionChanged.connect(self._refresh)
        self.add_button, self.remove_button = QPushButton("Add image + scribbles"), QPushButton("Remove")
        self.add_button.setToolTip("Keep the chosen image and its scribbles in the training set, and go on with another image.")
        self.remove_button.setToolTip("Take the selected image out of the training set.")
        self.files_button = QPushButton("Add files…")
        self.files_button.setToolTip("Add an image file and the file of its scribbles to the training set, without opening them.")
        self.files_button.clicked.connect(lambda _=False: self.filesWanted.emit())
        self.add_button.clicked.connect(lambda _=False: self.added.emit())
        self.remove_button.clicked.connect(self._on_remove)
        layout, row = QVBoxLayout(self), QHBoxLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        row.addWidget(self.add_button, 1)
        row.addWidget(self.remove_button)
        for widget in (self.text, self.list):
            layout.addWidget(widget)
        layout.addLayout(row)
        layout.addWidget(self.files_button)
        self.setValue(())

    def setValue(self, examples: Sequence[Example]) -> None:
        """List a training set."""
        self.list.clear()
        for example in examples:
            self.list.addItem(example.text)
            self.list.item(self.list.count() - 1).setToolTip(example.text)
        self.list.setHidden(not examples)
        self.remove_button.setHidden(not examples)
        self.text.setText(f"{len(examples)} more train the probe." if examples else NONE_YET)
        if examples:
            self.list.setFixedHeight(min(len(examples), ROWS_SHOWN) * (self.list.sizeHintForRow(0) + 2) + 4)
        self._refresh()

    def _refresh(self) -> None:
        self.remove_button.setEnabled(bool(self.list.selectedItems()))

    def _on_remove(self, *_: object) -> None:
        self.removed.emit(self.list.currentRow())
