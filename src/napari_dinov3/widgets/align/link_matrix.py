"""The links of a stack as a square of cells, drawn by Qt: which planes match, how well, and which links were not used.

The score is the lightness of a cell; a refused link is crossed out, one that was not used is an empty frame, so that nothing is
told by colour alone. The mouse over a cell says it in words.
"""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QEvent, QPoint, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QHelpEvent, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QScrollBar, QSizePolicy, QToolTip, QVBoxLayout, QWidget

from napari_dinov3._napari.align.link_quality import LinkCell
from napari_dinov3.widgets.form import wrapped_label

SIDE = 190
MOST = 48
"""Planes that are shown at a time; a bar moves along longer stacks."""

_MARGIN, _BELOW = 22, 8
_LARGEST = 24.0
"""Side of a cell of a short stack, in pixels of the screen."""

_FULL = 30.0
"""Score of the lightest cell."""

_LEGEND = (
    "Planes that were compared. Blue: just accepted, yellow: far beyond doubt; crossed out: refused; a frame: not used. "
    "Rest the mouse on a cell for its score."
)


class LinkMatrix(QWidget):
    """Show the links between planes; planes beyond what fits are reached with a bar."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.cells = _Cells()
        self.bar = QScrollBar(Qt.Orientation.Horizontal)
        self.bar.setAccessibleName("First plane of the link matrix")
        self.bar.setToolTip("Which planes of a long stack are shown.")
        self.bar.valueChanged.connect(self._on_bar)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(wrapped_label(_LEGEND, name="link_legend"))
        layout.addWidget(self.cells)
        layout.addWidget(self.bar)
        self.setValue((), 0)

    def value(self) -> tuple[LinkCell, ...]:
        """Give the links."""
        return self.cells.links

    def setValue(self, links: Sequence[LinkCell], planes: int) -> None:
        """Show these links of a stack of so many planes."""
        self.cells.fill(links, planes)
        self.bar.setRange(0, max(0, planes - MOST))
        self.bar.setPageStep(MOST)
        self.bar.setHidden(planes <= MOST)
        self.setHidden(not links)

    def text_at(self, point: QPoint) -> str:
        """Say what lies under a point of the cells."""
        return self.cells.text_at(point)

    def _on_bar(self, first: int) -> None:
        self.cells.show_from(first)


class _Cells(QWidget):
    """The painted part."""

    def __init__(self) -> None:
        super().__init__()
        self.links: tuple[LinkCell, ...] = ()
        self._by_place: dict[tuple[int, int], LinkCell] = {}
        self._planes, self._first = 0, 0
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(_MARGIN + SIDE + _BELOW)
        self.setAccessibleName("Matches between planes")

    def fill(self, links: Sequence[LinkCell], planes: int) -> None:
        self.links, self._planes, self._first = tuple(links), planes, 0
        self._by_place = {(link.first, link.second): link for link in self.links}
        counts = {fate: sum(link.fate == fate for link in self.links) for fate in ("used", "refused", "voted out", "left out")}
        self.setFixedHeight(_MARGIN + min(SIDE, round(_LARGEST * self._shown())) + _BELOW)
        self.setAccessibleDescription(", ".join(f"{count} {fate}" for fate, count in counts.items()))
        self.update()

    def show_from(self, first: int) -> None:
        self._first = first
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(240, _MARGIN + SIDE + _BELOW)

    def text_at(self, point: QPoint) -> str:
        cell = self._cell()
        col, row = (int((at - _MARGIN) // cell) + self._first for at in (point.x(), point.y()))
        link = self._by_place.get((min(row, col), max(row, col)))
        return "" if link is None or row == col else link.text

    def event(self, event: QEvent | None) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            text = self.text_at(event.pos())
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return bool(super().event(event))

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        front = self.palette().text().color()
        cell, shown = self._cell(), self._shown()
        painter.setPen(QPen(front))
        for at in sorted({0, shown // 2, shown - 1} - {-1}):
            name = str(at + self._first)
            painter.drawText(QRectF(_MARGIN + (at + 0.5) * cell - 20, 2, 40, _MARGIN - 4), _CENTRE, name)
            painter.drawText(QRectF(0, _MARGIN + (at + 0.5) * cell - 8, _MARGIN - 3, 16), _RIGHT, name)
        painter.fillRect(QRectF(_MARGIN, _MARGIN, shown * cell, shown * cell), self.palette().base())
        for (first, second), link in self._by_place.items():
            for row, col in ((first, second), (second, first)):
                row, col = row - self._first, col - self._first
                if 0 <= row < shown and 0 <= col < shown:
                    self._draw(painter, QRectF(_MARGIN + col * cell, _MARGIN + row * cell, cell, cell), link)
        painter.end()

    def _draw(self, painter: QPainter, box: QRectF, link: LinkCell) -> None:
        inner = box.adjusted(0.5, 0.5, -0.5, -0.5) if box.width() > 4 else box
        if link.fate == "used":
            painter.fillRect(inner, _shade(link.score))
            return
        painter.setPen(QPen(QColor("#e07a5f"), 1.2))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if link.fate == "refused":
            painter.drawLine(inner.topLeft(), inner.bottomRight())
            painter.drawLine(inner.topRight(), inner.bottomLeft())
        else:
            painter.drawRect(inner.adjusted(0.5, 0.5, -0.5, -0.5))

    def _shown(self) -> int:
        return max(1, min(self._planes, MOST))

    def _cell(self) -> float:
        return float(min(_LARGEST, min(SIDE, max(40, self.width() - _MARGIN)) / self._shown()))


_CENTRE = int(Qt.AlignmentFlag.AlignCenter)
_RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)


def _shade(score: float) -> QColor:
    """Dark blue for a score that is just accepted, light yellow for one far beyond doubt."""
    share = min(1.0, max(0.0, score / _FULL))
    return QColor.fromRgbF(0.15 + 0.80 * share, 0.30 + 0.60 * share, 0.55 - 0.15 * share)
