"""Choose how features are made: backbone and stride, with the facts of the backbone and the size of the map.

The choice is one for all panels of a viewer (it lies in the session), because a feature map is made once and serves every task.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_dinov3._napari.jobs import FeatureEstimate, estimate_features
from napari_dinov3._napari.session import Session
from napari_dinov3.backbones.registry import backbone_facts, choose_backbone, list_backbones, readiness
from napari_dinov3.image import Planes
from napari_dinov3.recipe import ExtractConfig
from napari_dinov3.widgets.form import Choice, Form, wrapped_label


def feature_fields() -> tuple[Choice, ...]:
    """Describe the two fields."""
    backbones = (("auto", "auto (best present)"), *((facts.name, _entry(facts.name)) for facts in list_backbones()))
    return (
        Choice("backbone", "Backbone", "What turns the image into patch features.", "auto", backbones),
        Choice(
            "stride", "Stride (px)", "Pixels between patch centres: smaller is finer and takes more memory.", None, ((None, ""),)
        ),
    )


def _entry(backbone: str) -> str:
    return backbone if readiness(backbone).ready else f"{backbone} (not here)"


def missing_text(backbone: str) -> str:
    """Say what a backbone still needs; empty where it is ready."""
    state = readiness(choose_backbone(backbone)[0])
    if state.ready:
        return ""
    size = " (torch takes up to 4 GB)" if "torch" in state.message else ""
    return f"{backbone} is not ready: {state.message}{size}."


def stride_options(backbone: str) -> tuple[tuple[int | None, str], ...]:
    """List the strides a backbone offers; None stands for its default."""
    facts = backbone_facts(choose_backbone(backbone)[0])
    return tuple((None if s == facts.stride else s, f"{s} (default)" if s == facts.stride else f"{s}") for s in facts.strides)


def facts_text(backbone: str) -> str:
    """Say in a few words what a backbone is good for."""
    facts = backbone_facts(choose_backbone(backbone)[0])
    return f"{facts.name}: {facts.good_for}." if backbone == "auto" else f"Good for {facts.good_for}."


def origin_text(backbone: str) -> str:
    """Say where a backbone comes from and under which licence."""
    facts = backbone_facts(choose_backbone(backbone)[0])
    return f"{facts.name}: {facts.source}; licence {facts.licence}."


def estimate_text(estimate: FeatureEstimate) -> str:
    """Say how large the map will be and where it is kept."""
    rows, cols = estimate.grid
    planes = f"{estimate.planes} planes of " if estimate.planes > 1 else ""
    size = f"{estimate.gigabytes:.1f} GB" if estimate.gigabytes >= 1 else f"{max(1, round(estimate.gigabytes * 1e3))} MB"
    where = "on disk" if estimate.on_disk else "in memory"
    return f"Map: {planes}{rows} x {cols} patches, {estimate.dim} numbers each; {size} {where}."


class FeatureChooser(QWidget):
    """Edit the session's feature settings.

    Parameters
    ----------
    session : Session
        Of the viewer; other panels of it follow.
    """

    valueChanged = Signal()
    downloadRequested = Signal(str)

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.form = Form(feature_fields())
        self.facts = wrapped_label(name="facts")
        self.estimate = wrapped_label(name="estimate")
        self.download_button = QPushButton()
        self.download_button.setToolTip("Download the weights of this backbone now; a stopped download goes on the next time.")
        self.download_button.clicked.connect(lambda: self.downloadRequested.emit(self.value().backbone))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self.form, self.facts, self.download_button, self.estimate):
            layout.addWidget(widget)
        self._show(session.features_config)
        self.form.valueChanged.connect(self._on_edited)
        session.features_changed.connect(self._on_session)

    def value(self) -> ExtractConfig:
        """Give the settings."""
        return self._session.features_config

    def setValue(self, config: ExtractConfig) -> None:
        """Change the settings, for every panel of the viewer."""
        self._session.features_config = config

    def show_estimate(self, planes: Planes | None) -> None:
        """Say how large the map of an image would be; nothing for no image."""
        self.estimate.setText("" if planes is None else estimate_text(estimate_features(planes, self.value())))

    def refresh(self) -> None:
        """Look again at what is on this computer, for example after a download."""
        self.form.set_options("backbone", feature_fields()[0].options)
        self._show(self.value())

    def dispose(self) -> None:
        """Stop following the session."""
        self._session.features_changed.disconnect(self._on_session)

    def _on_edited(self) -> None:
        value = self.form.value()
        offered = [s for s, _ in stride_options(value["backbone"])]
        stride = value["stride"] if value["stride"] in offered else None
        self.setValue(replace(self.value(), backbone=value["backbone"], stride=stride))

    def _on_session(self, event: Any = None) -> None:
        self._show(self.value())
        self.valueChanged.emit()

    def _show(self, config: ExtractConfig) -> None:
        default = backbone_facts(choose_backbone(config.backbone)[0]).stride
        with QSignalBlocker(self.form):
            self.form.set_options("stride", stride_options(config.backbone))
            self.form.setValue({"backbone": config.backbone, "stride": None if config.stride == default else config.stride})
        self.facts.setText(facts_text(config.backbone))
        self.facts.setToolTip(origin_text(config.backbone))
        state = readiness(choose_backbone(config.backbone)[0])
        self.download_button.setText(f"Download ({state.message.partition(': ')[2]})")
        self.download_button.setHidden(state.ready or not state.message.startswith("weights"))
