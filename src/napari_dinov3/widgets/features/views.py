"""Further ways to look at the features, under one choice and one button: groups, relations of patches, like planes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_dinov3.backbones.registry import list_backbones, readiness
from napari_dinov3.widgets.form import Choice, Form, Number, combo_box

WAYS = (
    ("foreground", "Foreground in colours"),
    ("groups", "Groups of patches"),
    ("gram", "Gram matrix"),
    ("difference", "Difference of backbones"),
    ("nearest", "Planes like this one"),
)
SIDES = (
    ("smaller", "the smaller part"),
    ("larger", "the larger part"),
    ("positive", "above the threshold"),
    ("negative", "below the threshold"),
)
_SHOWN_FOR = {"side": "foreground", "groups": "groups", "other_backbone": "difference", "count": "nearest"}
_DOES = {
    "foreground": "Threshold the strongest component and colour what is on one side of it by components of its own.",
    "groups": "Group like patches by k-means, as a Labels layer.",
    "gram": "Show the cosine of all pairs of patches of this plane, beside the image.",
    "difference": "Tell how differently another backbone sees the relations between patches of this plane (Gram distance).",
    "nearest": "List the planes whose CLS token is most like that of this plane.",
}


class FeatureViews(QWidget):
    """Choose a way to look, its one setting, and show it.

    Signals
    -------
    valueChanged, shown, goTo(int)
        A setting changed; the button was pressed; a plane of the list was chosen.
    """

    valueChanged = Signal()
    shown = Signal()
    goTo = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.form = Form(
            (
                Choice("way", "View", "Which way to look at the features.", "groups", WAYS),
                Choice("side", "Foreground", "Which side of the threshold is shown.", "smaller", SIDES),
                Number("groups", "Groups", "How many groups of patches to make.", 6, 2, 50, 1, 0),
                Choice("other_backbone", "Compare with", "The other backbone; both see this image.", None, _ready_backbones()),
                Number("count", "Planes", "How many planes to list.", 5, 1, 50, 1, 0),
            )
        )
        self.button = QPushButton("Show")
        self.planes = combo_box()
        self.planes.setAccessibleName("Planes found")
        self.planes.setToolTip("Go to one of the planes that were found, the most alike first.")
        self.planes.setHidden(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self.form, self.button, self.planes):
            layout.addWidget(widget)
        self.form.valueChanged.connect(self._on_edited)
        self.button.clicked.connect(self.shown)
        self.planes.activated.connect(self._on_plane)
        self._fit()

    def value(self) -> dict[str, Any]:
        """Read every setting."""
        return self.form.value()

    def setValue(self, value: Mapping[str, Any]) -> None:
        """Set some or all settings."""
        self.form.setValue(value)

    def set_enabled(self, enabled: bool, why: str) -> None:
        """Switch the button on, or say why it is off."""
        self.button.setEnabled(enabled)
        self.button.setToolTip(_DOES[self.value()["way"]] if enabled else why)

    def refresh_backbones(self) -> None:
        """Offer the backbones that are ready now."""
        with QSignalBlocker(self.form):
            self.form.set_options("other_backbone", _ready_backbones())

    def show_planes(self, planes: tuple[int, ...]) -> None:
        """Offer planes to go to; hidden where there are none."""
        with QSignalBlocker(self.planes):
            self.planes.clear()
            for plane in planes:
                self.planes.addItem(f"go to plane {plane}", plane)
            self.planes.setCurrentIndex(-1)
        self.planes.setHidden(not planes)

    def _on_plane(self, index: int) -> None:
        self.goTo.emit(self.planes.itemData(index))

    def _on_edited(self) -> None:
        self._fit()
        self.valueChanged.emit()

    def _fit(self) -> None:
        """Show the one setting that the chosen way has."""
        way = self.value()["way"]
        for name, belongs_to in _SHOWN_FOR.items():
            self.form.set_shown(name, belongs_to == way)
        if way != "nearest":
            self.planes.setHidden(True)


def _ready_backbones() -> tuple[tuple[str, str], ...]:
    return tuple((facts.name, facts.name) for facts in list_backbones() if readiness(facts.name).ready)
