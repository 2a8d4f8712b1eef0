"""Class names for planes of a stack: type planes and a name, or take the plane in view; a table shows what is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_dinov3._napari.image_classes import class_rows, parse_planes
from napari_dinov3.errors import InputError
from napari_dinov3.widgets.form import wrapped_label
from napari_dinov3.widgets.panel import field_row


class PlaneLabels(QWidget):
    """Edit the class of each plane.

    Parameters
    ----------
    count : callable
        Gives the number of planes of the stack.
    visible : callable
        Gives the plane in view.
    """

    valueChanged = Signal()
    refused = Signal(str)

    def __init__(self, count: Callable[[], int], visible: Callable[[], int], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._count, self._visible = count, visible
        self._labels: dict[int, str] = {}
        self.planes, self.name = QLineEdit(), QLineEdit()
        self.planes.setPlaceholderText("0-4, 9")
        self.name.setPlaceholderText("class")
        for editor, tip in ((self.planes, "Planes to name: numbers and ranges."), (self.name, "Name of their class.")):
            editor.setToolTip(tip)
            editor.setAccessibleName(tip)
        self.visible_button, self.add_button = QPushButton("Plane in view"), QPushButton("Name planes")
        self.clear_button = QPushButton("Forget all")
        self.shown = wrapped_label(name="plane_labels")
        for button, tip, slot in (
            (self.visible_button, "Take the plane in view.", self.take_visible),
            (self.add_button, "Give these planes this class.", self.add),
            (self.clear_button, "Forget the classes of all planes.", lambda: self.setValue({})),
        ):
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, slot=slot: slot())
        buttons = QHBoxLayout()
        for button in (self.visible_button, self.add_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(field_row("Planes", self.planes))
        layout.addWidget(field_row("Class", self.name))
        layout.addLayout(buttons)
        layout.addWidget(self.shown)
        layout.addWidget(self.clear_button)
        self._show()

    def value(self) -> dict[int, str]:
        """Give the class of each named plane."""
        return dict(self._labels)

    def setValue(self, labels: Mapping[int, str]) -> None:
        """Name these planes and no others."""
        before, self._labels = self._labels, {int(plane): str(name) for plane, name in labels.items()}
        self._show()
        if self._labels != before:
            self.valueChanged.emit()

    def take_visible(self) -> None:
        """Type the plane in view."""
        self.planes.setText(str(self._visible()))

    def add(self) -> None:
        """Give the typed planes the typed class."""
        name = self.name.text().strip()
        if not name:
            self.refused.emit("Type the name of a class first.")
            return
        try:
            planes = parse_planes(self.planes.text(), self._count())
        except InputError as error:
            self.refused.emit(str(error))
            return
        self.setValue({**self._labels, **dict.fromkeys(planes, name)})

    def _show(self) -> None:
        rows = class_rows(self._labels)
        self.shown.setText("\n".join(f"{row['class']}: planes {row['planes']}" for row in rows) or "No plane is named yet.")
        self.clear_button.setHidden(not rows)
