"""Segment: paint a few scribbles, train a probe on the features, and label every pixel of every plane."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_dinov3._napari import results, script, segmentation
from napari_dinov3._napari.compat import world_point
from napari_dinov3._napari.layers import read_layer
from napari_dinov3._napari.owned import OwnedLayer
from napari_dinov3._napari.provenance import provenance
from napari_dinov3._napari.segmentation import Prediction
from napari_dinov3.errors import InputError
from napari_dinov3.image import Planes
from napari_dinov3.progress import Job, Progress
from napari_dinov3.recipe import ProbeConfig
from napari_dinov3.segment.probe import Probe
from napari_dinov3.widgets.form import Choice, Flag, Form, wrapped_label
from napari_dinov3.widgets.image_panel import ImagePanel
from napari_dinov3.widgets.layer_chooser import LayerChooser
from napari_dinov3.widgets.panel import field_row
from napari_dinov3.widgets.status import error_text

HEADS = (
    ("kernel", "kernel"), ("linear", "linear"), ("boosting", "boosted trees"), ("forest", "random forest"),
    ("prototypes", "prototypes"),
)
FIELDS = (
    Choice("head", "Head", "Kernel suits the filter bank, linear suits learned features, prototypes one click a class.", "kernel",
           HEADS),
    Flag("probability", "Probability layers", "Also add one layer a class with its probability, computed when looked at.", False),
    Flag("uncertainty", "Uncertainty layer", "Also add a layer that is bright where more scribbles help most.", False),
)
FROM_SCRIBBLES = "The probe is trained on the scribbles."
PROBE_FILTER = "Probes (*.npz)"
NEW_SCRIBBLES = "New scribbles layer"
"""Text of the button; messages name it."""


class SegmentPanel(ImagePanel):
    """Scribbles to labels."""

    title = "Segment by scribbles"
    summary = "Paint a few strokes of each class; every pixel of every plane is labelled."
    run_text = "Train and label"
    help_text = (
        "1. Choose the image, then 'New scribbles layer'.\n"
        "2. Paint a few strokes of class 1, then of class 2 (key M takes the next free label). A few planes are enough.\n"
        "3. Train and label: the plane in view comes first. Paint where it is wrong, and run again; the labels are replaced "
        "unless you have edited them.\n"
        "4. Save the probe to use it on another image with the same features."
    )

    def build_task(self) -> None:
        """Add scribbles, probe and report."""
        self.owned = OwnedLayer(self.viewer)
        self.prediction: Prediction | None = None
        self._shown: Prediction | None = None
        self.loaded: Probe | None = None
        self.scribbles = LayerChooser(self.viewer, ("Labels",), label="Scribbles", optional="none",
                                      tooltip="Labels layer with a few painted strokes of each class; 0 is unlabelled.")
        self.new_button = QPushButton(NEW_SCRIBBLES)
        self.new_button.setToolTip("Add an empty labels layer of the image's shape and start painting class 1.")
        self.new_button.clicked.connect(self.new_scribbles)
        self.form = Form(FIELDS)
        self.reference = LayerChooser(self.viewer, ("Labels",), label="Reference labels", optional="none",
                                      tooltip="Labels layer with the truth, to measure the result against.")
        self.report = wrapped_label(name="report")
        self.section("Scribbles", field_row("Layer", self.scribbles), self.new_button)
        self.section("Probe", self.form, self._probe_files())
        self.section("Compare with a reference", field_row("Labels", self.reference), self.report)
        for widget in (self.scribbles, self.form):
            widget.valueChanged.connect(self.changed)
        self.reference.valueChanged.connect(self._on_reference)
        self.on_close(self.scribbles.dispose, self.reference.dispose)

    def value(self) -> dict[str, Any]:
        """Read every setting."""
        chosen = {"scribbles": self.scribbles.value(), "reference": self.reference.value()}
        ids = {name: None if layer is None else layer.unique_id for name, layer in chosen.items()}
        return {**super().value(), **ids, **self.form.value()}

    def setValue(self, value: Mapping[str, Any]) -> None:
        """Set some or all settings."""
        super().setValue(value)
        self.form.setValue(value)
        for name, chooser in (("scribbles", self.scribbles), ("reference", self.reference)):
            if value.get(name) is not None:
                chooser.setValue(value[name])

    def config(self) -> ProbeConfig:
        """Give the probe's settings."""
        return ProbeConfig(head=self.form.value()["head"])

    def problem(self) -> str:
        """Ask for an image, then for scribbles or a loaded probe."""
        problem = super().problem()
        if problem or self.loaded is not None:
            return problem
        if self.scribbles.value() is None:
            return f"there are no scribbles; press '{NEW_SCRIBBLES}' and paint a few strokes of each class."
        return ""

    def refresh(self, *_: Any) -> None:
        """Bring buttons in step, the task's own too."""
        super().refresh()
        self.new_button.setEnabled(self.image.value() is not None)
        self.save_button.setEnabled(self.prediction is not None or self.loaded is not None)
        self.form.editor("head").setEnabled(self.loaded is None)
        self.probe_text.setText(FROM_SCRIBBLES if self.loaded is None else
                                f"A loaded probe is used; classes {', '.join(map(str, self.loaded.classes_))}.")
        self.forget_button.setHidden(self.loaded is None)

    def new_scribbles(self) -> None:
        """Add an empty labels layer over the image, ready to paint."""
        source = self.source()
        name = source.placement.name
        layer = results.empty_labels(self.viewer, source.placement, source.planes.shape, name=f"{name} scribbles",
                                     metadata=provenance("scribbles", source=name, settings={}))
        layer.brush_size = max(3, min(source.planes.shape[1:]) // 64)
        layer.mode = "paint"
        self.scribbles.setValue(layer)

    def make_job(self) -> Job[Prediction]:
        """Train and label, the visible plane first."""
        request = self.request()
        self._config = self.config()
        self.prediction = Prediction(self.loaded or Probe(**self._config.options()))
        self._request = request
        return segmentation.prediction_steps(
            self.session, request, self.prediction, scribbles=None if self.loaded else self._painted(),
            truth=None if self.reference.value() is None else self._truth())

    def show_result(self, result: Prediction) -> str:
        """Show all labels, and what else was asked for."""
        layer = self._show_labels(result)
        value = self.form.value()
        with results.selection_kept(self.viewer):
            added = segmentation.add_soft_layers(
                self.viewer, self._request.source.placement, result, probability=value["probability"],
                uncertainty=value["uncertainty"], metadata=layer.metadata)
        self.refresh()
        self.report.setText(result.report)
        more = f" and {len(added)} more" if added else ""
        return f"Classes {', '.join(map(str, result.probe.classes_))} in layer {layer.name!r}{more}."

    def cancelled_text(self) -> str:
        """Say how many planes are labelled."""
        done = self.prediction.done if self.prediction is not None else ()
        return f"{len(done)} of {len(self._request.source.planes)} planes are labelled." if done else super().cancelled_text()

    def script(self) -> str:
        """Write training and labelling."""
        source = self.source()
        lines = self.extract_script()
        if self.loaded is None:
            painted = read_layer(self.scribbles.value(), point=world_point(self.viewer))
            lines += [*script.layer_lines(painted, variable="scribbles"), self.config().to_python()]
        else:
            lines += ["probe = nd.Probe.load('probe.npz')  # the file you loaded", "labels = probe.predict(features)"]
        lines.append(script.add_line("labels", "labels", name=f"{source.placement.name} labels", placement=source.placement,
                                     transform=source.placement.pixel_transform()))
        return script.script_of(lines)

    def save_probe(self, path: str | Path | None = None) -> None:
        """Write the probe to a file; asks for one where none is given."""
        probe = self.loaded or (self.prediction.probe if self.prediction is not None else None)
        path = path or QFileDialog.getSaveFileName(self, "Save the probe", "probe.npz", PROBE_FILTER)[0]
        if not path or probe is None:
            return
        try:
            self.say("done", f"The probe is in {probe.save(path, overwrite=True)}.")
        except (InputError, OSError) as error:
            self.say("error", error_text(error))

    def load_probe(self, path: str | Path | None = None) -> None:
        """Read a probe from a file and use it instead of scribbles; asks for a file where none is given."""
        path = path or QFileDialog.getOpenFileName(self, "Load a probe", "", PROBE_FILTER)[0]
        if not path:
            return
        try:
            self.loaded = Probe.load(path)
        except (InputError, OSError) as error:
            self.say("error", error_text(error))
            return
        self.changed()

    def forget_probe(self) -> None:
        """Train on scribbles again."""
        self.loaded = None
        self.changed()

    def _probe_files(self) -> QWidget:
        self.probe_text = wrapped_label(FROM_SCRIBBLES, name="probe")
        self.save_button, self.load_button = QPushButton("Save probe…"), QPushButton("Load probe…")
        self.forget_button = QPushButton("Forget")
        whole, row = QWidget(), QHBoxLayout()
        column = QVBoxLayout(whole)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.probe_text)
        column.addLayout(row)
        for button, tip, slot in (
            (self.save_button, "Write the trained probe to a file.", self.save_probe),
            (self.load_button, "Use a probe from a file instead of scribbles.", self.load_probe),
            (self.forget_button, "Train on the scribbles again.", self.forget_probe),
        ):
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, slot=slot: slot())
            row.addWidget(button)
        return whole

    def _painted(self) -> Planes:
        return read_layer(self.scribbles.value(), point=world_point(self.viewer)).planes

    def _show_labels(self, prediction: Prediction) -> Any:
        placement = self._request.source.placement
        data = placement.arrange(prediction.labels)
        metadata = provenance("probe", source=placement.name, settings=self._config.options(), script=self.ran_script,
                              features=prediction.features.provenance if prediction.features is not None else {})

        def add() -> Any:
            return results.add_pixels(self.viewer, placement, prediction.labels, kind="labels", name=f"{placement.name} labels",
                                      metadata=metadata, opacity=0.5)

        self._shown = prediction
        return self.owned.show(data, belongs_to=self._request.place, metadata=metadata, add=add)

    def _on_progress(self, event: Progress) -> None:
        super()._on_progress(event)
        if self.prediction is None or not self.prediction.done:
            return
        if self._shown is self.prediction:
            self.owned.refresh()
        else:
            self._show_labels(self.prediction)

    def _on_reference(self, *_: Any) -> None:
        """Compare what is there with a newly chosen reference."""
        reference = self.reference.value()
        self.changed()
        if reference is None or self.prediction is None or not self.prediction.complete or self.runner.running:
            self.report.setText("" if reference is None else "The next run is compared with it.")
            return
        self.start(segmentation.report_steps(self.prediction.labels, self._truth()), "Comparing", self._show_report)

    def _truth(self) -> Planes:
        return read_layer(self.reference.value(), point=world_point(self.viewer)).planes

    def _show_report(self, report: str) -> str:
        self.report.setText(report)
        return "Compared with the reference."
