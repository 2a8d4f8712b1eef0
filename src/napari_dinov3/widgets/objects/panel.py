"""Objects: make them of classes or a probability, look at their measures, and classify them by a few clicked examples."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog, QPushButton

from napari_dinov3._napari import script
from napari_dinov3._napari.companion import read_companion
from napari_dinov3._napari.compat import world_point
from napari_dinov3._napari.layers import Source, read_layer
from napari_dinov3._napari.objects import layers as object_layers
from napari_dinov3._napari.objects import tasks as objects
from napari_dinov3._napari.objects.tasks import Answer, ObjectWork
from napari_dinov3.errors import FallbackWarning, InputError
from napari_dinov3.io import write_steps
from napari_dinov3.objects.classifier import ObjectClassifier
from napari_dinov3.objects.instances import Instances
from napari_dinov3.objects.table import ObjectTable
from napari_dinov3.progress import Job, collect
from napari_dinov3.recipe import ObjectsConfig
from napari_dinov3.widgets.click_picker import ClickPicker
from napari_dinov3.widgets.feature_facts import missing_text
from napari_dinov3.widgets.form import Form, wrapped_label
from napari_dinov3.widgets.image_panel import NO_IMAGE, ImagePanel
from napari_dinov3.widgets.layer_chooser import LayerChooser
from napari_dinov3.widgets.objects.settings import MAKE_FIELDS, can_be_parted, objects_config, shown_fields
from napari_dinov3.widgets.objects.table import ObjectTableView
from napari_dinov3.widgets.objects.teaching import TeachingForm
from napari_dinov3.widgets.panel import field_row
from napari_dinov3.widgets.runner import Cancelled, Done, Failed
from napari_dinov3.widgets.status import error_text
from napari_dinov3.wording import counted

NO_LABELS = "there is no labels layer or probability to make objects of; segment the image first, or paint labels."
NO_OBJECTS = "choose the layer of the objects; make objects above, or open labels with one number an object."
CLASSIFIER_FILTER = "Object classifiers (*.npz)"
_NAME = "ObjectsPanel"


class ObjectsPanel(ImagePanel):
    """Objects, their table and their classes."""

    title = "Objects"
    summary = "Turn classes into objects, measure them, and classify them by a few clicks."
    run_text = "Make objects"
    help_text = (
        "1. Make objects: choose a labels layer (or the probability of a class) and how touching objects are parted.\n"
        "2. Objects: the table lists them; a click on a row shows the object. Any labels with one number an object will do.\n"
        "3. Teach classes: choose a class, press 'Teach by clicks' and click one or more objects of it; then the next class. "
        "The features are computed at the first click; every further click classifies all objects of all planes at once."
    )

    def build_task(self) -> None:
        """Add making, table and teaching."""
        self.owned = self.session.owned(_NAME, "objects")
        self.owned_classes = self.session.owned(_NAME, "classes")
        self._wanted: tuple[Source, ObjectsConfig, str] | None = None
        self._again = False
        self.picker = ClickPicker(self.viewer, self._on_click, lambda: self.teaching.teach_button.setChecked(False))
        self.labels = LayerChooser(
            self.viewer,
            ("Labels", "Image"),
            label="Make objects of",
            tooltip="Labels with classes of pixels, or the probability of one class.",
            accept=can_be_parted,
        )
        first = next((layer for layer in reversed(list(self.viewer.layers)) if object_layers.holds_classes(layer)), None)
        self.labels.setValue(first)  # a picture of decimals may be a probability, but labels are what is usually meant
        self.form = Form(MAKE_FIELDS)
        self.objects = LayerChooser(
            self.viewer, ("Labels",), label="Objects", optional="none", tooltip="Labels layer with one number an object."
        )
        self.measure_button, self.export_button = QPushButton("Measure"), QPushButton("Save table…")
        self.measure_button.clicked.connect(self.measure)
        self.export_button.clicked.connect(lambda _=False: self.export())
        self.table_text = wrapped_label(name="table_text")
        self.table = ObjectTableView()
        self.teaching = TeachingForm()
        self.section("Make objects", field_row("Of", self.labels), self.form)
        self.section(
            "Objects", field_row("Layer", self.objects), self.measure_button, self.table_text, self.table, self.export_button
        )
        self.section("Teach classes", self.teaching)
        self._connect()

    @property
    def work(self) -> ObjectWork | None:
        """What is known of the chosen objects."""
        layer = self.objects.value()
        return None if layer is None else objects.work_of(self.session, layer)

    def value(self) -> dict[str, Any]:
        """Read every setting."""
        chosen = {"labels": self.labels.value(), "objects": self.objects.value()}
        ids = {name: None if layer is None else layer.unique_id for name, layer in chosen.items()}
        return {**super().value(), **ids, **self.form.value(), **self.teaching.value()}

    def setValue(self, value: Mapping[str, Any]) -> None:
        """Set some or all settings."""
        super().setValue(value)
        self.form.setValue(value)
        self.teaching.setValue(value)
        for name, chooser in (("labels", self.labels), ("objects", self.objects)):
            if value.get(name) is not None:
                chooser.setValue(value[name])

    def config(self) -> ObjectsConfig:
        """Give the settings of making objects as a recipe's."""
        value = self.form.value()
        probability = self._is_probability()
        return objects_config(value if probability else {**value, "landscape": "distance", "threshold": 0.5})

    def problem(self) -> str:
        """Ask for labels to make objects of, in the place of the image where there is one."""
        if self.labels.value() is None:
            return NO_LABELS
        self._beside(self.labels.value())
        return ""

    def teach_problem(self) -> str:
        """Say why objects cannot be taught; empty where they can."""
        if self.image.value() is None:
            return f"Cannot teach: {NO_IMAGE}"
        if self.objects.value() is None:
            return f"Cannot teach: {NO_OBJECTS}"
        missing = missing_text(self.session.features_config.backbone)
        if missing:
            return missing
        try:
            self._beside(self.objects.value())
        except InputError as error:
            return str(error)
        return ""

    def refresh(self, *_: Any) -> None:
        """Bring everything in step with the settings and with what is known of the objects."""
        super().refresh()
        for name, shown in shown_fields(self.form.value(), probability=self._is_probability()).items():
            self.form.set_shown(name, shown)
        work, running = self.work, self.runner.running
        why_not = self.teach_problem()
        self.measure_button.setEnabled(work is not None and not running)
        self.measure_button.setToolTip(NO_OBJECTS if work is None else "Measure every object, in the image where there is one.")
        self.export_button.setEnabled(work is not None and work.table is not None and not running)
        self.export_button.setToolTip("Write the table as CSV, with how it was made in a file beside it.")
        self.teaching.show_state(
            names={} if work is None else work.names,
            summary=why_not or ("" if work is None else work.summary()),
            examples=work is not None and bool(work.history),
            taught=work is not None and (work.taught is not None or work.loaded is not None),
            why_not=why_not,
        )

    def make_job(self) -> Job[tuple[Instances, ObjectTable]]:
        """Make and measure objects."""
        source, image = self._beside(self.labels.value())
        self._wanted = (source, self.config(), self.ran_script)
        return objects.make_steps(source, None if image is None else image.planes, self._wanted[1])

    def show_result(self, result: tuple[Instances, ObjectTable]) -> str:
        """Show the objects, their features and their table."""
        assert self._wanted is not None  # only called for a job of make_job
        made, table = result
        layer = object_layers.show_objects(self.viewer, self.owned, self._wanted[0], made, self._wanted[1], self._wanted[2])
        work = objects.work_of(self.session, layer)
        work.forget()
        work.loaded, work.classes, work.taught = None, None, None
        if made.count:
            objects.write_columns(layer, table, work.written)
        self.objects.setValue(layer)
        work.table, work.measured_at = table, self._state(layer)
        self._show_table()
        self.refresh()
        sizes = f" (sizes {self._wanted[1].min_size:g} and more)" if not made.count and self._wanted[1].min_size else ""
        return f"{counted(made.count, 'object')} in {layer.name!r}{sizes}."

    def script(self) -> str:
        """Write making objects, and their classes where there are any."""
        lines: list[str] = []
        layer, work = self.objects.value(), self.work
        classified = work if work is not None and work.classes is not None else None
        if classified is None or self._was_made(layer):
            source, image = self._beside(self.labels.value())
            measured = self.image_script() if image is not None else []
            lines += [*measured, *object_layers.make_lines(source, self.config(), image)]
        if classified is not None:
            lines += self._class_lines(self._beside(layer)[0], classified)
        return script.script_of(lines)

    def measure(self) -> None:
        """Measure the chosen objects."""
        layer = self.objects.value()
        if layer is None:
            return
        try:
            source, image = self._beside(layer)
        except InputError as error:
            self.say("error", error_text(error))
            return
        state = self._state(layer)
        job = objects.measure_steps(source, None if image is None else image.planes)
        self.start(job, "Measuring", lambda table: self._show_measures(layer, table, state))

    def export(self, path: str | Path | None = None) -> None:
        """Write the table to a file; asks for one where none is given."""
        work = self.work
        if work is None or work.table is None:
            return
        path = path or QFileDialog.getSaveFileName(self, "Save the table", "objects.csv", "Tables (*.csv *.json)")[0]
        if path:
            table = objects.full_table(work)
            self.start(
                write_steps(path, table, overwrite=True), "Writing", lambda at: f"{counted(len(table), 'object')} in {at}."
            )

    def teach(self, label: int, value: int) -> None:
        """Make an object an example of a class, and classify all objects anew."""
        if self.work is not None:
            self.work.teach(label, value)
            self.classify()

    def classify(self) -> None:
        """Classify all objects by the examples, or by the loaded classifier; the newest examples win."""
        work, why_not = self.work, self.teach_problem()
        if work is None or why_not or not (work.examples or work.loaded):
            self.refresh()
            return
        if self.runner.running:  # pooling goes on, and the examples of now are taken up when it is done
            self._again = True
            return
        layer = self.objects.value()
        source, _ = self._beside(layer)
        request, state = self.request(), objects.state_of(self.session, layer, source)
        job = objects.classify_steps(self.session, request, source, work, state=state, head=self.teaching.value()["object_head"])
        if objects.is_quick(work, request, state):
            self._answer_now(job, layer, source)
        else:
            self.start(job, "Classifying", lambda answer: self._show_classes(layer, source, answer))

    def _answer_now(self, job: Job[Answer], layer: Any, source: Source) -> None:
        """Answer a click without a worker, whose start and progress bar would take longer than the answer."""
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", FallbackWarning)
                answer = collect(job)
            message = self._show_classes(layer, source, answer)
        except InputError as error:
            self.say("error", error_text(error))
            return
        self.say("warning" if caught else "done", "\n".join([message, *(str(warning.message) for warning in caught)]))

    def _show_measures(self, layer: Any, table: ObjectTable, state: Hashable) -> str:
        if all(each.unique_id != layer.unique_id for each in self.viewer.layers):
            return "The layer of the objects was removed meanwhile; nothing was added."
        work = objects.work_of(self.session, layer)
        work.table, work.measured_at = table, state
        if len(table):
            objects.write_columns(layer, objects.full_table(work), work.written)
        self._show_table()
        self.refresh()  # the table can be saved now
        return f"{counted(len(table), 'object')} measured; the measures are also in the features of {layer.name!r}."

    def _show_classes(self, layer: Any, source: Source, answer: Answer) -> str:
        if all(each.unique_id != layer.unique_id for each in self.viewer.layers):
            return "The layer of the objects was removed meanwhile; nothing was added."
        work = objects.work_of(self.session, layer)
        work.take(answer)
        objects.write_columns(layer, objects.full_table(work), work.written)
        code = script.script_of(self._class_lines(source, work))
        shown = object_layers.show_classes(self.viewer, self.owned_classes, source, work, answer.pixels, code)
        self._show_table()
        self.refresh()
        classes = ", ".join(map(str, answer.classes.values))
        return f"{counted(len(answer.classes.labels), 'object')} in classes {classes}, in {shown.name!r}."

    def _class_lines(self, source: Source, work: ObjectWork) -> list[str]:
        return [*self.extract_script(), *object_layers.class_lines(source, work, self.teaching.value()["object_head"])]

    def _was_made(self, layer: Any) -> bool:
        return layer is not None and self.owned.layer is not None and layer.unique_id == self.owned.layer.unique_id

    def _beside(self, layer: Any) -> tuple[Source, Source | None]:
        """Read a labels layer, and the image in the same place where there is one."""
        if self.image.value() is None:
            return read_layer(layer, point=world_point(self.viewer)), None
        image = self.source()
        return read_companion(layer, image), image

    def _state(self, layer: Any) -> Hashable:
        return objects.state_of(self.session, layer, self._beside(layer)[0])

    def _is_probability(self) -> bool:
        layer = self.labels.value()
        return layer is not None and object_layers.holds_probability(layer)

    def _show_table(self) -> None:
        work = self.work
        columns = {} if work is None else objects.show_columns(work)
        self.table.setValue(columns)
        count = 0 if work is None or work.table is None else len(work.table)
        self.table_text.setText(counted(count, "object") if columns else "")

    def _connect(self) -> None:
        self.labels.valueChanged.connect(self.changed)
        self.form.valueChanged.connect(self.changed)
        self.objects.valueChanged.connect(self._on_objects)
        self.table.objectChosen.connect(self._on_row)
        self.teaching.valueChanged.connect(self.changed)
        self.teaching.named.connect(self._on_named)
        self.teaching.teachToggled.connect(lambda on: (self.picker.start if on else self.picker.stop)())
        self.teaching.asked.connect(self._on_asked)
        self.on_close(self.labels.dispose, self.objects.dispose, self.picker.stop)
        self._show_table()

    def _on_objects(self, *_: Any) -> None:
        self._show_table()
        self.changed()

    def _on_row(self, label: int) -> None:
        layer, work = self.objects.value(), self.work
        if layer is not None and work is not None and work.table is not None:
            objects.jump_to(self.viewer, layer, self._beside(layer)[0].placement, work.table, label)

    def _on_named(self, value: int, name: str) -> None:
        if self.work is not None and name != self.work.names.get(value, ""):
            self.work.call(value, name)
            self.classify()

    def _on_asked(self, what: str) -> None:
        {"undo": self.undo, "forget": self.forget, "save": self.save_classifier, "load": self.load_classifier}[what]()

    def undo(self) -> None:
        """Take the last example back."""
        if self.work is not None and self.work.undo() is not None:
            self.classify()

    def forget(self) -> None:
        """Take all examples back, and use no loaded classifier any more."""
        if self.work is not None:
            self.work.forget()
            self.work.loaded = None
            self.refresh()

    def save_classifier(self, path: str | Path | None = None) -> None:
        """Write the classifier to a file; asks for one where none is given."""
        work = self.work
        taught = None if work is None else work.loaded or work.taught
        path = path or QFileDialog.getSaveFileName(self, "Save the classifier", "classifier.npz", CLASSIFIER_FILTER)[0]
        if not path or taught is None:
            return
        try:
            self.say("done", f"The classifier is in {taught.save(path, overwrite=True)}.")
        except (InputError, OSError) as error:
            self.say("error", error_text(error))

    def load_classifier(self, path: str | Path | None = None) -> None:
        """Classify by a file instead of examples; asks for one where none is given."""
        path = path or QFileDialog.getOpenFileName(self, "Load a classifier", "", CLASSIFIER_FILTER)[0]
        if not path or self.work is None:
            return
        try:
            self.work.load(ObjectClassifier.load(path), str(Path(path).resolve()))
        except (InputError, OSError) as error:
            self.say("error", error_text(error))
            return
        self.classify()

    def _on_click(self, world: Any, rest: bool = True) -> None:
        if not rest or self.objects.value() is None:
            return
        try:
            label = objects.object_at(self._beside(self.objects.value())[0], world)
        except InputError as error:
            self.say("warning", str(error))
            return
        if not label:
            self.say("warning", "There is no object at this place; click inside one.")
            return
        self.teach(label, int(self.teaching.value()["teach_class"]))

    def _on_finished(self, outcome: Done | Failed | Cancelled) -> None:
        super()._on_finished(outcome)
        again, self._again = self._again, False
        if again and not isinstance(outcome, Cancelled):
            self.classify()
