"""The moving layer of a pair, and landmarks on both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_dinov3.widgets.align.fields import START
from napari_dinov3.widgets.form import Form
from napari_dinov3.widgets.layer_chooser import LayerChooser
from napari_dinov3.widgets.panel import field_row

_ROLES = (
    ("moving", ("Image",), "Moving", "Image that is moved onto the one above; it may differ in modality and pixel size."),
    ("fixed_points", ("Points",), "Points, fixed", "Landmarks on the fixed image, to start from or to measure the error with."),
    ("moving_points", ("Points",), "Points, moving", "The same landmarks on the moving image, in the same order."),
)


class PairFields(QWidget):
    """Choose what is moved onto the fixed image, and where to start.

    Parameters
    ----------
    viewer : napari viewer
        Whose layers.
    """

    valueChanged = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.choosers: dict[str, LayerChooser] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        self.start = Form((START,))
        for name, kinds, label, tip in _ROLES:
            chooser = LayerChooser(viewer, kinds, label=label, optional="none", tooltip=tip)
            chooser.valueChanged.connect(self.valueChanged)
            self.choosers[name] = chooser
            layout.addWidget(field_row(label, chooser))
            if name == "moving":
                layout.addWidget(self.start)
        self.start.valueChanged.connect(self.valueChanged)

    @property
    def moving(self) -> Any:
        """The moving layer, or None."""
        return self.choosers["moving"].value()

    @property
    def landmarks(self) -> tuple[Any, Any] | None:
        """The two layers of landmarks, or None unless both are chosen."""
        first, second = (self.choosers[name].value() for name in ("fixed_points", "moving_points"))
        return None if first is None or second is None else (first, second)

    def value(self) -> dict[str, Any]:
        """Read every choice; layers by their ids."""
        layers = {name: chooser.value() for name, chooser in self.choosers.items()}
        return {**self.start.value(), **{name: None if layer is None else layer.unique_id for name, layer in layers.items()}}

    def setValue(self, value: Mapping[str, Any]) -> None:
        """Set some or all choices; layers by themselves, their names or ids."""
        self.start.setValue(value)
        for name, chooser in self.choosers.items():
            if name in value:
                chooser.setValue(value[name])

    def problem(self, fixed: Any) -> str:
        """Say what is missing; empty where nothing is."""
        if self.moving is None:
            return "Choose the moving layer."
        if self.moving.unique_id == fixed.unique_id and fixed.ndim == 2:
            return "The moving layer is the fixed one; choose another."
        if self.start.value()["start"] in ("landmarks", "only") and self.landmarks is None:
            return "Choose a Points layer on the fixed image and one on the moving image."
        return ""

    def dispose(self) -> None:
        """Stop following the viewer."""
        for chooser in self.choosers.values():
            chooser.dispose()
