"""A place on disk: shown, and chosen with buttons, one for each kind of place that will do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_dinov3.widgets.form import wrapped_label

Kind = Literal["folder", "file", "files"]
Button = tuple[Kind, str, str, str]


class PathField(QWidget):
    """Choose one or several paths.

    Parameters
    ----------
    empty : str
        Shown where nothing is chosen.
    buttons : sequence of (kind, text, tooltip, filter)
        ``"folder"``, ``"file"`` or ``"files"``; the filter is Qt's, such as ``"Probes (*.npz)"``.
    """

    valueChanged = Signal()

    def __init__(self, empty: str, buttons: Sequence[Button], *, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._empty = empty
        self._paths: tuple[str, ...] = ()
        self.label = wrapped_label(empty, name=name)
        self.label.setAccessibleName(name)
        self.buttons: dict[str, QPushButton] = {}
        row = QHBoxLayout()
        for kind, text, tip, pattern in buttons:
            button = QPushButton(text)
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, kind=kind, text=text, pattern=pattern: self._ask(kind, text, pattern))
            self.buttons[kind] = button
            row.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.label)
        layout.addLayout(row)

    def value(self) -> tuple[str, ...]:
        """Give the paths."""
        return self._paths

    def setValue(self, paths: Sequence[str | Path]) -> None:
        """Choose these paths."""
        chosen = tuple(str(path) for path in paths)
        if chosen == self._paths:
            return
        self._paths = chosen
        shown = "; ".join(Path(path).name or path for path in chosen[:3]) + (
            f" and {len(chosen) - 3} more" if len(chosen) > 3 else ""
        )
        self.label.setText(shown or self._empty)
        self.label.setToolTip("\n".join(chosen[:20]))
        self.valueChanged.emit()

    def _ask(self, kind: Kind, title: str, pattern: str) -> None:
        start = str(Path(self._paths[0]).parent) if self._paths else ""
        if kind == "folder":
            found = [QFileDialog.getExistingDirectory(self, title, start)]
        elif kind == "file":
            found = [QFileDialog.getOpenFileName(self, title, start, pattern)[0]]
        else:
            found = list(QFileDialog.getOpenFileNames(self, title, start, pattern)[0])
        if any(found):
            self.setValue([path for path in found if path])
