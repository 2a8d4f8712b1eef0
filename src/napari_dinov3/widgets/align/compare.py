"""Ways to look at an alignment: across the stack before and after, a checkerboard, blinking, and a grid that was bent along."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_dinov3._napari.align.layers import Blinker
from napari_dinov3.widgets.align.xz_view import XZView

BLINK_MS = 600


class CompareBox(QWidget):
    """The views of an alignment.

    Signals
    -------
    boardRequested(), gridRequested(), blinkRequested(), rowChanged(row)
    """

    boardRequested = Signal()
    gridRequested = Signal()
    blinkRequested = Signal()
    rowChanged = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.xz = XZView()
        self.board_button, self.blink_button, self.grid_button = (
            QPushButton("Checkerboard"),
            QPushButton("Blink"),
            QPushButton("Grid"),
        )
        self.blink_button.setCheckable(True)
        self._blinker: Blinker | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(BLINK_MS)
        self._timer.timeout.connect(self._on_blink)
        self.board_button.clicked.connect(lambda _=False: self.boardRequested.emit())
        self.grid_button.clicked.connect(lambda _=False: self.gridRequested.emit())
        self.blink_button.toggled.connect(self._on_toggled)
        self.xz.rowChanged.connect(self.rowChanged)
        row = QHBoxLayout()
        for button in (self.blink_button, self.grid_button):
            row.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.xz)
        layout.addWidget(self.board_button)
        layout.addLayout(row)

    def say_why(self, reason: str, *, pair: bool, running: bool) -> None:
        """Switch the buttons off where there is a reason, and give it."""
        second = "the fixed and the moved image" if pair else "a plane and the next one"
        for button, tip in (
            (self.board_button, f"Add a layer with {second} in alternate squares."),
            (
                self.blink_button,
                f"Show {second} in turn.",
            ),
            (self.grid_button, "Add a straight grid that was moved and bent like the image."),
        ):
            button.setEnabled(not reason and (not running or button is self.blink_button))
            button.setToolTip(reason or tip)
        if reason:
            self.stop()

    def blink(self, blinker: Blinker | None) -> None:
        """Begin to blink, or do not."""
        self._blinker = blinker
        if blinker is None:
            self.blink_button.setChecked(False)
        else:
            self._timer.start()

    def stop(self) -> None:
        """Stop blinking, and leave the viewer as it was."""
        self.blink_button.setChecked(False)

    def _on_toggled(self, on: bool) -> None:
        if on:
            self.blinkRequested.emit()
            return
        self._timer.stop()
        blinker, self._blinker = self._blinker, None
        if blinker is not None:
            blinker.stop()

    def _on_blink(self, *_: Any) -> None:
        if self._blinker is not None:
            self._blinker.flip()
