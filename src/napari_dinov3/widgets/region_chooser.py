"""Choose a part of an image by a rectangle of a Shapes layer; the whole image by default."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QWidget

from napari_dinov3._napari.compat import unwrap
from napari_dinov3._napari.regions import region_of
from napari_dinov3.geometry import Region
from napari_dinov3.widgets.form import wrapped_label
from napari_dinov3.widgets.layer_chooser import LayerChooser

WHOLE = "Whole image"


class RegionChooser(QWidget):
    """Choose a Shapes layer whose selected (or first) shape says which part to work on.

    Parameters
    ----------
    viewer : napari viewer
        Whose layers.
    """

    valueChanged = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layers = LayerChooser(
            viewer,
            ("Shapes",),
            label="Region",
            tooltip="Work only on the rectangle that is selected in this Shapes layer, or on its first one.",
            optional=WHOLE,
        )
        self._facts = wrapped_label(name="region_facts")
        self._followed: Any = None
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        label = QLabel("Region")
        label.setToolTip(self._layers.focusProxy().toolTip())
        label.setBuddy(self._layers)
        layout.addRow(label, self._layers)
        layout.addRow(self._facts)
        self._facts.hide()
        self.setFocusProxy(self._layers)
        self._layers.valueChanged.connect(self._on_layer)

    def value(self) -> Hashable:
        """Give the unique id of the chosen Shapes layer, or None for the whole image."""
        layer = self._layers.value()
        chosen: Hashable = None if layer is None else layer.unique_id
        return chosen

    def setValue(self, layer: Any) -> None:
        """Choose a Shapes layer, by itself, its name or its unique id; None is the whole image."""
        self._layers.setValue(layer)

    def region(self, image: Any) -> Region | None:
        """Give the chosen part of an image layer, None for the whole of it."""
        shapes = self._layers.value()
        return None if shapes is None else region_of(shapes, image)

    def show_size(self, text: str) -> None:
        """Say how large the region is; empty hides the line."""
        self._facts.setText(text)
        self._facts.setHidden(not text)

    def dispose(self) -> None:
        """Stop following the viewer and the layer."""
        self._follow(None)
        self._layers.dispose()

    def _on_layer(self) -> None:
        self._follow(self._layers.value())
        self.valueChanged.emit()

    def _follow(self, layer: Any) -> None:
        if self._followed is not None:
            for event in (self._followed.events.set_data, self._followed.events.highlight):
                event.disconnect(self._on_shapes)
        self._followed = None if layer is None else unwrap(layer)
        if self._followed is not None:
            for event in (self._followed.events.set_data, self._followed.events.highlight):
                event.connect(self._on_shapes)

    def _on_shapes(self, event: Any = None) -> None:
        self.valueChanged.emit()
