"""A small bar chart of means with their spread and single values, drawn by Qt so that it needs no further package."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_dinov3._napari.evaluation import Bar

TEXT, BAR, GAP = 15, 12, 8
"""Height in pixels of a name, of a bar, and of what lies between two."""


class BarChart(QWidget):
    """Show bars from 0 to 1, each under its name: the mean, a line of one standard deviation to each side, a dot a value.

    Parameters
    ----------
    label : str
        What is measured, for people who cannot see the bars.
    """

    def __init__(self, label: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._label = label
        self._bars: tuple[Bar, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setValue(())

    def value(self) -> tuple[Bar, ...]:
        """Give the bars."""
        return self._bars

    def setValue(self, bars: Sequence[Bar]) -> None:
        """Show these bars; nothing where there are none."""
        self._bars = tuple(bars)
        text = "; ".join(f"{bar.name} {bar.mean:.3f} ± {bar.spread:.3f}" for bar in self._bars)
        self.setAccessibleName(self._label)
        self.setAccessibleDescription(text)
        self.setToolTip(f"{self._label}: {text}. Line: one standard deviation; dots: the folds." if text else "")
        self.setFixedHeight(self.sizeHint().height())
        self.setHidden(not self._bars)
        self.update()

    def sizeHint(self) -> QSize:
        """Ask for a row a bar."""
        return QSize(240, max(1, len(self._bars)) * (TEXT + BAR + GAP))

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the bars."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        width = self.width() - 8.0
        front, fill = self.palette().text().color(), self.palette().highlight().color()
        for at, bar in enumerate(self._bars):
            top = at * (TEXT + BAR + GAP)
            painter.setPen(QPen(front))
            text = f"{bar.mean:.3f} ± {bar.spread:.3f}"
            room = painter.fontMetrics().horizontalAdvance(text) + 8
            name = painter.fontMetrics().elidedText(bar.name, Qt.TextElideMode.ElideRight, int(width) - room)
            painter.drawText(QRectF(2, top, width, TEXT), int(Qt.AlignmentFlag.AlignLeft), name)
            painter.drawText(QRectF(2, top, width, TEXT), int(Qt.AlignmentFlag.AlignRight), text)
            middle = top + TEXT + BAR / 2
            painter.fillRect(QRectF(2, top + TEXT, width * bar.mean, BAR), fill)
            low, high = max(0.0, bar.mean - bar.spread), min(1.0, bar.mean + bar.spread)
            painter.setPen(QPen(front, 1.5))
            painter.drawLine(QPointF(2 + width * low, middle), QPointF(2 + width * high, middle))
            painter.setBrush(front)
            for value in bar.values:
                painter.drawEllipse(QPointF(2 + width * value, middle), 2.0, 2.0)
        painter.end()
