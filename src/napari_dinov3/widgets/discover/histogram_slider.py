"""A slider drawn over a histogram: what lies above its value is filled, so that one sees what a threshold takes."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QPointF, QRectF, QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPalette, QPen
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from napari_dinov3.widgets.form import wrapped_label

HEIGHT = 58
MARGIN = 6
HANDLE = 5


class HistogramCanvas(QWidget):
    """The drawing that is dragged on.

    Parameters
    ----------
    minimum, maximum : float
        Ends of the axis.
    step : float
        Of the arrow keys.
    """

    dragged = Signal(float)

    def __init__(self, minimum: float, maximum: float, step: float, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._minimum, self._maximum, self._step = minimum, maximum, step
        self._value = minimum
        self._bars: tuple[tuple[float, float, float], ...] = ()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def setValue(self, value: float) -> None:
        """Move the handle."""
        self._value = value
        self.update()

    def set_bars(self, bars: Sequence[tuple[float, float, float]]) -> None:
        """Draw bars (start, end, height); the highest fills the widget."""
        self._bars = tuple(bar for bar in bars if bar[1] > self._minimum and bar[0] < self._maximum)
        self.update()

    def sizeHint(self) -> QSize:
        """Ask for the width there is."""
        return QSize(200, HEIGHT)

    def minimumSizeHint(self) -> QSize:
        """Stay readable."""
        return QSize(80, HEIGHT)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the bars, those above the value filled, and the handle."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colours = self.palette()
        group = QPalette.ColorGroup.Active if self.isEnabled() else QPalette.ColorGroup.Disabled
        text, strong = colours.color(group, QPalette.ColorRole.WindowText), colours.color(group, QPalette.ColorRole.Highlight)
        faint = colours.color(group, QPalette.ColorRole.WindowText)
        faint.setAlphaF(0.3)
        floor = self.height() - HANDLE - 2
        tallest = max((height for *_, height in self._bars), default=0.0)
        painter.setPen(Qt.PenStyle.NoPen)
        for start, end, height in self._bars:
            left, right = self._x(start), self._x(end)
            top = floor - (floor - 2) * (height / tallest if tallest else 0)
            painter.setBrush(strong if (start + end) / 2 > self._value else faint)
            painter.drawRect(QRectF(left, top, max(1.0, right - left - 0.5), floor - top))
        painter.setPen(QPen(faint, 1))
        painter.drawLine(QPointF(self._x(self._minimum), floor), QPointF(self._x(self._maximum), floor))
        at = self._x(self._value)
        painter.setPen(QPen(text, 2))
        painter.drawLine(QPointF(at, 2), QPointF(at, floor))
        painter.setBrush(strong if self.hasFocus() else text)
        painter.drawEllipse(QPointF(at, floor), HANDLE, HANDLE)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Jump to where was clicked."""
        if event is not None and event.button() == Qt.MouseButton.LeftButton:
            self._drag(event.position().x())

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Follow the mouse."""
        if event is not None and event.buttons() & Qt.MouseButton.LeftButton:
            self._drag(event.position().x())

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Move by the arrow keys."""
        steps = {Qt.Key.Key_Left: -1, Qt.Key.Key_Down: -1, Qt.Key.Key_Right: 1, Qt.Key.Key_Up: 1}
        step = None if event is None else steps.get(Qt.Key(event.key()))
        if step is None:
            super().keyPressEvent(event)
        else:
            self.dragged.emit(self._value + step * self._step)

    def _x(self, value: float) -> float:
        share = (value - self._minimum) / (self._maximum - self._minimum)
        return MARGIN + share * float(max(1, self.width() - 2 * MARGIN))

    def _drag(self, x: float) -> None:
        share = (x - MARGIN) / max(1, self.width() - 2 * MARGIN)
        self.dragged.emit(self._minimum + min(max(share, 0.0), 1.0) * (self._maximum - self._minimum))


class HistogramSlider(QWidget):
    """A threshold with the histogram of what it divides.

    Parameters
    ----------
    label, tooltip : str
        Accessible name, and one sentence.
    minimum, maximum, step, value : float
        Range, step of the keys, first value.
    decimals : int
        Of the number shown.
    """

    valueChanged = Signal()

    def __init__(
        self,
        label: str,
        tooltip: str,
        *,
        minimum: float = 0.0,
        maximum: float = 1.0,
        step: float = 0.01,
        value: float = 0.2,
        decimals: int = 2,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.canvas = HistogramCanvas(minimum, maximum, step)
        self.number = QDoubleSpinBox()
        self.number.setRange(minimum, maximum)
        self.number.setSingleStep(step)
        self.number.setDecimals(decimals)
        self.number.setKeyboardTracking(False)
        self.caption = wrapped_label(name="histogram_caption")
        for widget in (self.canvas, self.number):
            widget.setToolTip(tooltip)
            widget.setAccessibleName(label)
            widget.setAccessibleDescription(tooltip)
        row = QHBoxLayout()
        row.addWidget(wrapped_label(label), 1)
        row.addWidget(self.number)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(row)
        layout.addWidget(self.canvas)
        layout.addWidget(self.caption)
        self.canvas.dragged.connect(self.number.setValue)
        self.number.setValue(value)
        self._value = value
        self.canvas.setValue(value)
        self.number.valueChanged.connect(self._on_value)

    def value(self) -> float:
        """Give the threshold."""
        return self._value

    def setValue(self, value: float) -> None:
        """Set the threshold; while another value is shown, it waits until the slider is given back."""
        if self.number.isEnabled():
            self.number.setValue(value)
        elif value != self._value:
            self._value = value
            self.valueChanged.emit()

    def set_bars(self, bars: Sequence[tuple[float, float, float]], caption: str = "") -> None:
        """Draw another histogram: (start, end, height) of each bar; none takes it away."""
        self.canvas.set_bars(bars)
        self.caption.setText(caption)
        self.caption.setHidden(not caption)

    def set_chosen(self, value: float | None) -> None:
        """Show a value that was chosen elsewhere and cannot be dragged; None gives the slider back to the user."""
        shown = self._value if value is None else value
        with QSignalBlocker(self.number):
            self.number.setValue(shown)
        self.canvas.setValue(shown)
        for widget in (self.canvas, self.number):
            widget.setEnabled(value is None)

    def _on_value(self, value: float) -> None:
        self._value = value
        self.canvas.setValue(value)
        self.valueChanged.emit()
