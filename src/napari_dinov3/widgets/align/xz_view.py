"""A row of a stack, plane over plane, before and after it was aligned."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QImage, QPixmap, QResizeEvent
from qtpy.QtWidgets import QLabel, QSizePolicy, QSlider, QVBoxLayout, QWidget

from napari_dinov3._napari.align.views import Strips
from napari_dinov3.widgets.form import wrapped_label
from napari_dinov3.widgets.panel import field_row

LOWEST, HIGHEST = 48, 130
"""Height of a strip in pixels of the screen."""


class XZView(QWidget):
    """Show two strips and choose the row they are cut along.

    Signals
    -------
    rowChanged(row)
    """

    rowChanged = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._strips: Strips | None = None
        self._pictures: list[QImage] = []
        self.labels = (QLabel(), QLabel())
        self.row = QSlider(Qt.Orientation.Horizontal)
        self.row.setTracking(False)
        self.row.setAccessibleName("Row of the view across the stack")
        self.row.setToolTip("Row along which the stack is cut, in pixels from the top.")
        self.row.valueChanged.connect(self.rowChanged)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for label, name in zip(self.labels, ("Before", "After"), strict=True):
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            label.setAccessibleName(f"Across the stack, {name.lower()}")
            layout.addWidget(wrapped_label(f"Cut across the stack, {name.lower()}"))
            layout.addWidget(label)
        self.caption = wrapped_label(name="xz_caption")
        layout.addWidget(self.caption)
        layout.addWidget(field_row("Row (px)", self.row))
        self.setValue(None, 0)

    def value(self) -> Strips | None:
        """Give the strips."""
        return self._strips

    def setValue(self, strips: Strips | None, rows: int) -> None:
        """Show these strips of a stack of so many rows, or none."""
        form = QImage.Format.Format_Grayscale8
        self._strips, self._pictures = strips, []
        if strips is not None:
            for strip in (strips.before, strips.after):
                height, width = strip.shape
                self._pictures.append(QImage(strip.tobytes(), width, height, width, form).copy())
            blocked = self.row.blockSignals(True)
            self.row.setRange(0, max(0, rows - 1))
            self.row.setValue(strips.row)
            self.row.blockSignals(blocked)
            self.caption.setText(f"Row {strips.row} of {rows}; planes down, columns across.")
        self.setHidden(strips is None)
        self._draw()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Fit the strips to the panel."""
        super().resizeEvent(event)
        self._draw()

    def _draw(self) -> None:
        if self._strips is None or self.width() < 10:
            return
        wide = self.width()
        for label, picture in zip(self.labels, self._pictures, strict=True):
            zoom = wide / max(1, picture.width())
            high = round(min(HIGHEST, max(LOWEST, picture.height() * self._strips.depth * zoom)))
            ratio = Qt.AspectRatioMode.IgnoreAspectRatio
            label.setFixedHeight(high)
            label.setPixmap(QPixmap.fromImage(picture).scaled(QSize(wide, high), ratio))
