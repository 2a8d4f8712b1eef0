"""Apply to files: label many stacks with a saved probe, one row of results a file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from napari_dinov3._napari import script
from napari_dinov3.progress import Job
from napari_dinov3.recipe import ApplyProbeConfig
from napari_dinov3.recipe.batch import BatchResult
from napari_dinov3.widgets.form import Choice, Flag, Form, Number, wrapped_label
from napari_dinov3.widgets.panel import TaskPanel
from napari_dinov3.widgets.path_field import Button, PathField
from napari_dinov3.widgets.result_table import ResultTable
from napari_dinov3.wording import counted

PROBE: tuple[Button, ...] = (("file", "Probe file…", "Choose a probe that was saved by the Segment panel.", "Probes (*.npz)"),)
IMAGES: tuple[Button, ...] = (
    ("files", "Files…", "Choose the images to label.", ""),
    ("folder", "Folder…", "Label all images below a folder.", ""),
)
OUTPUT: tuple[Button, ...] = (
    ("folder", "Folder…", "Where labels and results.csv go; a run that was stopped goes on in it.", ""),
)
FIELDS = (
    Choice("ending", "Format", "Of the labels that are written.", ".ome.tif", ((".ome.tif", "OME-TIFF"), (".zarr", "OME-Zarr"))),
    Flag("probabilities", "Probabilities too", "Also write the probability of each class, as channels.", False),
    Flag("has_channel", "Images have channels", "Tick where an image has several channels, and choose one.", False),
    Number("channel", "Channel", "Which channel is labelled; 0 is the first.", 0, 0, 99, 1, 0),
    Number("level", "Pyramid level", "0 is the finest.", 0, 0, 99, 1, 0),
)
_NAME = "BatchPanel"


class BatchPanel(TaskPanel):
    """A probe on many files."""

    title = "Apply to files"
    summary = "Label many stacks with a saved probe; one row of results a file."
    run_text = "Label all"
    help_text = (
        "1. Save a probe in the Segment panel, and choose its file here.\n"
        "2. Choose files or a folder, and a folder for the results.\n"
        "3. Label all: each file gets labels with its scale and units, and a row in results.csv with the area of each class. A "
        "file that fails gets a row that says why. Cancel and Label all again go on where it stopped; what is done is skipped."
    )

    def build(self) -> None:
        """Add places, options and the table."""
        self.probe = PathField("No probe is chosen.", PROBE, name="probe")
        self.images = PathField("No images are chosen.", IMAGES, name="images")
        self.output = PathField("No folder is chosen.", OUTPUT, name="output")
        self.form = Form(FIELDS)
        self.report = wrapped_label(name="report")
        self.table = ResultTable("results", "One row a file; the same is in results.csv.")
        self.section("Probe", self.probe)
        self.section("Images", self.images)
        self.section("Results go to", self.output, self.form)
        self.section("Results", self.report, self.table)
        for widget in (self.probe, self.images, self.output, self.form):
            widget.valueChanged.connect(self.changed)
        self.table.said.connect(partial(self.say, "done"))
        self._show_kept()

    def value(self) -> dict[str, Any]:
        """Read every setting."""
        places = {"probe": self.probe.value(), "images": self.images.value(), "output": self.output.value()}
        return {**places, **self.form.value()}

    def setValue(self, value: Mapping[str, Any]) -> None:
        """Set some or all settings."""
        self.form.setValue(value)
        for name in ("probe", "images", "output"):
            if name in value:
                getattr(self, name).setValue(value[name])

    def refresh(self, *_: Any) -> None:
        """Bring buttons and fields in step."""
        self.form.set_shown("channel", bool(self.form.value()["has_channel"]))
        super().refresh()

    def problem(self) -> str:
        """Ask for the three places."""
        asked = ((self.probe, "choose a probe file."), (self.images, "choose images."), (self.output, "choose where results go."))
        return next((text for field, text in asked if not field.value()), "")

    def ready_text(self) -> str:
        """Say what happens to a run that was stopped."""
        return "Files that are done already are skipped."

    def cancelled_text(self) -> str:
        """Say what is there."""
        return "Finished files are in results.csv; Label all goes on with the others."

    def config(self) -> ApplyProbeConfig:
        """Give the settings."""
        value = self.form.value()
        return ApplyProbeConfig(
            probe=self.probe.value()[0],
            images=self.images.value(),
            folder=self.output.value()[0],
            probabilities=value["probabilities"],
            ending=value["ending"],
            channel=value["channel"] if value["has_channel"] else None,
            level=value["level"],
        )

    def make_job(self) -> Job[BatchResult]:
        """Label every file."""
        return self.config().steps()

    def show_result(self, result: BatchResult) -> str:
        """Show the table."""
        self.session.kept(_NAME)["result"] = result
        self._show_kept()
        failed = f"; {len(result.failed)} failed, the table says why" if result.failed else ""
        files = counted(len(result.rows), "file")
        return f"{files}, {result.skipped} of them done before{failed}. The table is {result.table.name}."

    def script(self) -> str:
        """Write the run as Python."""
        return script.script_of([self.config().to_python(), "print(batch.table, batch.failed)"])

    def _show_kept(self) -> None:
        result: BatchResult | None = self.session.kept(_NAME).get("result")
        if result is not None:
            self.report.setText("\n".join(f"Failed: {Path(path).name}: {reason}" for path, reason in result.failed))
            self.report.setHidden(not result.failed)
            self.table.setRows(result.short_rows())
