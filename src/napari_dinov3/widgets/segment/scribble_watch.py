"""Notice strokes in a labels layer and read them in a worker: painting, erasing, filling, undo and redo, replaced data.

Events come while people paint, many a second; the layer is looked at once none has come for a while.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_dinov3._napari.compat import unwrap
from napari_dinov3._napari.layers import Source
from napari_dinov3._napari.segment.scribble_book import ScribbleBook, planes_of_stroke
from napari_dinov3.errors import InputError
from napari_dinov3.widgets.runner import Done, Failed, JobRunner

DEBOUNCE_MS = 150


class ScribbleWatch(QObject):
    """Follow one labels layer.

    Parameters
    ----------
    source : callable
        Reads the layer in the place of the image; may raise an InputError.
    visible : callable
        Gives the plane in view.
    parent : QObject, optional
        Owner.

    Signals
    -------
    painted(Painted)
        What is painted now, after every look.
    failed(Exception)
        The layer cannot be read.
    recoloured()
        The layer has other colours.
    """

    painted = Signal(object)
    failed = Signal(object)
    recoloured = Signal()

    def __init__(self, source: Callable[[], Source], visible: Callable[[], int], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._source, self._visible = source, visible
        self._layer: Any = None
        self._book = ScribbleBook()
        self._dirty: set[int] = set()
        self._all = False
        self.runner = JobRunner(self)
        self.runner.finished.connect(self._on_read)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DEBOUNCE_MS)
        self._timer.timeout.connect(self._read)

    @property
    def waiting(self) -> bool:
        """Whether a change has been noticed that has not been read yet."""
        return bool(self._timer.isActive() or self.runner.running)

    def follow(self, layer: Any) -> None:
        """Follow a layer from now on, and read it; None for none."""
        layer = None if layer is None else unwrap(layer)
        if layer is self._layer:
            return
        self.stop()
        self._layer, self._book = layer, ScribbleBook()
        if layer is not None:
            for name, slot in self._slots():
                getattr(layer.events, name).connect(slot)
            self.look()

    def look(self) -> None:
        """Read the whole layer soon, for example because the image has changed."""
        if self._layer is not None:
            self._all = True
            self._timer.start()

    def stop(self) -> None:
        """Follow nothing any more; touches no Qt object that may be gone."""
        self.runner.abandon()
        if self._layer is not None:
            for name, slot in self._slots():
                getattr(self._layer.events, name).disconnect(slot)
        self._layer = None
        self._dirty.clear()

    def _slots(self) -> list[tuple[str, Callable[..., None]]]:
        slots: list[tuple[str, Callable[..., None]]] = [
            ("paint", self._on_paint),
            ("labels_update", self._on_stroke),
            ("set_data", self._on_drawn),
            ("data", self._on_data),
            ("colormap", self._on_colours),
        ]
        return [(name, slot) for name, slot in slots if hasattr(self._layer.events, name)]

    def _on_paint(self, event: Any) -> None:
        """Take note of a finished stroke."""
        axis = self._stack_axis()
        planes = planes_of_stroke(getattr(event, "value", None), axis)
        self._note(planes)

    def _on_stroke(self, event: Any = None) -> None:
        """Wait while a stroke goes on."""
        self._note(frozenset({self._visible()}))

    def _on_drawn(self, event: Any = None) -> None:
        """Look again after undo and redo, which say nothing but that the layer was drawn; so do sliders, and nothing is found."""
        self._note(self._book.ever_painted | {self._visible()})

    def _on_data(self, event: Any = None) -> None:
        self._note(None)

    def _on_colours(self, event: Any = None) -> None:
        self.recoloured.emit()

    def _note(self, planes: frozenset[int] | None) -> None:
        if planes is None:
            self._all = True
        else:
            self._dirty |= planes
        self._timer.start()

    def _stack_axis(self) -> int | None:
        try:
            return self._source().placement.stack
        except InputError:
            return None

    def _read(self) -> None:
        if self._layer is None:
            return
        try:
            planes = self._source().planes
        except InputError as error:
            self.failed.emit(error)
            return
        self.runner.run(self._book.read_steps(planes, None if self._all else set(self._dirty)), "")

    def _on_read(self, outcome: Any) -> None:
        if isinstance(outcome, Done):
            if not self._timer.isActive():
                self._all = False
                self._dirty.clear()
            self.painted.emit(outcome.result)
        elif isinstance(outcome, Failed):
            self.failed.emit(outcome.error)
