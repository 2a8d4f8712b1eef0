"""Evaluate: measure labels against a reference, and compare backbones on labels of an image."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from qtpy.QtWidgets import QPushButton

from napari_dinov3._napari import evaluation
from napari_dinov3._napari.companion import read_companion
from napari_dinov3._napari.compat import world_point
from napari_dinov3._napari.evaluation import Scores
from napari_dinov3._napari.layers import Source, read_layer
from napari_dinov3.errors import InputError
from napari_dinov3.evaluate.backbones import BackboneComparison, compare_backbones_steps
from napari_dinov3.evaluate.object_metrics import ObjectReport
from napari_dinov3.progress import Job
from napari_dinov3.recipe import CompareConfig, EvaluateConfig, EvaluateObjectsConfig
from napari_dinov3.widgets.clipboard import copy_text
from napari_dinov3.widgets.evaluate.bar_chart import BarChart
from napari_dinov3.widgets.evaluate.check_list import CheckList
from napari_dinov3.widgets.form import Choice, Flag, Form, Number, wrapped_label
from napari_dinov3.widgets.layer_chooser import LayerChooser
from napari_dinov3.widgets.panel import TaskPanel, field_row
from napari_dinov3.widgets.result_table import ResultTable
from napari_dinov3.widgets.status import error_text

KINDS = (("classes", "classes"), ("planes", "objects of each plane"), ("stack", "objects across planes"))
FIELDS = (
    Choice("kind", "Labels are", "Classes, or objects with a number each.", "classes", KINDS),
    Number("tolerance", "Tolerance", "How far off a boundary may be and still count as right.", 2.0, 0.0, 1e6, 1.0, 2),
    Choice(
        "unit",
        "Unit",
        "Whether the tolerance is in pixels or in the unit of the layer's scale.",
        "pixel",
        (("pixel", "pixels"), ("world", "unit of the layer")),
    ),
    Choice(
        "ignore_label",
        "Label 0",
        "What 0 in the reference means; automatic: not labelled where the prediction never says 0.",
        "auto",
        (("auto", "automatic"), (0, "not labelled"), (None, "a class")),
    ),
    Choice(
        "pairing",
        "Classes",
        "Whether equal numbers mean the same class, or classes are paired by the pixels they share.",
        "same",
        (("same", "equal numbers"), ("overlap", "by overlap")),
    ),
)
COMPARE_FIELDS = (
    Flag("mask", "0 is the background", "Tick for a dense mask; leave for scribbles, where 0 is not labelled.", False),
    Number(
        "folds", "Folds", "Blocks of neighbouring labelled planes (or parts of one) that are held out in turn.", 5, 2, 50, 1, 0
    ),
    Number("max_planes", "Planes at most", "Labelled planes that are used, drawn evenly.", 20, 2, 1000, 1, 0),
)
HEADS = (
    ("linear", "linear", ""),
    ("kernel", "kernel", ""),
    ("boosting", "boosted trees", ""),
    ("forest", "random forest", ""),
    ("prototypes", "prototypes", ""),
)
_NAME = "EvaluatePanel"


class EvaluatePanel(TaskPanel):
    """How good labels are, and which backbone suits them."""

    title = "Evaluate"
    summary = "Measure labels against a reference; compare backbones on your labels."
    run_text = "Measure"
    help_text = (
        "Measure: choose the labels to be judged and the true ones. The table has precision, recall, F1 (the same number as "
        "Dice), IoU and boundary F1 of each class. Where labels are objects, it has matches and average precision (AP).\n"
        "Compare backbones: choose an image and labels, best of two planes or more, tick what to try, and press Compare. Planes "
        "(of a single one, parts) are held out, so that the figures are of what was not trained on. Bars show the mean F1, "
        "lines one standard deviation, dots the folds."
    )

    def build(self) -> None:
        """Add the two tasks."""
        self.predicted = self._labels("Predicted labels", "Labels layer that is judged.")
        self.reference = self._labels("Reference labels", "Labels layer that is true.", optional="none")
        self.form = Form(FIELDS)
        self.scores_text = wrapped_label(name="scores")
        self.scores_table = ResultTable("scores", "Measures of each class, and their means.")
        self.planes_table = ResultTable("planes", "Measures of each plane, means over its classes.")
        self.section("Labels", field_row("Judged", self.predicted), field_row("True", self.reference), self.form)
        self.section("Scores", self.scores_text, self.scores_table)
        self.folded_section("Scores of each plane", self.planes_table)
        self._build_compare()
        for widget in (self.predicted, self.reference, self.form, self.image, self.labels, self.compare_form):
            widget.valueChanged.connect(self.changed)
        for chooser in (self.predicted, self.reference, self.image, self.labels):
            self.on_close(chooser.dispose)
        for table in (self.scores_table, self.planes_table, self.compare_table):
            table.said.connect(partial(self.say, "done"))
        self._show_kept()

    def _build_compare(self) -> None:
        self.image = LayerChooser(self.viewer, ("Image",), label="Image", tooltip="Image layer that the labels belong to.")
        self.labels = self._labels(
            "Labels to learn from", "Scribbles or dense labels, best on two planes or more.", optional="none"
        )
        self.compare_form = Form(COMPARE_FIELDS)
        self.backbones = CheckList(evaluation.backbone_options(), default=("filter-bank",), label="Backbones")
        self.heads = CheckList(HEADS, default=("linear", "kernel"), label="Heads")
        self.compare_button = QPushButton("Compare")
        self.compare_button.clicked.connect(self.compare)
        self.compare_copy_button = QPushButton("Copy comparison as Python")
        self.compare_copy_button.clicked.connect(self.copy_comparison)
        self.chart = BarChart("F1 where it was not trained")
        self.compare_text = wrapped_label(name="comparison")
        self.compare_table = ResultTable("comparison", "Mean and standard deviation over the folds, and seconds.")
        self.section(
            "Compare backbones on labels",
            field_row("Image", self.image),
            field_row("Labels", self.labels),
            self.compare_form,
        )
        self.folded_section("Backbones to try", self.backbones)
        self.folded_section("Heads to try", self.heads)
        self.section(
            "Comparison", self.compare_button, self.chart, self.compare_text, self.compare_table, self.compare_copy_button
        )
        for widget in (self.backbones, self.heads):
            widget.valueChanged.connect(self.changed)

    def value(self) -> dict[str, Any]:
        """Read every setting."""
        layers = {name: getattr(self, name).value() for name in ("predicted", "reference", "image", "labels")}
        ids = {name: None if layer is None else layer.unique_id for name, layer in layers.items()}
        ticked = {"backbones": self.backbones.value(), "heads": self.heads.value()}
        return {**ids, **self.form.value(), **self.compare_form.value(), **ticked}

    def setValue(self, value: Mapping[str, Any]) -> None:
        """Set some or all settings; layers by layer, name or layer id."""
        for name in ("predicted", "reference", "image", "labels"):
            if value.get(name) is not None:
                getattr(self, name).setValue(value[name])
        for name in ("backbones", "heads"):
            if name in value:
                getattr(self, name).setValue(value[name])
        self.form.setValue(value)
        self.compare_form.setValue(value)

    def problem(self) -> str:
        """Ask for two labels layers."""
        if self.predicted.value() is None:
            return "there is no labels layer to judge; make or open one."
        if self.reference.value() is None:
            return "choose the true labels under 'True'."
        if self.reference.value() is self.predicted.value():
            return "the judged and the true labels are the same layer; choose another one."
        self.config()
        read_companion(self.reference.value(), self._judged())
        return ""

    def refresh(self, *_: Any) -> None:
        """Bring buttons in step, those of the comparison too."""
        for name in ("tolerance", "unit", "ignore_label", "pairing"):
            self.form.set_shown(name, self.form.value()["kind"] == "classes")
        super().refresh()
        reason = self._why_not_compare()
        self.compare_button.setEnabled(not reason and not self.runner.running)
        self.compare_button.setToolTip(
            reason or "Embed the labelled planes with each backbone and test each head on held-out planes."
        )
        self.compare_copy_button.setEnabled(not reason)

    def config(self) -> EvaluateConfig | EvaluateObjectsConfig:
        """Give the settings of the measurement."""
        value = self.form.value()
        if value["kind"] != "classes":
            return EvaluateObjectsConfig(across=value["kind"])
        config = EvaluateConfig(tolerance=value["tolerance"], ignore_label=value["ignore_label"], pairing=value["pairing"])
        return evaluation.world_config(config, self._judged(), world=value["unit"] == "world")

    def compare_config(self) -> CompareConfig:
        """Give the settings of the comparison."""
        value = self.compare_form.value()
        return CompareConfig(
            backbones=self.backbones.value(),
            heads=self.heads.value(),  # type: ignore[arg-type]  # the config checks the names
            folds=value["folds"],
            max_planes=value["max_planes"],
        )

    def make_job(self) -> Job[Scores]:
        """Measure."""
        judged, true = self._judged(), self.reference.value()
        self._asked = f"{judged.placement.name!r} against {true.name!r}."
        return evaluation.measure_steps(*evaluation.label_pair(judged, true), self.config())

    def show_result(self, result: Scores) -> str:
        """Fill the tables."""
        self.session.kept(_NAME).update(scores=result, whose=self._asked)
        self._show_kept()
        if isinstance(result, ObjectReport):
            return result.total.summary()
        return f"Mean IoU {result.mean_iou:.3f}, mean F1 {result.report.macro_f1:.3f}, boundary F1 {result.mean_boundary_f1:.3f}."

    def script(self) -> str:
        """Write the measurement."""
        return evaluation.evaluate_script(self._judged(), self.reference.value(), self.config())

    def compare(self) -> None:
        """Compare backbones; also for the console."""
        reason = self._why_not_compare()
        if reason:
            self.say("blocked", reason)
            return
        try:
            image, config = self._image(), self.compare_config()
            painted = read_companion(self.labels.value(), image).planes.data
        except InputError as error:
            self.say("error", error_text(error))
            return
        labels = painted > 0 if self.compare_form.value()["mask"] else painted
        options = {name: getattr(config, name) for name in ("backbones", "heads", "folds", "max_planes", "memory_gb")}
        self.start(compare_backbones_steps(image.planes, labels, **options), "Comparing backbones", self._show_comparison)

    def copy_comparison(self) -> None:
        """Put the comparison on the clipboard as Python."""
        code = evaluation.compare_script(
            self._image(),
            self.labels.value(),
            self.compare_config(),
            mask=bool(self.compare_form.value()["mask"]),
            multiscale=bool(self.image.value().multiscale),
        )
        copy_text(code)
        self.say("done", "Python code is on the clipboard; paste it into napari's console.")

    def _show_comparison(self, result: BackboneComparison) -> str:
        self.session.kept(_NAME).update(comparison=result)
        self._show_kept()
        best = result.best
        return f"Best: {best.name}, F1 {best.mean():.3f} ± {best.spread():.3f}."

    def _show_kept(self) -> None:
        """Show the results of this viewer; they outlive the panel."""
        scores: Scores | None = self.session.kept(_NAME).get("scores")
        if scores is not None:
            text, rows, plane_rows = evaluation.shown_scores(scores)
            self.scores_text.setText(f"{self.session.kept(_NAME)['whose']} {text}")
            self.scores_table.setRows(rows)
            self.planes_table.setRows(plane_rows)
        comparison: BackboneComparison | None = self.session.kept(_NAME).get("comparison")
        if comparison is not None:
            self.chart.setValue(evaluation.bars_of(comparison))
            self.compare_text.setText(comparison.summary())
            self.compare_table.setRows(comparison.as_rows())

    def _why_not_compare(self) -> str:
        if self.image.value() is None or self.labels.value() is None:
            return "Choose an image and labels of it."
        if not self.backbones.value() or not self.heads.value():
            return "Tick at least one backbone and one head."
        try:
            read_companion(self.labels.value(), self._image())
        except InputError as error:
            return str(error)
        return ""

    def _labels(self, label: str, tooltip: str, *, optional: str = "") -> LayerChooser:
        return LayerChooser(self.viewer, ("Labels",), label=label, tooltip=tooltip, optional=optional)

    def _judged(self) -> Source:
        return read_layer(self.predicted.value(), point=world_point(self.viewer))

    def _image(self) -> Source:
        return read_layer(self.image.value(), point=world_point(self.viewer))
