"""Segment: paint a few scribbles, train a probe on the features, and label every pixel of every plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_dinov3._napari import results, script, segmentation
from napari_dinov3._napari.companion import read_companion
from napari_dinov3._napari.jobs import FeatureRequest
from napari_dinov3._napari.layers import Source
from napari_dinov3._napari.provenance import provenance
from napari_dinov3._napari.segmentation import Canvas, Prediction
from napari_dinov3.errors import InputError
from napari_dinov3.image import Planes
from napari_dinov3.progress import Job, Progress
from napari_dinov3.recipe import ProbeConfig
from napari_dinov3.segment.probe import Probe
from napari_dinov3.widgets.form import Choice, Flag, Form, wrapped_label
from napari_dinov3.widgets.image_panel import ImagePanel
from napari_dinov3.widgets.layer_chooser import LayerChooser
from napari_dinov3.widgets.panel import field_row
from napari_dinov3.widgets.runner import Cancelled, Done, Failed
from napari_dinov3.widgets.status import error_text

HEADS = (
    ("kernel", "kernel"),
    ("linear", "linear"),
    ("boosting", "boosted trees"),
    ("forest", "random forest"),
    ("prototypes", "prototypes"),
)
FIELDS = (
    Choice(
        "head",
        "Head",
        "Kernel suits the filter bank, linear suits learned features, prototypes one click a class.",
        "kernel",
        HEADS,
    ),
    Flag("probability", "Probability layers", "Also add one layer a class with its probability, computed when looked at.", False),
    Flag("uncertainty", "Uncertainty layer", "Also add a layer that is bright where more scribbles help most.", False),
)
FROM_SCRIBBLES = "The probe is trained on the scribbles."
PROBE_FILTER = "Probes (*.npz)"
NEW_SCRIBBLES = "New scribbles layer"
"""Text of the button; messages name it."""


_NAME, _PROBES = "SegmentPanel", "SegmentPanel probes"
"""Of this panel in the session: what goes with its image, and the probes, which serve other images too."""


@dataclass(slots=True, eq=False)
class SegmentRun:
    """One press of Run.

    Parameters
    ----------
    request : FeatureRequest
        What it works on.
    prediction : Prediction
        Filled by the job.
    config : ProbeConfig
        How the probe is made.
    script : str
        The same as Python.
    canvas : Canvas or None
        What the labels layer shows of it, once it shows something.
    """

    request: FeatureRequest
    prediction: Prediction
    config: ProbeConfig
    script: str
    canvas: Canvas | None = None


class SegmentPanel(ImagePanel):
    """Scribbles to labels."""

    title = "Segment by scribbles"
    summary = "Paint a few strokes of each class; every pixel of every plane is labelled."
    run_text = "Train and label"
    help_text = (
        "1. Choose the image, then 'New scribbles layer'.\n"
        "2. Paint a few strokes of class 1, then of class 2 (key M takes the next free label). A few planes are enough.\n"
        "3. Train and label: the features of the whole stack are computed first, once; then planes are labelled, the one in view "
        "first. Paint where it is wrong, and run again; the labels are replaced unless you have edited them.\n"
        "4. Save the probe to use it on another image with the same features."
    )

    def build_task(self) -> None:
        """Add scribbles, probe and report."""
        self.owned = self.session.owned(_NAME)
        self._run: SegmentRun | None = None
        self.scribbles = LayerChooser(
            self.viewer,
            ("Labels",),
            label="Scribbles",
            optional="none",
            tooltip="Labels layer with a few painted strokes of each class; 0 is unlabelled.",
        )
        self.new_button = QPushButton(NEW_SCRIBBLES)
        self.new_button.setToolTip("Add an empty labels layer of the image's shape and start painting class 1.")
        self.new_button.clicked.connect(self.new_scribbles)
        self.form = Form(FIELDS)
        self.reference = LayerChooser(
            self.viewer,
            ("Labels",),
            label="Reference labels",
            optional="none",
            tooltip="Labels layer with the truth, to measure the result against.",
        )
        self.report = wrapped_label(self.prediction.report if self.prediction is not None else "", name="report")
        self.section("Scribbles", field_row("Layer", self.scribbles), self.new_button)
        self.section("Probe", self.form, self._probe_files())
        self.section("Compare with a reference", field_row("Labels", self.reference), self.report)
        for widget in (self.scribbles, self.form):
            widget.valueChanged.connect(self.changed)
        self.reference.valueChanged.connect(self._on_reference)
        self.on_close(self.scribbles.dispose, self.reference.dispose)

    @property
    def prediction(self) -> Prediction | None:
        """The last one that ended well; it outlives the panel, but not its image."""
        run = self.session.kept(_NAME).get("run")
        return None if run is None else run.prediction

    @property
    def trained(self) -> Probe | None:
        """The probe that was trained last, also by a run that was cancelled later."""
        probe: Probe | None = self.session.kept(_PROBES).get("trained")
        return probe

    @property
    def loaded(self) -> Probe | None:
        """The probe from a file that is used instead of scribbles."""
        probe: Probe | None = self.session.kept(_PROBES).get("loaded", (None, ""))[0]
        return probe

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
        self.save_button.setEnabled(self.trained is not None or self.loaded is not None)
        self.form.editor("head").setEnabled(self.loaded is None)
        self.probe_text.setText(
            FROM_SCRIBBLES
            if self.loaded is None
            else f"A loaded probe is used; classes {', '.join(map(str, self.loaded.classes_))}."
        )
        self.forget_button.setHidden(self.loaded is None)

    def new_scribbles(self) -> None:
        """Add an empty labels layer over the image, ready to paint."""
        source = self.source()
        name = source.placement.name
        layer = results.empty_labels(
            self.viewer,
            source.placement,
            source.planes.shape,
            name=f"{name} scribbles",
            metadata=provenance("scribbles", source=name, settings={}),
        )
        layer.brush_size = max(3, min(source.planes.shape[1:]) // 64)
        layer.mode = "paint"
        self.scribbles.setValue(layer)

    def make_job(self) -> Job[Prediction]:
        """Train and label, the visible plane first."""
        request, config = self.request(), self.config()
        scribbles = None if self.loaded else self._painted(request.source)
        truth = None if self.reference.value() is None else self._truth(request.source)
        prediction = Prediction(self.loaded or Probe(**config.options()))
        self._run = SegmentRun(request, prediction, config, self.ran_script)
        return segmentation.prediction_steps(self.session, request, prediction, scribbles=scribbles, truth=truth)

    def show_result(self, result: Prediction) -> str:
        """Show all labels, and what else was asked for."""
        run = self._run
        assert run is not None and run.prediction is result  # only called for the run that was made last
        layer = self._show_labels(run)
        self.session.kept(_NAME).update(layer_id=run.request.source.placement.layer_id, run=run)
        soft = self._show_soft_layers(run)
        self.refresh()
        self.report.setText(result.report)
        more = f" and {len(soft)} more, hidden at first" if soft else ""
        measured = f" {result.report.splitlines()[0]}." if result.report else ""
        return f"Classes {', '.join(map(str, result.probe.classes_))} in layer {layer.name!r}{more}.{measured}"

    def cancelled_text(self) -> str:
        """Say how many planes are labelled."""
        run = self._run
        if run is None or not run.prediction.done:
            return super().cancelled_text()
        return f"{len(run.prediction.done)} of {len(run.request.source.planes)} planes are labelled."

    def script(self) -> str:
        """Write training and labelling."""
        source = self.source()
        lines = self.extract_script()
        if self.loaded is None:
            painted = read_companion(self.scribbles.value(), source)
            probe = self.config().to_python().removeprefix("labels = ").removesuffix(".predict(features)")
            lines += [*script.layer_lines(painted, variable="scribbles"), f"probe = {probe}"]
        else:
            path = self.session.kept(_PROBES)["loaded"][1]
            lines.append(f"probe = nd.Probe.load({path!r})")
        lines.append("labels = probe.predict(features)")
        lines.append(
            script.add_line(
                "labels",
                "labels",
                name=f"{source.placement.name} labels",
                placement=source.placement,
                transform=source.placement.pixel_transform(),
            )
        )
        lines += segmentation.soft_script(source.placement, **self._soft_wanted())
        return script.script_of(lines)

    def save_probe(self, path: str | Path | None = None) -> None:
        """Write the probe to a file; asks for one where none is given."""
        probe = self.loaded or self.trained
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
            self.session.kept(_PROBES)["loaded"] = Probe.load(path), str(Path(path).resolve())
        except (InputError, OSError) as error:
            self.say("error", error_text(error))
            return
        self.changed()

    def forget_probe(self) -> None:
        """Train on scribbles again."""
        self.session.kept(_PROBES).pop("loaded", None)
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

    def _painted(self, image: Source) -> Planes:
        return read_companion(self.scribbles.value(), image).planes

    def _truth(self, image: Source) -> Planes:
        return read_companion(self.reference.value(), image).planes

    def _soft_wanted(self) -> dict[str, bool]:
        value = self.form.value()
        return {"probability": value["probability"], "uncertainty": value["uncertainty"]}

    def _show_soft_layers(self, run: SegmentRun) -> list[Any]:
        return segmentation.show_soft_layers(
            self.viewer,
            partial(self.session.owned, _NAME),
            run.request,
            run.prediction,
            metadata=self._metadata(run),
            **self._soft_wanted(),
        )

    def _metadata(self, run: SegmentRun) -> dict[str, Any]:
        features = run.prediction.features
        return provenance(
            "probe",
            source=run.request.source.placement.name,
            settings=run.config.options(),
            script=run.script,
            features=features.provenance if features is not None else {},
        )

    def _show_labels(self, run: SegmentRun) -> Any:
        """Show what is labelled by now: in the layer that shows this run, else in the one of the last run, or a new one."""
        if run.canvas is not None and self.owned.showing:
            run.canvas.catch_up()
            self.owned.refresh()
            return self.owned.layer
        canvas, placement, metadata = Canvas(run.prediction), run.request.source.placement, self._metadata(run)
        run.canvas = canvas

        def add() -> Any:
            return results.add_pixels(
                self.viewer,
                placement,
                canvas.array,
                kind="labels",
                name=f"{placement.name} labels",
                metadata=metadata,
                opacity=0.5,
            )

        return self.owned.show(placement.arrange(canvas.array), belongs_to=run.request.place, metadata=metadata, add=add)

    def _on_progress(self, event: Progress) -> None:
        super()._on_progress(event)
        self._show_progress()

    def _show_progress(self) -> None:
        run = self._run
        if run is not None and run.prediction.done and (run.canvas is None or self.owned.showing):
            self._show_labels(run)

    def _on_finished(self, outcome: Done | Failed | Cancelled) -> None:
        run = self._run
        if run is not None and run.prediction.trained and self.loaded is not run.prediction.probe:
            self.session.kept(_PROBES)["trained"] = run.prediction.probe
        self._show_progress()  # what the last events did not bring any more
        super()._on_finished(outcome)

    def _on_reference(self, *_: Any) -> None:
        """Compare what is there with a newly chosen reference."""
        if self._restoring:
            return
        self.changed()
        run: SegmentRun | None = self.session.kept(_NAME).get("run")
        if self.reference.value() is None or run is None or not run.prediction.complete or self.runner.running:
            self.report.setText("" if self.reference.value() is None else "The next run is compared with it.")
            return
        try:
            truth = self._truth(run.request.source)
        except InputError as error:
            self.say("error", error_text(error))
            return
        self.start(segmentation.report_steps(run.prediction.labels, truth), "Comparing", self._show_report)

    def _show_report(self, report: str) -> str:
        run: SegmentRun | None = self.session.kept(_NAME).get("run")
        if run is not None:
            run.prediction.report = report
        self.report.setText(report)
        return f"Compared with the reference. {report.splitlines()[0]}."
