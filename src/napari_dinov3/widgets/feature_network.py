"""How a network is run, edited in a form: input scale, averages, layers, planes as colours, device, precision, weights.

The choice lies in the session, as that of the backbone does: every panel of the viewer makes its features so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_dinov3._napari.session import Session
from napari_dinov3.backbones.dinov3_models import STAGE3, spec_of
from napari_dinov3.backbones.options import BackboneOptions
from napari_dinov3.backbones.registry import backbone_facts, choose_backbone
from napari_dinov3.recipe import ExtractConfig
from napari_dinov3.widgets.form import Choice, Form, wrapped_label

NETWORK_FIELDS = ("scale", "shifts", "flips", "layers", "device", "precision", "weights", "source")
_FIELDS = (
    Choice("scale", "Input scale", "Enlarge the image before it is embedded, so that a patch covers less of it.", 1, ()),
    Choice(
        "shifts",
        "Shift averaging",
        "Average over sub-patch shifts: a finer grid at the same patch size, in 4 or 16 times the time.",
        1,
        ((1, "none"), (2, "2 x 2 shifts"), (4, "4 x 4 shifts")),
    ),
    Choice(
        "flips",
        "Flip averaging",
        "Average over mirrored images, in 2 or 4 times the time.",
        "none",
        (("none", "none"), ("horizontal", "left and right"), ("all", "all four")),
    ),
    Choice("layers", "Layers", "The last layer is right for most things; four help with textures.", "last", ()),
    Choice(
        "colours",
        "Colours",
        "Take the planes before and after a grey plane as its red and blue, so that the network sees a little depth.",
        "own",
        (("own", "as they are"), ("neighbours", "three neighbouring planes")),
    ),
    Choice(
        "device",
        "Device",
        "Where the network runs; auto takes a graphics card where there is one.",
        "auto",
        (("auto", "auto"), ("cpu", "processor"), ("cuda", "NVIDIA card (cuda)"), ("mps", "Apple card (mps)")),
    ),
    Choice(
        "precision",
        "Precision",
        "Of matrix products; auto takes bfloat16 where the device has it.",
        "auto",
        (("auto", "auto"), ("float32", "float32"), ("bfloat16", "bfloat16")),
    ),
    Choice(
        "source",
        "Weights from",
        "Where weights are looked for on this computer, and where a download comes from.",
        "auto",
        (
            ("auto", "auto (first that has them)"),
            ("folder", "a folder of my own"),
            ("cache", "Hugging Face cache"),
            ("mirror", "ungated mirror"),
            ("meta", "Meta (gated)"),
        ),
    ),
)


class NetworkOptions(QWidget):
    """Edit the session's options of a network.

    Parameters
    ----------
    session : Session
        Of the viewer.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.form = Form(_FIELDS)
        self.none = wrapped_label("This backbone has none of these options.", name="no_options")
        self.path = QLineEdit()
        self.path.setPlaceholderText("weights: found by themselves")
        self.path.setAccessibleName("Weights file or folder")
        self.path.setToolTip("File or folder of weights in any of the three formats; empty to have them found.")
        browse, folder = QPushButton("File..."), QPushButton("Folder...")
        browse.setToolTip("Choose a weights file: .pth or .safetensors.")
        folder.setToolTip("Choose a folder with config.json and model.safetensors.")
        browse.clicked.connect(self._on_file)
        folder.clicked.connect(self._on_folder)
        row = QHBoxLayout()
        row.addWidget(self.path, 1)
        for button in (browse, folder):
            row.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.none)
        layout.addWidget(self.form)
        layout.addLayout(row)
        self._row = (self.path, browse, folder)
        self._show()
        self.form.valueChanged.connect(self._on_edited)
        self.path.editingFinished.connect(self._on_edited)
        session.features_changed.connect(self._show)

    def value(self) -> ExtractConfig:
        """Give the session's settings."""
        return self._session.features_config

    def setValue(self, config: ExtractConfig) -> None:
        """Change the settings, for every panel of the viewer."""
        self._session.features_config = config

    def dispose(self) -> None:
        """Stop following the session."""
        self._session.features_changed.disconnect(self._show)

    def _on_edited(self) -> None:
        chosen: dict[str, Any] = self.form.value()
        if chosen["scale"] * chosen["shifts"] > 4:  # the finest grid on offer; the shifts give way
            chosen["shifts"] = 4 // chosen["scale"]
        chosen["scale"] = None if chosen["scale"] == 1 else chosen["scale"]
        # the stride follows from scale and shifts
        self.setValue(replace(self.value(), stride=None, weights=self.path.text().strip() or None, **chosen))

    def _on_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Weights of a DINOv3 network", "", "Weights (*.pth *.safetensors)")
        self._take(path)

    def _on_folder(self) -> None:
        self._take(QFileDialog.getExistingDirectory(self, "Folder with the weights of a DINOv3 network"))

    def _take(self, path: str) -> None:
        if path:
            self.path.setText(path)
            self._on_edited()

    def _show(self, event: Any = None) -> None:
        config = self.value()
        facts = backbone_facts(choose_backbone(config.backbone)[0])
        is_network = facts.kind == "dinov3"
        self.none.setHidden(is_network)
        for widget in (self.form, *self._row):
            widget.setHidden(not is_network)
        if not is_network:
            return
        scale = config.scale or max(1, facts.stride // (config.stride or facts.stride) // config.shifts)
        with QSignalBlocker(self.form):
            self.form.set_options("scale", tuple((n, f"x{n}: {facts.patch // n} px patch") for n in (1, 2, 4)))
            self.form.set_options("layers", _layer_options(facts.name, config.layers))
            plain = ("shifts", "flips", "layers", "colours", "device", "precision", "source")
            self.form.setValue({"scale": scale, **{name: getattr(config, name) for name in plain}})
        with QSignalBlocker(self.path):
            self.path.setText(config.weights or "")


def without_network(config: ExtractConfig) -> ExtractConfig:
    """Put the options of a network back to their defaults, for a backbone that has none."""
    plain = BackboneOptions()
    return replace(config, **{name: getattr(plain, name) for name in NETWORK_FIELDS})


def _layer_options(name: str, chosen: str | tuple[int, ...]) -> tuple[tuple[Any, str], ...]:
    spec = spec_of(name)
    options: list[tuple[Any, str]] = [("last", "last")]
    if spec.family == "vit" and not name.endswith(STAGE3):
        options.append(("four", f"four: {', '.join(map(str, spec.four_layers))}"))
        options += [((layer,), f"{layer} alone") for layer in range(spec.depths[0])]
    if chosen not in [value for value, _ in options]:
        options.append((chosen, ", ".join(map(str, chosen))))
    return tuple(options)
