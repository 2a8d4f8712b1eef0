"""The part of the Objects panel that teaches classes: class and name, clicks, undo, a file for the classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_dinov3.widgets.form import Form, wrapped_label
from napari_dinov3.widgets.objects.settings import TEACH_FIELDS
from napari_dinov3.widgets.panel import field_row

TEACH_OFF, TEACH_ON = "Teach by clicks", "Teach by clicks: on"
NO_EXAMPLES = "Press 'Teach by clicks' and click a few objects of each class in the image."
_BUTTONS = (
    ("undo", "Undo", "Take the last example back."),
    ("forget", "Clear", "Take all examples back, and no longer use a loaded classifier."),
    ("save", "Save…", "Write what was learned to a file, for other images."),
    ("load", "Load…", "Classify by a file instead of examples."),
)


class TeachingForm(QWidget):
    """Controls of teaching; what they do is the panel's.

    Signals
    -------
    valueChanged, named(class, name), teachToggled(on), asked("undo", "forget", "save" or "load")
    """

    valueChanged = Signal()
    named = Signal(int, str)
    teachToggled = Signal(bool)
    asked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.form = Form(TEACH_FIELDS)
        self.name_edit = QLineEdit()
        self.name_edit.setPlaceholderText("optional")
        self.name_edit.setAccessibleName("Name of the class")
        self.name_edit.setToolTip("Name of this class, for the table.")
        self.name_edit.setMaxLength(80)
        self.teach_button = QPushButton(TEACH_OFF)
        self.teach_button.setCheckable(True)
        self.teach_button.setToolTip("While this is on, a click on an object makes it an example of the class above.")
        self.summary = wrapped_label(NO_EXAMPLES, name="examples")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self.form, field_row("Name", self.name_edit), self.teach_button, self.summary, self._buttons()):
            layout.addWidget(widget)
        self.form.valueChanged.connect(self.valueChanged)
        self.name_edit.editingFinished.connect(self._on_named)
        self.teach_button.toggled.connect(self._on_toggled)

    def value(self) -> dict[str, Any]:
        """Give class and head."""
        return self.form.value()

    def setValue(self, value: Mapping[str, Any]) -> None:
        """Set class and head."""
        self.form.setValue(value)

    def show_state(self, *, names: Mapping[int, str], summary: str, examples: bool, taught: bool, why_not: str) -> None:
        """Bring name, list and buttons in step."""
        with QSignalBlocker(self.name_edit):
            self.name_edit.setText(names.get(int(self.form.value()["teach_class"]), ""))
        self.summary.setText(summary or NO_EXAMPLES)
        self.buttons["undo"].setEnabled(examples)
        self.buttons["forget"].setEnabled(examples or taught)
        self.buttons["save"].setEnabled(taught)
        self.buttons["load"].setEnabled(not why_not)
        self.teach_button.setEnabled(not why_not or self.teach_button.isChecked())
        self.teach_button.setToolTip(why_not or "While this is on, a click on an object makes it an example of the class above.")

    def _buttons(self) -> QWidget:
        whole = QWidget()
        row = QHBoxLayout(whole)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        self.buttons: dict[str, QPushButton] = {}
        for name, text, tip in _BUTTONS:
            button = QPushButton(text)
            button.setToolTip(tip)
            button.setMinimumWidth(40)
            button.clicked.connect(lambda _=False, name=name: self.asked.emit(name))
            self.buttons[name] = button
            row.addWidget(button)
        return whole

    def _on_named(self) -> None:
        self.named.emit(int(self.form.value()["teach_class"]), self.name_edit.text().strip())

    def _on_toggled(self, on: bool) -> None:
        self.teach_button.setText(TEACH_ON if on else TEACH_OFF)
        self.teachToggled.emit(on)
