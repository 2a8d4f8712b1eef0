"""Segment: paint a few scribbles, and a probe on the features labels the plane in view, then every other plane.

What happens between a stroke and its answer is in :mod:`napari_dinov3.widgets.segment.live_panel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QCheckBox, QFileDialog, QPushButton

from napari_dinov3._napari import results
from napari_dinov3._napari.companion import read_companion
from napari_dinov3._napari.compat import unwrap
from napari_dinov3._napari.layers import Source
from napari_dinov3._napari.provenance import provenance
from napari_dinov3._napari.segment import live
from napari_dinov3._napari.segment import script as segmentation_script
from napari_dinov3._napari.segment import soft_layers as segmentation
from napari_dinov3._napari.segment.classes import copy_of, names_of
from napari_dinov3._napari.segment.file_examples import file_example_steps
from napari_dinov3._napari.segment.live import Round
from napari_dinov3._napari.segment.prediction import Prediction
from napari_dinov3._napari.segment.result_layer import adopt_classes, prepare, result_text, show_labels
from napari_dinov3._napari.segment.scribble_book import Painted
from napari_dinov3._napari.segment.training_examples import Example, scale_warning
from napari_dinov3.errors import InputError
from napari_dinov3.image import Planes
from napari_dinov3.progress import Job
from napari_dinov3.recipe import ProbeConfig
from napari_dinov3.segment.probe import Probe
from napari_dinov3.widgets.form import Form, wrapped_label
from napari_dinov3.widgets.layer_chooser import LayerChooser
from napari_dinov3.widgets.panel import field_row
from napari_dinov3.widgets.segment.class_editor import ClassEditor
from napari_dinov3.widgets.segment.classes import ClassTable
from napari_dinov3.widgets.segment.examples import ExampleList
from napari_dinov3.widgets.segment.learning_curve import LearningCurve
from napari_dinov3.widgets.segment.live_panel import NAME, PROBES, LivePanel
from napari_dinov3.widgets.segment.paint_next import PaintNext
from napari_dinov3.widgets.segment.probe_files import ProbeFiles
from napari_dinov3.widgets.segment.scribble_watch import ScribbleWatch
from napari_dinov3.widgets.segment.settings import FIELDS, MORE_FIELDS, probe_config
from napari_dinov3.widgets.status import error_text
from napari_dinov3.wording import counted

NEW_SCRIBBLES = "New scribbles layer"
"""Text of the button; messages name it."""


class SegmentPanel(LivePanel):
    """Scribbles to labels."""

    title = "Segment by scribbles"
    summary = "Paint a few strokes of each class; every pixel of every plane is labelled."
    run_text = "Train and label"
    help_text = (
        "1. Choose the image, then 'New scribbles layer'.\n"
        "2. Paint a few strokes of class 1, then of class 2 (key M takes the next free label). A few planes are enough.\n"
        "3. With 'Live' on, every stroke trains again: the plane in view is labelled first, then the others. Paint where it is "
        "wrong; undo takes a stroke's effect back. 'Train and label' does the same once, and computes missing features first.\n"
        "4. 'Where to paint next' goes to the region the probe is least sure of.\n"
        "5. Save the probe to use it on another image with the same features."
    )

    def build_task(self) -> None:
        """Add scribbles, classes, probe, training set and report."""
        self.begin_live()
        self._build_scribbles()
        self.form, self.more_form = Form(FIELDS), Form(MORE_FIELDS)
        self.files = ProbeFiles(lambda: self.session.kept(PROBES), self.say)
        self.examples = ExampleList()
        self.reference = LayerChooser(
            self.viewer,
            ("Labels",),
            label="Reference labels",
            optional="none",
            tooltip="Labels layer with the truth, to measure the result against.",
        )
        self.report = wrapped_label(self.prediction.report if self.prediction is not None else "", name="report")
        self.section("Scribbles", field_row("Layer", self.scribbles), self.new_button, self.classes, self.live, self.next)
        self.curve = LearningCurve()
        self.section("Probe", self.form, self.curve, self.files)
        self.folded_section("More settings of the probe", self.more_form)
        self.folded_section("Train on several images", self.examples)
        self.section("Compare with a reference", field_row("Labels", self.reference), self.report)
        for widget in (self.scribbles, self.form, self.more_form, self.files):
            widget.valueChanged.connect(self.changed)
        self.live.toggled.connect(self.changed)
        self.examples.added.connect(self.add_example)
        self.examples.filesWanted.connect(lambda: self.add_example_files())
        self.examples.removed.connect(self.remove_example)
        self.reference.valueChanged.connect(self._on_reference)
        steps = unwrap(self.viewer).dims.events.current_step
        steps.connect(self.on_view)
        self.on_close(self.scribbles.dispose, self.reference.dispose, partial(steps.disconnect, self.on_view))
        self.on_close(self.watch.stop, self.editor.stop, self.next.dispose)

    def _build_scribbles(self) -> None:
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
        self.live = QCheckBox("Live: answer every stroke")
        self.live.setToolTip("Train and label again after every stroke, the plane in view first.")
        self.live.setChecked(True)
        self.watch = ScribbleWatch(self._scribble_source, lambda: self._plane, self)
        self.watch.painted.connect(self.on_painted)
        self.watch.failed.connect(self.on_unreadable)
        self.watch.recoloured.connect(self._on_recoloured)
        self.classes = ClassTable()
        self.editor = ClassEditor(self.viewer, self.classes, self._scribble_source, self.say, self)
        self.editor.replaced.connect(self.scribbles.setValue)
        self.editor.changed.connect(self._on_recoloured)
        self.next = PaintNext(self.viewer, self.session.owned(NAME, "next"), lambda: (self._round, self._painted), self.say)

    # what is there

    @property
    def prediction(self) -> Prediction | None:
        """The last one that ended well; it outlives the panel, but not its image."""
        run: Round | None = self.session.kept(NAME).get("run")
        return None if run is None else run.prediction

    @property
    def trained(self) -> Probe | None:
        """The probe that was trained last, also by a run that was cancelled later."""
        return self.files.trained

    @property
    def loaded(self) -> Probe | None:
        """The probe from a file that is used instead of scribbles."""
        return self.files.loaded

    @property
    def training_set(self) -> list[Example]:
        """Other images that train the probe; they outlive the panel."""
        examples: list[Example] = self.session.kept(PROBES).setdefault("examples", [])
        return examples

    # settings

    def value(self) -> dict[str, Any]:
        """Read every setting."""
        chosen = {"scribbles": self.scribbles.value(), "reference": self.reference.value()}
        ids = {name: None if layer is None else layer.unique_id for name, layer in chosen.items()}
        return {**super().value(), **ids, **self.form.value(), **self.more_form.value(), "live": self.live.isChecked()}

    def setValue(self, value: Mapping[str, Any]) -> None:
        """Set some or all settings."""
        super().setValue(value)
        self.form.setValue(value)
        self.more_form.setValue(value)
        self.live.setChecked(bool(value.get("live", self.live.isChecked())))
        for name, chooser in (("scribbles", self.scribbles), ("reference", self.reference)):
            if value.get(name) is not None:
                chooser.setValue(value[name])
        self.look_at_view()
        self.fill_soft()  # a panel that was opened again goes on with it

    def config(self) -> ProbeConfig:
        """Give the probe's settings."""
        return probe_config({**self.form.value(), **self.more_form.value()})

    def problem(self) -> str:
        """Ask for an image, then for scribbles, a training set or a loaded probe."""
        problem = super().problem()
        if problem or self.loaded is not None:
            return problem
        if self.scribbles.value() is None and not self.training_set:
            return f"there are no scribbles; press '{NEW_SCRIBBLES}' and paint a few strokes of each class."
        return ""

    def changed(self, *_: Any) -> None:
        """Take note of a changed setting; with live on, answer it."""
        super().changed()
        if not self._restoring:
            self.watch.look()
            self.fill_soft()  # the image may be another one, or gone

    def refresh(self, *_: Any) -> None:
        """Bring buttons in step, the task's own too."""
        super().refresh()
        layer = self.scribbles.value()
        self.watch.follow(layer)
        self.editor.follow(layer)
        self.look_at_view()
        self.new_button.setEnabled(self.image.value() is not None)
        self.form.editor("head").setEnabled(self.loaded is None)
        self.more_form.setEnabled(self.loaded is None)
        self.files.refresh()
        self.examples.setValue(self.training_set)
        self.examples.add_button.setEnabled(layer is not None and self.image.value() is not None)
        self.next.refresh()

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
        self._painted = None
        self.scribbles.setValue(layer)
        if self.live.isChecked() and self.loaded is None and self.owned.layer is None:
            work = self.make_round(None)
            self._canvas = prepare(self.viewer, self.owned, work)

    # a round

    def make_job(self) -> Job[Prediction]:
        """Train and label all planes, the visible one first."""
        scribbles = None if self.loaded or self.scribbles.value() is None else self._scribble_source().planes
        return self.steps_of(self.make_round(scribbles))

    def make_round(self, scribbles: Planes | Painted | None, *, everything: bool = True) -> Round:
        """Make a round from the present settings."""
        request, config, layer, loaded = self.request(), self.config(), self.scribbles.value(), self.loaded
        return Round(
            request,
            Prediction(loaded or Probe(**config.arguments)),
            config,
            script=self.ran_script,
            scribbles=scribbles,
            examples=() if loaded else tuple(self.training_set),
            truth=None if self.reference.value() is None else self._truth(request.source),
            everything=everything,
            previous=None if loaded else self.trained,
            names=self._names(),
            colormap=None if layer is None else copy_of(layer.colormap),
            painted_in=None if layer is None else layer.unique_id,
        )

    def show_result(self, result: Prediction) -> str:
        """Show all labels, and what else was asked for."""
        run = self._round
        assert run is not None and run.prediction is result  # only called for the run that was made last
        layer = self.show_labels(run)
        self.owned.refresh_thumbnail()
        self.session.kept(NAME).update(layer_id=run.request.source.placement.layer_id, run=run)
        soft = self.show_soft(run)
        self.soft.draw_thumbnails()
        self.refresh()
        self.report.setText(result.report)
        warning = "" if result.features is None else scale_warning(run.examples, result.features)
        return result_text(self.viewer, run, layer, soft, warning)

    def cancelled_text(self) -> str:
        """Say how many planes are labelled."""
        run = self._round
        if run is None or not run.prediction.done:
            return super().cancelled_text()
        return f"{len(run.prediction.done)} of {counted(len(run.request.source.planes), 'plane')} labelled."

    def script(self) -> str:
        """Write training and labelling."""
        source = self.source()
        layer = self.scribbles.value()
        painted = None if layer is None or self.loaded else read_companion(layer, source)
        return segmentation_script.segment_script(
            source,
            self.extract_script(),
            scribbles=painted,
            examples=() if self.loaded else self.training_set,
            config=self.config() if self.loaded is None else ProbeConfig(refine=self.loaded.options.refine),
            path=self.files.path if self.loaded else None,
            names=self._names(),
            **self.soft_wanted(),
        )

    # the training set

    def add_example(self) -> None:
        """Keep the chosen image and its scribbles in the training set."""
        try:
            work = self.make_round(self._scribble_source().planes)
            lines = segmentation_script.example_lines(self.extract_script(), self._scribble_source())
        except InputError as error:
            self.say("error", error_text(error))
            return
        name = "" if self.scribbles.value() is None else self.scribbles.value().name
        self.start(live.example_steps(self.session, work, name, lines), "Adding to the training set", self._on_example)

    def add_example_files(self, image: Any = None, scribbles: Any = None) -> None:
        """Add an image file and the file of its scribbles to the training set; asks for files that are not given."""
        image = image or QFileDialog.getOpenFileName(self, "Image of the training set")[0]
        scribbles = scribbles or (image and QFileDialog.getOpenFileName(self, "Scribbles on this image")[0])
        if image and scribbles:
            paths = Path(image).resolve(), Path(scribbles).resolve()
            job = file_example_steps(*paths, self.session.features_config, self.training_set)
            self.start(job, "Adding to the training set", self._on_example)

    def remove_example(self, index: int) -> None:
        """Take an image out of the training set."""
        del self.training_set[index]
        self.changed()

    def _on_example(self, example: Example) -> str:
        self.training_set.append(example)
        self.changed()
        return f"{example.text} is in the training set."

    # files

    def save_probe(self, path: Any = None) -> None:
        """Write the probe to a file; asks for one where none is given."""
        self.files.save(path)

    def load_probe(self, path: Any = None) -> None:
        """Read a probe from a file and use it instead of scribbles; asks for a file where none is given."""
        self.files.load(path)

    def forget_probe(self) -> None:
        """Train on scribbles again."""
        self.files.forget()

    # layers

    def _scribble_source(self) -> Source:
        layer = self.scribbles.value()
        if self.image.value() is None or layer is None:
            raise InputError("The image or its scribbles are gone", "an image and a labels layer", "Choose both again")
        return read_companion(layer, self.source())

    def _truth(self, image: Source) -> Planes:
        return read_companion(self.reference.value(), image).planes

    def _names(self) -> dict[int, str]:
        """Give the names of classes: those of a loaded probe, else those of the scribbles."""
        layer = self.scribbles.value()
        if self.loaded is not None and self.loaded.class_names:
            return dict(self.loaded.class_names)
        return {} if layer is None else names_of(layer)

    def soft_wanted(self) -> dict[str, bool]:
        """Say whether probabilities and uncertainty are asked for."""
        value = self.form.value()
        return {"probability": value["probability"], "uncertainty": value["uncertainty"]}

    def show_labels(self, run: Round) -> Any:
        """Show what is labelled by now; give the layer."""
        layer = show_labels(self.viewer, self.owned, run, self._canvas)
        self._canvas = run.canvas
        return layer

    # events

    def _on_recoloured(self) -> None:
        """Give the result the colours and names of the scribbles."""
        layer = self.scribbles.value()
        self.editor.refresh()
        if layer is not None and self._round is not None and self._round.canvas is not None:
            adopt_classes(self.owned, layer, self._round)

    def _on_reference(self, *_: Any) -> None:
        """Compare what is there with a newly chosen reference."""
        if self._restoring:
            return
        self.changed()
        run: Round | None = self.session.kept(NAME).get("run")
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
        run: Round | None = self.session.kept(NAME).get("run")
        if run is not None:
            run.prediction.report = report
        self.report.setText(report)
        return f"Compared with the reference. {report.splitlines()[0]}."
