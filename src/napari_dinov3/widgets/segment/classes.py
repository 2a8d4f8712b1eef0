"""The classes of the scribbles as a small table: colour, value, name and painted pixels; add, merge and delete below it."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QMenu,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_dinov3._napari.segment.classes import ClassRow

COLUMNS = ("Value", "Name", "Pixels")
SWATCH = 14
ROWS_SHOWN = 4
_VALUE = int(Qt.ItemDataRole.UserRole)


class ClassTable(QWidget):
    """List classes and ask for changes; it changes nothing itself.

    Signals
    -------
    chosen(value), renamed(value, name), added(), merged(value, into), deleted(value)
        What the user asked for.
    """

    chosen = Signal(int)
    renamed = Signal(int, str)
    added = Signal()
    merged = Signal(int, int)
    deleted = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: tuple[ClassRow, ...] = ()
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setAccessibleName("Classes")
        self.table.setToolTip("Click a class to paint it; double-click its name to change it.")
        self.table.setHorizontalHeaderLabels(COLUMNS)
        self.table.verticalHeader().setVisible(False)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.setTabKeyNavigation(False)
        header = self.table.horizontalHeader()
        for column, mode in enumerate(("ResizeToContents", "Stretch", "ResizeToContents")):
            header.setSectionResizeMode(column, getattr(QHeaderView.ResizeMode, mode))
        self.table.itemChanged.connect(self._on_edited)
        self.table.itemSelectionChanged.connect(self._on_selected)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.table)
        layout.addLayout(self._buttons())
        self.setValue(())

    def value(self) -> tuple[ClassRow, ...]:
        """Give the classes as they are listed."""
        return self._rows

    def setValue(self, rows: Sequence[ClassRow]) -> None:
        """List classes; the selection stays with its class."""
        selected = self.selected()
        self._rows = tuple(rows)
        with QSignalBlocker(self.table):
            self.table.setRowCount(len(self._rows))
            for at, row in enumerate(self._rows):
                self._fill(at, row)
        self._fit_height()
        if selected is not None:
            self.select(selected)
        self._refresh()

    def selected(self) -> int | None:
        """Give the value of the selected class."""
        at = self.table.currentRow()
        return self._rows[at].value if self.table.selectionModel().hasSelection() and 0 <= at < len(self._rows) else None

    def select(self, value: int) -> None:
        """Select a class without saying so, for example because its label was chosen in the layer."""
        at = next((at for at, row in enumerate(self._rows) if row.value == value), None)
        with QSignalBlocker(self.table):
            if at is None:
                self.table.clearSelection()
            else:
                self.table.selectRow(at)
        self._refresh()

    def _fill(self, at: int, row: ClassRow) -> None:
        swatch = QPixmap(SWATCH, SWATCH)
        swatch.fill(QColor.fromRgbF(*row.colour))
        first = QTableWidgetItem(QIcon(swatch), str(row.value))
        name = QTableWidgetItem(row.name)
        pixels = QTableWidgetItem(f"{row.pixels:,}")
        pixels.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        fixed = Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEnabled
        first.setFlags(fixed)
        pixels.setFlags(fixed)
        for column, item in enumerate((first, name, pixels)):
            item.setData(_VALUE, row.value)
            self.table.setItem(at, column, item)

    def _fit_height(self) -> None:
        row = self.table.verticalHeader().defaultSectionSize()
        shown = min(max(len(self._rows), 2), ROWS_SHOWN)
        self.table.setFixedHeight(self.table.horizontalHeader().sizeHint().height() + shown * row + 4)

    def _buttons(self) -> QHBoxLayout:
        self.add_button, self.merge_button, self.delete_button = QPushButton("Add"), QPushButton("Merge"), QPushButton("Delete")
        self.add_button.setToolTip("Begin a new class with the next free label value.")
        self.merge_button.setToolTip("Give the strokes of the selected class to another one; undo in the layer takes it back.")
        self.delete_button.setToolTip("Remove the strokes of the selected class; undo in the layer brings them back.")
        self._menu = QMenu(self.merge_button)
        self.merge_button.setMenu(self._menu)
        self.add_button.clicked.connect(lambda _=False: self.added.emit())
        self.delete_button.clicked.connect(self._on_delete)
        row = QHBoxLayout()
        for button in (self.add_button, self.merge_button, self.delete_button):
            row.addWidget(button)
        return row

    def _refresh(self) -> None:
        selected = self.selected()
        self.merge_button.setEnabled(selected is not None and len(self._rows) > 1)
        self.delete_button.setEnabled(selected is not None)
        self._menu.clear()
        for row in self._rows:
            if row.value != selected and selected is not None:
                action = self._menu.addAction(f"into {row.value}: {row.name}")
                action.triggered.connect(lambda _=False, value=selected, into=row.value: self.merged.emit(value, into))

    def _on_delete(self, *_: object) -> None:
        selected = self.selected()
        if selected is not None:
            self.deleted.emit(selected)

    def _on_selected(self) -> None:
        self._refresh()
        selected = self.selected()
        if selected is not None:
            self.chosen.emit(selected)

    def _on_edited(self, item: QTableWidgetItem) -> None:
        if item.column() == 1:
            self.renamed.emit(int(item.data(_VALUE)), item.text())
