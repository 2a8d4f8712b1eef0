"""Classify images: learn classes of whole images or planes, see how well, and give new images theirs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog, QPushButton

from napari_dinov3._napari import evaluation, image_classes, script
from napari_dinov3._napari.compat import world_point
from napari_dinov3._napari.layers import Source, plane_at, read_layer
from napari_dinov3.errors import InputError, MissingDependencyError
from napari_dinov3.progress import Job
from napari_dinov3.recipe import ClassifyImagesConfig
from napari_dinov3.recipe.image_run import (
    ImagePredictions,
    ImageRun,
    classify_images_steps,
    classify_planes_steps,
    predict_images_steps,
)
from napari_dinov3.widgets.classify.plane_labels import PlaneLabels
from napari_dinov3.widgets.form import Choice, Flag, Form, Number, wrapped_label
from napari_dinov3.widgets.layer_chooser import LayerChooser
from napari_dinov3.widgets.panel import TaskPanel, field_row
from napari_dinov3.widgets.path_field import Button, PathField
from napari_dinov3.widgets.result_table import ResultTable
from napari_dinov3.widgets.status import error_text
from napari_dinov3.wording import counted

SOURCES = (("files", "files on disk"), ("planes", "planes of a stack"))
WHERE = (Choice("source", "Images are", "Where the images with known classes are.", "files", SOURCES),)
POOLINGS = (
    ("auto", "automatic"),
    ("cls", "CLS token"),
    ("cls+mean", "CLS and mean patch"),
    ("mean", "mean patch"),
    ("mean+std", "mean and spread"),
)
SETTINGS = (
    Choice(
        "pooling", "Vector", "What stands for an image; automatic: CLS and mean patch where there is a CLS.", "auto", POOLINGS
    ),
    Number("size", "Longest side (px)", "Larger images are shrunk to this.", 512, 32, 4096, 32, 0),
    Number("folds", "Folds", "Turns of the test; images of one group are held out together.", 5, 2, 50, 1, 0),
    Number("C", "Fit (C)", "Larger follows the examples more closely.", 1.0, 0.0001, 10000, 0.5, 4),
    Flag("balanced", "Rare classes count as much", "Give every class the same weight, however many images it has.", False),
)
BUTTONS: tuple[Button, ...] = (
    ("folder", "Folder of classes…", "Choose a folder that has a folder of images for each class.", ""),
    (
        "file",
        "Table of labels…",
        "Choose a CSV file with the columns file and label, and perhaps plane and group.",
        "Tables (*.csv *.tsv)",
    ),
)
MODELS = "Image classifiers (*.npz)"
_NAME = "ClassifyImagesPanel"


class ClassifyImagesPanel(TaskPanel):
    """Classes of whole images."""

    title = "Classify images"
    summary = "Learn classes of whole images or planes from examples, and see how well."
    run_text = "Learn and test"
    help_text = (
        "1. Choose a folder with a folder for each class (a subject's folder inside keeps its images together), a table of "
        "labels, or name planes of a stack.\n"
        "2. Learn and test: each image becomes one vector; images are held out in turn, and the matrix shows what they were "
        "taken for.\n"
        "3. Show mistakes adds small pictures of the surest ones. Save writes the classifier with its report; it can be applied "
        "to new images here and on the command line."
    )

    def build(self) -> None:
        """Add source, settings, results and use."""
        self.where = Form(WHERE)
        self.files = PathField("No folder or table is chosen.", BUTTONS, name="images")
        self.image = LayerChooser(self.viewer, ("Image",), label="Image", tooltip="Stack whose planes have classes.")
        self.plane_labels = PlaneLabels(lambda: len(self._stack().planes), self._visible)
        self.image_row = field_row("Stack", self.image)
        self.section("Examples", self.where, self.files, self.image_row, self.plane_labels)
        self.form = Form(
            (
                Choice("backbone", "Backbone", "What turns an image into numbers.", "auto", evaluation.backbone_choices()),
                *SETTINGS,
            )
        )
        self.section("How", self.form)
        self._build_results()
        for widget in (self.where, self.files, self.image, self.plane_labels, self.form):
            widget.valueChanged.connect(self.changed)
        self.plane_labels.refused.connect(partial(self.say, "blocked"))
        self.on_close(self.image.dispose)
        self._show_kept()

    def _build_results(self) -> None:
        self.report = wrapped_label(name="report")
        self.confusion = ResultTable("confusion", "True class in rows, predicted class in columns; images.")
        self.classes = ResultTable("classes", "Precision, recall and F1 of each class, and their averages.")
        self.predictions = ResultTable("predictions", "Class of each image or plane, with probabilities.")
        self.mistakes_button, self.save_button = QPushButton("Show mistakes"), QPushButton("Save model and report…")
        self.new_files_button, self.new_folder_button = QPushButton("New files…"), QPushButton("New folder…")
        self.section("How well", self.report, self.confusion, self.mistakes_button, self.save_button)
        self.folded_section("Each class", self.classes)
        self.model_text = wrapped_label(name="model")
        self.load_button = QPushButton("Load model…")
        self.section(
            "Give new images classes",
            self.model_text,
            self.load_button,
            self.new_files_button,
            self.new_folder_button,
            self.predictions,
        )
        for button, tip, slot in (
            (self.mistakes_button, "Add small pictures of the surest mistakes, with their names, as layers.", self.show_mistakes),
            (self.save_button, "Write the classifier, tables and pictures to a folder.", self.save),
            (self.load_button, "Use a saved classifier.", self.load_model),
            (self.new_files_button, "Give the images of these files classes.", self.apply_to_files),
            (self.new_folder_button, "Give all images of a folder classes.", self.apply_to_folder),
        ):
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, slot=slot: slot())
        for table in (self.confusion, self.classes, self.predictions):
            table.said.connect(partial(self.say, "done"))

    def value(self) -> dict[str, Any]:
        """Read every setting."""
        layer = self.image.value()
        labels = {str(plane): name for plane, name in self.plane_labels.value().items()}
        places = {"files": self.files.value(), "image": None if layer is None else layer.unique_id, "labels": labels}
        return {**self.where.value(), **places, **self.form.value()}

    def setValue(self, value: Mapping[str, Any]) -> None:
        """Set some or all settings."""
        self.where.setValue(value)
        self.form.setValue(value)
        if value.get("image") is not None:
            self.image.setValue(value["image"])
        if "files" in value:
            self.files.setValue(value["files"])
        if "labels" in value:
            self.plane_labels.setValue({int(plane): name for plane, name in value["labels"].items()})

    @property
    def by_planes(self) -> bool:
        """Whether planes of a stack are classified, rather than files."""
        return bool(self.where.value()["source"] == "planes")

    @property
    def ran(self) -> ImageRun | None:
        """The last run of this viewer."""
        ran: ImageRun | None = self.session.kept(_NAME).get("run")
        return ran

    def problem(self) -> str:
        """Ask for examples."""
        if not self.by_planes and not self.files.value():
            return "choose a folder of classes or a table of labels."
        if self.by_planes:
            if self.image.value() is None:
                return "there is no image layer; open a stack."
            if len(set(self.plane_labels.value().values())) < 2:
                return "name planes of two classes or more."
            self._stack()
        return evaluation.backbone_problem(self.form.value()["backbone"])

    def refresh(self, *_: Any) -> None:
        """Bring what is shown and enabled in step."""
        for widget in (self.image_row, self.plane_labels):
            widget.setHidden(not self.by_planes)
        self.files.setHidden(self.by_planes)
        super().refresh()
        ran, running = self.ran, self.runner.running
        self.mistakes_button.setEnabled(ran is not None and not running and bool(len(ran.result.mistakes())))
        self.save_button.setEnabled(ran is not None and not running)
        model = self._model()
        for button in (self.new_files_button, self.new_folder_button):
            button.setEnabled(model is not None and not running)
        text = "Learn first, or load a saved classifier." if model is None else f"Classes {', '.join(model.classes_)}."
        self.model_text.setText(text)

    def options(self) -> dict[str, Any]:
        """Give the settings of learning."""
        value = self.form.value()
        chosen = {name: value[name] for name in ("backbone", "pooling", "size", "folds", "C")}
        return {**chosen, "class_weight": "balanced" if value["balanced"] else None}

    def make_job(self) -> Job[Any]:
        """Learn and test."""
        if not self.by_planes:
            self._placement = None
            return classify_images_steps(self.files.value()[0], **self.options())
        source = self._stack()
        self._placement = source.placement
        return classify_planes_steps(source.planes, self.plane_labels.value(), **self.options())

    def show_result(self, result: ImageRun | tuple[ImageRun, ImagePredictions]) -> str:
        """Show the matrix; for planes, their classes too."""
        run, found = (result, None) if isinstance(result, ImageRun) else result
        self.session.kept(_NAME).update(run=run, model=run.model, predictions=found, script=self.ran_script)
        self._show_kept()
        if found is not None and self._placement is not None:
            metadata = image_classes.run_metadata(self._placement.name, self.options(), run.result, self.ran_script)
            image_classes.add_plane_classes(self.viewer, self._placement, found, metadata=metadata)
        self.refresh()
        left = f" {counted(len(run.vectors.failed), 'file')} could not be read, see the report." if run.vectors.failed else ""
        return f"Top-1 {run.result.top(1):.3f}, balanced accuracy {run.result.report.balanced_accuracy:.3f}.{left}"

    def script(self) -> str:
        """Write learning and testing."""
        if self.by_planes:
            layer = self.image.value()
            return image_classes.planes_script(
                self._stack(), self.plane_labels.value(), self.options(), multiscale=bool(layer.multiscale)
            )
        config = ClassifyImagesConfig(images=self.files.value()[0], **self.options())
        return script.script_of([config.to_python(), "print(classes.to_markdown())"])

    def show_mistakes(self) -> None:
        """Add small pictures of the surest mistakes beside everything else."""
        ran = self.ran
        if ran is None or not len(ran.result.mistakes()):
            return
        pictures, titles = ran.mistakes()
        metadata = image_classes.run_metadata("images", self.options(), ran.result, self.session.kept(_NAME)["script"])
        layer = image_classes.add_montage(self.viewer, pictures, titles, name="mistakes", metadata=metadata)
        self.viewer.reset_view()
        self.say("done", f"{len(titles)} pictures in layer {layer.name!r}, the surest mistakes first.")

    def save(self, folder: str | Path | None = None) -> None:
        """Write the classifier with its report; asks for a folder where none is given."""
        folder = folder or QFileDialog.getExistingDirectory(self, "Save model and report in this folder")
        if not folder or self.ran is None:
            return
        try:
            written = self.ran.save(folder)
            self.say("done", f"{counted(len(written), 'file')} written to {folder}.")
        except MissingDependencyError as error:
            self.say("warning", f"Model and tables are in {folder}, pictures are not: {error}")
        except (InputError, OSError) as error:
            self.say("error", error_text(error))

    def load_model(self, path: str | Path | None = None) -> None:
        """Use a saved classifier; asks for a file where none is given."""
        from napari_dinov3.classify.images import ImageClassifier

        path = path or QFileDialog.getOpenFileName(self, "Load a classifier", "", MODELS)[0]
        if not path:
            return
        try:
            self.session.kept(_NAME)["model"] = ImageClassifier.load(path)
        except (InputError, OSError) as error:
            self.say("error", error_text(error))
            return
        self.refresh()

    def apply_to_files(self, paths: list[str] | None = None) -> None:
        """Give new images classes; asks for files where none are given."""
        paths = paths or list(QFileDialog.getOpenFileNames(self, "Images to classify")[0])
        model = self._model()
        if paths and model is not None:
            self.start(predict_images_steps(model, paths), "Classifying", self._show_predictions)

    def apply_to_folder(self, folder: str | Path | None = None) -> None:
        """Give all images of a folder classes; asks for one where none is given."""
        folder = folder or QFileDialog.getExistingDirectory(self, "Folder of images to classify")
        if folder:
            self.apply_to_files([str(folder)])

    def _show_predictions(self, found: ImagePredictions) -> str:
        self.session.kept(_NAME)["predictions"] = found
        self._show_kept()
        left = f" {len(found.failed)} could not be read; the table says why." if found.failed else ""
        return f"{counted(len(found.names), 'image')} classified.{left}"

    def _show_kept(self) -> None:
        """Show the results of this viewer; they outlive the panel."""
        kept = self.session.kept(_NAME)
        if kept.get("run") is not None:
            result = kept["run"].result
            rows, part = image_classes.confusion_table(result)
            self.report.setText("\n".join(filter(None, (result.summary(), result.worst_text(), kept["run"].caution()))))
            self.confusion.setRows(rows, shading=part)
            self.classes.setRows(result.as_rows())
        if kept.get("predictions") is not None:
            self.predictions.setRows(kept["predictions"].as_rows())

    def _model(self) -> Any:
        return self.session.kept(_NAME).get("model")

    def _stack(self) -> Source:
        if self.image.value() is None:
            raise InputError("No stack is chosen", "an image layer with planes", "Open a stack")
        return read_layer(self.image.value(), point=world_point(self.viewer))

    def _visible(self) -> int:
        return plane_at(self._stack(), world_point(self.viewer))
