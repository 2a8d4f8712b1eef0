"""Choose how features are made: backbone and stride, with the facts of the backbone and the size of the map.

The choice is one for all panels of a viewer (it lies in the session), because a feature map is made once and serves every task.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_dinov3._napari.jobs import caches_on_disk
from napari_dinov3._napari.session import Session
from napari_dinov3.backbones.download import fetched_bytes
from napari_dinov3.backbones.options import stride_of
from napari_dinov3.backbones.registry import (
    JOINT,
    backbone_facts,
    choose_backbone,
    is_network,
    list_backbones,
    part_names,
    readiness,
)
from napari_dinov3.errors import InputError
from napari_dinov3.image import Planes
from napari_dinov3.recipe import ExtractConfig
from napari_dinov3.widgets.feature_facts import (
    bytes_text,
    entry_text,
    estimate_of,
    estimate_text,
    facts_text,
    licence_html,
    missing_text,
    origin_text,
    size_text,
)
from napari_dinov3.widgets.feature_network import without_network
from napari_dinov3.widgets.form import Choice, Form, wrapped_label

EDGES = "filter-bank"

__all__ = ["FeatureChooser", "feature_fields", "missing_text", "stride_options"]


def feature_fields() -> tuple[Choice, ...]:
    """Describe the fields."""
    backbones = (("auto", "auto (best present)"), *((facts.name, entry_text(facts.name)) for facts in list_backbones()))
    return (
        Choice("backbone", "Backbone", "What turns the image into patch features.", "auto", backbones),
        Choice(
            "beside",
            "Together with",
            "Features that stand beside those of the backbone: meaning from a network, edges from the filter bank.",
            None,
            ((None, "nothing"), (EDGES, f"{EDGES} (edges)")),
        ),
        Choice(
            "stride", "Stride (px)", "Pixels between patch centres: smaller is finer and takes more memory.", None, ((None, ""),)
        ),
    )


def split_backbone(name: str) -> tuple[str, str | None]:
    """Take apart what is chosen in two fields: a backbone, and what stands beside it."""
    main, joint, beside = name.partition(JOINT)
    return main, beside if joint else None


def stride_options(config: ExtractConfig) -> tuple[tuple[int | None, str], ...]:
    """List the strides a backbone offers; None stands for its default."""
    facts = backbone_facts(choose_backbone(config.backbone)[0])
    own = stride_of(facts, None, config.network)
    offered = facts.strides if config.network.scale is None and config.shifts == 1 else (own,)
    return tuple((None if s == own else s, f"{s} (default)" if s == facts.stride else f"{s}") for s in offered)


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
        self.download_button.clicked.connect(lambda: self.downloadRequested.emit(self._network()))
        self.licence = wrapped_label(name="licence")
        self.licence.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self.licence.setOpenExternalLinks(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self.form, self.facts, self.download_button, self.licence, self.estimate):
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
        config = self.value()
        try:
            cached = planes is not None and caches_on_disk(planes, config)
            text = "" if planes is None else estimate_text(estimate_of(planes, config), planes, cached=cached)
        except InputError as error:
            text = str(error)
        self.estimate.setText(text)

    def refresh(self) -> None:
        """Look again at what is on this computer, for example after a download."""
        self.form.set_options("backbone", feature_fields()[0].options)
        self._show(self.value())

    def dispose(self) -> None:
        """Stop following the session."""
        self._session.features_changed.disconnect(self._on_session)

    def _on_edited(self) -> None:
        chosen, before = self.form.value(), self.value()
        beside = chosen["beside"] if chosen["backbone"] not in ("auto", chosen["beside"]) else None
        config = replace(before, backbone=JOINT.join(filter(None, (chosen["backbone"], beside))), stride=None)
        if chosen["backbone"] != split_backbone(before.backbone)[0]:
            config = replace(config, layers="last", weights=None)  # they are of the network that was chosen before
        if not is_network(choose_backbone(config.backbone)[0]):
            config = without_network(config)
        if chosen["stride"] in [stride for stride, _ in stride_options(config)]:
            config = replace(config, stride=chosen["stride"])
        self.setValue(config)

    def _on_session(self, event: Any = None) -> None:
        self._show(self.value())
        self.valueChanged.emit()

    def _show(self, config: ExtractConfig) -> None:
        with QSignalBlocker(self.form):
            main, beside = split_backbone(config.backbone)
            self.form.set_options("stride", stride_options(config))
            if beside not in (None, EDGES):  # from a script or a recipe
                self.form.set_options("beside", ((None, "nothing"), (EDGES, f"{EDGES} (edges)"), (beside, beside)))
            self.form.set_shown("beside", main not in ("auto", EDGES))
            self.form.setValue({"backbone": main, "stride": config.stride, "beside": beside})
        self.facts.setText(facts_text(config))
        self.facts.setToolTip(origin_text(config))
        network = self._network()
        state = readiness(network, weights=config.weights, source=config.source)
        to_fetch = not state.ready and state.message.startswith("weights")
        self.download_button.setHidden(not to_fetch)
        self.licence.setHidden(not to_fetch)
        if to_fetch:
            begun, whole = fetched_bytes(network), size_text(backbone_facts(network))
            size = f"{bytes_text(begun)} of {whole} are here" if begun else whole
            self.download_button.setText(f"{'Go on with the download' if begun else 'Download'} ({size})")
            self.licence.setText(licence_html(network))

    def _network(self) -> str:
        """Name the backbone whose weights are looked for; of several, the network."""
        parts = part_names(choose_backbone(self.value().backbone)[0])
        return next((part for part in parts if is_network(part)), parts[0])
