"""Keep the table of classes and the scribbles layer in step, and carry out what the table asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_dinov3._napari.compat import unwrap
from napari_dinov3._napari.layers import Source
from napari_dinov3._napari.segment import classes
from napari_dinov3._napari.segment.scribble_book import Painted
from napari_dinov3.errors import InputError
from napari_dinov3.widgets.segment.classes import ClassTable
from napari_dinov3.widgets.status import State, error_text
from napari_dinov3.wording import counted


class ClassEditor(QObject):
    """Edit the classes of one scribbles layer.

    Parameters
    ----------
    viewer : napari viewer
        Where a copy of a user's layer is added before the first edit.
    table : ClassTable
        What is seen.
    source : callable
        Reads the layer in the place of the image.
    say : callable
        Shows a status.

    Signals
    -------
    replaced(layer)
        A copy takes the place of a layer of the user's.
    changed()
        Names have changed.
    """

    replaced = Signal(object)
    changed = Signal()

    def __init__(
        self, viewer: Any, table: ClassTable, source: Callable[[], Source], say: Callable[[State, str], None], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._viewer, self._table, self._source, self._say = viewer, table, source, say
        self._layer: Any = None
        self._painted: Painted | None = None
        table.chosen.connect(self._on_chosen)
        table.renamed.connect(lambda value, name: self._edit(lambda layer: classes.rename(layer, value, name)))
        table.added.connect(self._on_added)
        table.merged.connect(self._on_merged)
        table.deleted.connect(lambda value: self._on_merged(value, 0))

    def follow(self, layer: Any) -> None:
        """Show the classes of a layer; None for none."""
        layer = None if layer is None else unwrap(layer)
        if layer is self._layer:
            return
        self.stop()
        self._layer, self._painted = layer, None
        if layer is not None:
            layer.events.selected_label.connect(self._on_label)
        self.refresh()

    def stop(self) -> None:
        """Stop following the layer."""
        if self._layer is not None:
            self._layer.events.selected_label.disconnect(self._on_label)
        self._layer = None

    def show(self, painted: Painted) -> None:
        """Show what is painted now."""
        self._painted = painted
        self.refresh()

    def refresh(self) -> None:
        """List the classes again."""
        if self._layer is None:
            self._table.setValue(())
            return
        self._table.setValue(classes.class_rows(self._layer, {} if self._painted is None else self._painted.counts))
        self._table.select(int(self._layer.selected_label))

    def _edit(self, change: Callable[[Any], Any]) -> Any:
        """Change the layer, or a copy of it where the user made it."""
        if self._layer is None:
            return None
        layer = unwrap(classes.own_layer(self._viewer, self._layer))
        try:
            answer = change(layer)
        except InputError as error:
            self._say("error", error_text(error))
            answer = None
        if layer is not self._layer:
            painted, name = self._painted, self._layer.name
            self.replaced.emit(layer)
            self._painted = painted
            self._say("done", f"{name!r} stays as it is; its copy {layer.name!r} is edited and used from now on.")
        self.refresh()
        self.changed.emit()
        return answer

    def _on_added(self) -> None:
        counts = {} if self._painted is None else self._painted.counts
        value = self._edit(lambda layer: classes.add_class(layer, counts))
        if value is not None and self._layer is not None:
            self._layer.mode = "paint"

    def _on_merged(self, value: int, into: int) -> None:
        painted = self._painted
        if painted is None:
            return
        try:
            placement = self._source().placement
        except InputError as error:
            self._say("error", error_text(error))
            return
        pixels = self._edit(lambda layer: classes.merge(layer, placement, painted.planes, value, into))
        if pixels is not None:
            done = f"joined class {into}" if into else "unlabelled again"
            self._say("done", f"{counted(pixels, 'pixel')} of class {value} {done}; undo in the layer takes it back.")

    def _on_chosen(self, value: int) -> None:
        if self._layer is not None:
            self._layer.selected_label = value

    def _on_label(self, event: Any = None) -> None:
        if self._layer is not None:
            self._table.select(int(self._layer.selected_label))
