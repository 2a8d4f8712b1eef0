"""A table of results: read-only, shaded where asked, copied to the clipboard or saved as CSV with full figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_dinov3._napari.evaluation import cell_text, shade, table_text
from napari_dinov3.errors import InputError
from napari_dinov3.io.atomic import write_text
from napari_dinov3.io.tables import to_csv
from napari_dinov3.widgets.clipboard import copy_text

ROW_HEIGHT = 22
MOST_SHOWN = 9
"""Rows up to which the table grows; more scroll."""


class ResultTable(QWidget):
    """Show rows with the same keys.

    Parameters
    ----------
    name : str
        What the table is of; also the name of its file.
    tooltip : str
        One sentence.
    """

    said = Signal(str)
    """What was copied or saved, or went wrong, for the status line."""

    def __init__(self, name: str, tooltip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._name = name
        self._rows: list[dict[str, Any]] = []
        self.table = QTableWidget(0, 0)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.verticalHeader().setVisible(False)
        self.table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        self.table.setAccessibleName(name)
        self.table.setToolTip(tooltip)
        self.copy_button, self.save_button = QPushButton("Copy table"), QPushButton("Save table…")
        self.copy_button.setToolTip("Put the table on the clipboard, to paste it into a spreadsheet.")
        self.save_button.setToolTip("Write the table as a CSV file with all digits.")
        self.copy_button.clicked.connect(self.copy)
        self.save_button.clicked.connect(lambda: self.save())
        buttons = QHBoxLayout()
        buttons.addWidget(self.copy_button)
        buttons.addWidget(self.save_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.table)
        layout.addLayout(buttons)
        self.setRows([])

    def rows(self) -> list[dict[str, Any]]:
        """Give the rows that are shown."""
        return self._rows

    def setRows(self, rows: Sequence[Mapping[str, Any]], *, shading: Sequence[Sequence[float]] | None = None) -> None:
        """Show rows; nothing where there are none.

        Parameters
        ----------
        rows : sequence of mappings
            With the same keys, which are the headings.
        shading : rows of floats 0..1, optional
            How dark each cell after the first is.
        """
        self._rows = [dict(row) for row in rows]
        heads = list(self._rows[0]) if self._rows else []
        self.table.setColumnCount(len(heads))
        self.table.setRowCount(len(self._rows))
        self.table.setHorizontalHeaderLabels([head.replace("_", " ") for head in heads])
        for at, row in enumerate(self._rows):
            for col, head in enumerate(heads):
                item = QTableWidgetItem(cell_text(row[head]))
                item.setToolTip(str(row[head]))
                if shading is not None and col:
                    back, front = shade(shading[at][col - 1])
                    item.setBackground(QBrush(QColor(*back)))
                    item.setForeground(QBrush(QColor(*front)))
                self.table.setItem(at, col, item)
        self.table.resizeColumnsToContents()
        mode = QHeaderView.ResizeMode.Interactive
        self.table.horizontalHeader().setSectionResizeMode(mode)
        self._fit_height(bool(self._rows))

    def copy(self) -> None:
        """Put the table on the clipboard, with tabs between the cells."""
        copy_text(table_text(self._rows))
        self.said.emit("The table is on the clipboard.")

    def save(self, path: str | Path | None = None) -> None:
        """Write the table as CSV; asks for a file where none is given."""
        path = path or QFileDialog.getSaveFileName(self, "Save the table", f"{self._name}.csv", "Tables (*.csv)")[0]
        if not path:
            return
        try:
            self.said.emit(f"The table is in {write_text(path, to_csv(self._rows), overwrite=True)}.")
        except InputError as error:
            self.said.emit(str(error))

    def _fit_height(self, filled: bool) -> None:
        self.setHidden(not filled)
        header = max(ROW_HEIGHT, self.table.horizontalHeader().sizeHint().height())
        bar = self.table.horizontalScrollBar().sizeHint().height()
        self.table.setFixedHeight(header + ROW_HEIGHT * min(len(self._rows), MOST_SHOWN) + bar + 4)
