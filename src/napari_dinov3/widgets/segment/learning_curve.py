"""The learning curve of a decoder while it is trained: loss and mIoU, epoch by epoch, in lines and in words."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import QPointF, QSize, Qt
from qtpy.QtGui import QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_dinov3.widgets.form import wrapped_label

HEIGHT = 70
_MARGIN = 4


class LearningCurve(QWidget):
    """Show the epochs of one training; hidden while there are none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._epochs: list[tuple[int, float, float]] = []
        self.lines = _Lines()
        self.lines.setToolTip("Full line: mIoU on held-out strokes, 0 to 1. Dashed line: loss, from 0 to its largest.")
        self.lines.setAccessibleName("Learning curve")
        self.text: QLabel = wrapped_label(name="curve")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.lines)
        layout.addWidget(self.text)
        self.setHidden(True)

    def value(self) -> tuple[tuple[int, float, float], ...]:
        """Give epoch, loss and mIoU of each epoch."""
        return tuple(self._epochs)

    def add(self, event: Any) -> None:
        """Take an :class:`~napari_dinov3.segment.decoder.EpochProgress`; an earlier epoch begins a new curve."""
        if self._epochs and event.epoch <= self._epochs[-1][0]:
            self._epochs.clear()
        self._epochs.append((int(event.epoch), float(event.loss), float(event.miou)))
        epoch, loss, miou = self._epochs[-1]
        best = max(self._epochs, key=lambda each: each[2])
        self.text.setText(f"Epoch {epoch}: loss {loss:.3f} (dashed), mIoU {miou:.3f}; best {best[2]:.3f} in epoch {best[0]}.")
        self.lines.show_epochs(self._epochs)
        self.setHidden(False)


class _Lines(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self._loss: list[float] = []
        self._miou: list[float] = []
        self.setFixedHeight(HEIGHT)

    def sizeHint(self) -> QSize:
        return QSize(200, HEIGHT)

    def show_epochs(self, epochs: list[tuple[int, float, float]]) -> None:
        top = max([loss for _, loss, _ in epochs if np.isfinite(loss)], default=1.0) or 1.0
        self._loss = [loss / top for _, loss, _ in epochs]
        self._miou = [miou for _, _, miou in epochs]
        self.update()

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().text().color()
        for values, style in ((self._miou, Qt.PenStyle.SolidLine), (self._loss, Qt.PenStyle.DashLine)):
            painter.setPen(QPen(ink, 1.5, style))
            painter.drawPolyline(QPolygonF(self._points(values)))
        painter.end()

    def _points(self, values: list[float]) -> list[QPointF]:
        width, height = self.width() - 2 * _MARGIN, self.height() - 2 * _MARGIN
        last = max(1, len(values) - 1)
        return [
            QPointF(_MARGIN + width * at / last, _MARGIN + height * (1 - min(max(value, 0.0), 1.0)))
            for at, value in enumerate(values)
            if np.isfinite(value)
        ]
