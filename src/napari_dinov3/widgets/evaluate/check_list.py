"""Several of a few values, as check boxes."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget


class CheckList(QWidget):
    """Tick some of several values.

    Parameters
    ----------
    options : sequence of (value, text, problem)
        One whose problem is not empty cannot be ticked, and says why.
    default : sequence of str
        Ticked at first.
    label : str
        Accessible name of the whole.
    """

    valueChanged = Signal()

    def __init__(
        self, options: Sequence[tuple[str, str, str]], *, default: Sequence[str], label: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setAccessibleName(label)
        self.boxes: dict[str, QCheckBox] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for value, text, problem in options:
            box = QCheckBox(text)
            box.setChecked(value in default and not problem)
            box.setEnabled(not problem)
            box.setToolTip(problem or f"Try {text}.")
            box.setAccessibleName(f"{label}: {text}")
            box.toggled.connect(self._on_toggled)
            self.boxes[value] = box
            layout.addWidget(box)

    def value(self) -> tuple[str, ...]:
        """Give the ticked values in their order."""
        return tuple(value for value, box in self.boxes.items() if box.isChecked())

    def setValue(self, values: Sequence[str]) -> None:
        """Tick these and no others; one that cannot be ticked stays as it is."""
        before = self.value()
        for value, box in self.boxes.items():
            if box.isEnabled():
                with QSignalBlocker(box):
                    box.setChecked(value in values)
        if self.value() != before:
            self.valueChanged.emit()

    def _on_toggled(self, *_: object) -> None:
        self.valueChanged.emit()
