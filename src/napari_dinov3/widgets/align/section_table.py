"""The table of an aligned stack: how each plane was moved, how sure that is, and a box to leave it out or let it in."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from napari_dinov3._napari.align.stack import SectionRow

COLUMNS = ("Plane", "Match", "Off", "Row", "Col", "Turn")
HEIGHT = 190
ROW_HEIGHT = 22
PLANE_WIDTH = 66
SMALLER = 0.85
"""Of the text, so that six columns fit a narrow panel."""

_TIPS = (
    "Tick or untick a plane (space bar) to place it by its best match or to leave it out. ok: matches its neighbours; bad: "
    "matches none; out, in: left out or let in by hand.",
    "Standard deviations by which its matches stand above wrong offsets; accepted from 6.5.",
    "Pixels by which its matches disagree with its place.",
    "Pixels it was moved down.",
    "Pixels it was moved right.",
    "Degrees it was turned.",
)


class SectionTable(QTableWidget):
    """One line a plane; ticking and unticking it asks for another solve, and the line that is chosen is shown.

    Signals
    -------
    useChanged(plane, use), planeChosen(plane)
    """

    useChanged = Signal(int, bool)
    planeChosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(COLUMNS), parent)
        self.setHorizontalHeaderLabels(COLUMNS)
        for column, tip in enumerate(_TIPS):
            self._head(column).setToolTip(tip)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTabKeyNavigation(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._lay_out()
        self.setFixedHeight(HEIGHT)
        self.setAccessibleName("How each plane was moved")
        self.setAccessibleDescription(_TIPS[0])
        self.itemChanged.connect(self._on_item)
        self.currentCellChanged.connect(self._on_current)

    def fill(self, rows: Sequence[SectionRow]) -> None:
        """Show the planes of an alignment, or none; the line that was chosen stays chosen."""
        blocked = self.blockSignals(True)
        self.setRowCount(len(rows))
        for at, row in enumerate(rows):
            use = QTableWidgetItem(f"{row.section} {row.status}")
            use.setFlags(_CHECKED)
            use.setCheckState(Qt.CheckState.Checked if row.matched else Qt.CheckState.Unchecked)
            for col, item in enumerate([use, *map(QTableWidgetItem, _texts(row))]):
                item.setToolTip(row.text)
                self.setItem(at, col, item)
        self.blockSignals(blocked)

    def _lay_out(self) -> None:
        font = self.font()
        font.setPointSizeF(font.pointSizeF() * SMALLER)
        header, lines = self.horizontalHeader(), self.verticalHeader()
        assert header is not None and lines is not None
        for part in (self, header):
            part.setFont(font)
        self.setStyleSheet("QTableView::item, QHeaderView::section { padding: 0px; }")
        lines.setHidden(True)
        lines.setDefaultSectionSize(ROW_HEIGHT)
        lines.setMinimumSectionSize(ROW_HEIGHT)
        header.setMinimumSectionSize(20)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Fixed)
        self.setColumnWidth(0, PLANE_WIDTH)

    def _head(self, column: int) -> QTableWidgetItem:
        item = self.horizontalHeaderItem(column)
        assert item is not None
        return item

    def _on_item(self, item: QTableWidgetItem) -> None:
        if item.column() == 0:
            self.useChanged.emit(item.row(), item.checkState() == Qt.CheckState.Checked)

    def _on_current(self, row: int, *_: int) -> None:
        if row >= 0:
            self.planeChosen.emit(row)


_CHECKED = Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable


def _texts(row: SectionRow) -> tuple[str, ...]:
    match = f"{row.quality:.1f}" if row.matched else "none"
    off = "" if math.isnan(row.residual) else f"{row.residual:.2f}"
    moved = (f"{round(value, 1) + 0.0:+.1f}" for value in (row.row_shift, row.col_shift, row.rotation_deg))
    return (match, off, *moved)
