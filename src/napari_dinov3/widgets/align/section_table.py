"""The table of an aligned stack: how each plane was moved, how sure that is, and a box to leave it out or let it in."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from napari_dinov3._napari.align.stack import SectionRow

COLUMNS = ("Use", "Match", "Off", "Row", "Col", "Turn")
HEIGHT = 190
USE_WIDTH = 26
SMALLER = 0.85
"""Of the text, so that six columns fit a narrow panel."""


class SectionTable(QTableWidget):
    """One line a plane; ticking and unticking it asks for another solve."""

    useChanged = Signal(int, bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(COLUMNS), parent)
        self.setHorizontalHeaderLabels(COLUMNS)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        font = self.font()
        font.setPointSizeF(font.pointSizeF() * SMALLER)
        header = self.horizontalHeader()
        for part in (self, header, self.verticalHeader()):
            part.setFont(font)
        self.setStyleSheet("QTableView::item, QHeaderView::section { padding: 0px; }")
        header.setMinimumSectionSize(20)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Fixed)
        self.setColumnWidth(0, USE_WIDTH)
        self.setFixedHeight(HEIGHT)
        self.setAccessibleName("How each plane was moved")
        self.setToolTip(
            "Use: untick a plane to leave it out, tick one that matches nothing to place it by its best match; all is solved "
            "again at once. Match: standard deviations above wrong offsets (accepted from 6.5). Off: pixels by which its matches "
            "disagree with its place. Then its movement: px down, px right, degrees."
        )
        self.itemChanged.connect(self._on_item)

    def fill(self, rows: Sequence[SectionRow]) -> None:
        """Show the planes of an alignment, or none."""
        blocked = self.blockSignals(True)
        self.setRowCount(len(rows))
        self.setVerticalHeaderLabels([str(row.section) for row in rows])
        for at, row in enumerate(rows):
            use = QTableWidgetItem("" if row.matched else "bad")
            use.setFlags(Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEnabled)
            use.setCheckState(Qt.CheckState.Checked if row.matched else Qt.CheckState.Unchecked)
            self.setItem(at, 0, use)
            for col, text in enumerate(_texts(row), start=1):
                self.setItem(at, col, QTableWidgetItem(text))
        self.blockSignals(blocked)

    def _on_item(self, item: QTableWidgetItem) -> None:
        if item.column() == 0:
            self.useChanged.emit(item.row(), item.checkState() == Qt.CheckState.Checked)


def _texts(row: SectionRow) -> tuple[str, ...]:
    match = f"{row.quality:.1f}" if row.matched else "none"
    off = "" if math.isnan(row.residual) else f"{row.residual:.2f}"
    moved = (f"{round(value, 1) + 0.0:+.1f}" for value in (row.row_shift, row.col_shift, row.rotation_deg))
    return (match, off, *moved)
