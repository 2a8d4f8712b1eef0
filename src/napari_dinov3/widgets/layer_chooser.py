"""A combo box of the viewer's layers that follows additions, removals, renames and order.

The chosen layer is remembered by napari's unique id, so renaming it changes nothing but its text.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_dinov3._napari.compat import unwrap
from napari_dinov3._napari.provenance import is_result
from napari_dinov3.widgets.form import combo_box, widen_popup


class LayerChooser(QWidget):
    """Choose one layer of some types.

    Parameters
    ----------
    viewer : napari viewer
        Whose layers.
    kinds : tuple of str
        Layer classes on offer, such as ``("Image",)``.
    label, tooltip : str
        Accessible name, and one sentence.
    optional : str
        Text of an entry that means no layer; without it the active or else the lowest fitting layer is chosen, one that no task
        made where there is one.
    accept : callable, optional
        Further condition on a layer.
    """

    valueChanged = Signal()

    def __init__(
        self,
        viewer: Any,
        kinds: tuple[str, ...],
        *,
        label: str,
        tooltip: str,
        optional: str = "",
        accept: Callable[[Any], bool] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._kinds, self._optional, self._accept = viewer, kinds, optional, accept
        self._box = combo_box()
        self._box.setToolTip(tooltip)
        self._box.setAccessibleName(label)
        self._box.setAccessibleDescription(tooltip)
        self._box.currentIndexChanged.connect(self._on_chosen)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self.setFocusProxy(self._box)
        self._chosen: Hashable = None
        self._named: list[Any] = []
        events = unwrap(viewer).layers.events
        self._events = (events.inserted, events.removed, events.reordered)
        for event in self._events:
            event.connect(self._on_layers)
        self.refresh()

    def value(self) -> Any:
        """Give the chosen layer, or None."""
        return next((layer for layer in self._viewer.layers if layer.unique_id == self._chosen), None)

    def setValue(self, layer: Any) -> None:
        """Choose a layer, by itself, its name or its unique id; None where that is on offer. Others change nothing."""
        wanted = next(
            (each.unique_id for each in self._viewer.layers if layer in (each.name, each.unique_id)),
            getattr(layer, "unique_id", None),
        )
        at = self._index_of(wanted)
        if at >= 0:
            self._box.setCurrentIndex(at)

    def refresh(self) -> None:
        """List the layers again; the choice stays while its layer is there."""
        layers = [layer for layer in self._viewer.layers if self._offered(layer)][::-1]  # topmost first, as napari lists them
        ids = [layer.unique_id for layer in layers]
        chosen = self._chosen if self._chosen in ids else self._first_choice(layers)
        with QSignalBlocker(self._box):
            self._box.clear()
            if self._optional:
                self._box.addItem(self._optional, None)
            for layer in layers:
                self._box.addItem(layer.name, layer.unique_id)
            self._box.setCurrentIndex(self._index_of(chosen))
            widen_popup(self._box)
        self._follow_names(layers)
        if chosen != self._chosen:
            self._chosen = chosen
            self.valueChanged.emit()

    def dispose(self) -> None:
        """Stop following the viewer."""
        for event in self._events:
            event.disconnect(self._on_layers)
        self._follow_names([])

    def _first_choice(self, layers: list[Any]) -> Hashable:
        if self._optional or not layers:
            return None
        data = [layer for layer in layers if not is_result(layer)] or layers
        active = self._viewer.layers.selection.active
        ids: list[Hashable] = [layer.unique_id for layer in data]
        wanted: Hashable = None if active is None else active.unique_id
        return wanted if wanted in ids else ids[-1]

    def _index_of(self, layer_id: Hashable) -> int:
        return next((i for i in range(self._box.count()) if self._box.itemData(i) == layer_id), -1)

    def _offered(self, layer: Any) -> bool:
        fits = type(unwrap(layer)).__name__ in self._kinds and layer.ndim >= 2
        return fits and (self._accept is None or self._accept(layer))

    def _follow_names(self, layers: list[Any]) -> None:
        for layer in self._named:
            layer.events.name.disconnect(self._on_layers)
        self._named = [unwrap(layer) for layer in layers]
        for layer in self._named:
            layer.events.name.connect(self._on_layers)

    def _on_layers(self, event: Any = None) -> None:
        self.refresh()

    def _on_chosen(self, *_: Any) -> None:
        self._chosen = self._box.currentData()
        self.valueChanged.emit()
