"""A table of objects: sorted by a click on a heading, a row a click jumps to. Only the rows in view are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from napari_dinov3._napari.objects.tasks import row_order

TABLE_HEIGHT = 170
NARROWEST, WIDEST = 48, 190
"""Pixels of a column, whose heading is read whole; the table scrolls sideways."""
_MEASURED = 40
"""Rows that are measured for the width of a column."""


class ObjectTableModel(QAbstractTableModel):
    """Columns of equal length, in an order of rows that a sort changes."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._columns: list[tuple[str, Any]] = []
        self._order: Any = ()

    def set_columns(self, columns: Mapping[str, Any]) -> None:
        """Show other columns; the first one is the number of the object."""
        self.beginResetModel()
        self._columns = list(columns.items())
        self._order = range(len(self._columns[0][1])) if self._columns else ()
        self.endResetModel()

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008  # Qt's own signature
        """Count the objects."""
        return 0 if parent.isValid() else len(self._order)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        """Count the columns."""
        return 0 if parent.isValid() else len(self._columns)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Give the text of a cell."""
        if not index.isValid() or role not in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return None
        return cell_text(self._columns[index.column()][1][self._order[index.row()]])

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Give the name of a column."""
        if orientation != Qt.Orientation.Horizontal or section >= len(self._columns):
            return None
        name = self._columns[section][0]
        if role == Qt.ItemDataRole.DisplayRole:
            return name.replace("_", " ")
        return f"{name}; click to sort by it" if role == Qt.ItemDataRole.ToolTipRole else None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort the rows by a column."""
        if 0 <= column < len(self._columns):
            self.layoutAboutToBeChanged.emit()
            self._order = row_order(self._columns[column][1], falling=order == Qt.SortOrder.DescendingOrder)
            self.layoutChanged.emit()

    def label_of(self, row: int) -> int:
        """Give the number of the object in a row."""
        return int(self._columns[0][1][self._order[row]])


class ObjectTableView(QTableView):
    """Show objects; `objectChosen` brings the number of the one whose row was clicked or reached by key."""

    objectChosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model_ = ObjectTableModel(self)
        self.setModel(self.model_)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setMinimumHeight(TABLE_HEIGHT)
        self.setMinimumWidth(80)
        self.setAccessibleName("Table of objects")
        self.setToolTip("One row an object; click a heading to sort, a row to see the object.")
        self.setTabKeyNavigation(False)
        self.setWordWrap(False)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self._headings: tuple[str, ...] = ()
        rows, heads = self.verticalHeader(), self.horizontalHeader()
        if rows is not None and heads is not None:
            rows.setVisible(False)
            rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)  # Qt would measure every one of 100,000 rows
            rows.setDefaultSectionSize(rows.minimumSectionSize())
            heads.setMinimumSectionSize(NARROWEST)
            heads.setResizeContentsPrecision(_MEASURED)
            heads.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
            heads.setSectionsClickable(True)
            heads.setSortIndicatorShown(True)
            heads.setSortIndicator(0, Qt.SortOrder.AscendingOrder)
            heads.sortIndicatorChanged.connect(self.model_.sort)
        chosen = self.selectionModel()
        if chosen is not None:
            chosen.currentRowChanged.connect(self._on_row)

    def setValue(self, columns: Mapping[str, Any]) -> None:
        """Show columns, sorted as before."""
        heads = self.horizontalHeader()
        chosen = self.selectionModel()
        if heads is None or chosen is None:
            return
        with QSignalBlocker(chosen):
            self.model_.set_columns(columns)
            self.model_.sort(heads.sortIndicatorSection(), heads.sortIndicatorOrder())
        if self._headings != tuple(columns):  # widths a user has set stay with the same columns
            self._headings = tuple(columns)
            self.resizeColumnsToContents()
            for column in range(len(columns)):
                self.setColumnWidth(column, min(WIDEST, self.columnWidth(column)))

    def value(self) -> int | None:
        """Give the number of the object in the chosen row."""
        index = self.currentIndex()
        return self.model_.label_of(index.row()) if index.isValid() else None

    def _on_row(self, current: QModelIndex, before: QModelIndex) -> None:
        if current.isValid():
            self.objectChosen.emit(self.model_.label_of(current.row()))


def cell_text(value: Any) -> str:
    """Write a value with up to four significant digits."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind == "f":
        return f"{float(value):.4g}"
    return ("yes" if value else "") if kind == "b" else str(value)
