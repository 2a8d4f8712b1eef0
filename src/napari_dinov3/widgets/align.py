"""Align: bring the planes of a stack into register, keep the transforms, carry other layers along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QPushButton, QTableWidget, QTableWidgetItem

from napari_dinov3._napari import alignment, results, script
from napari_dinov3._napari.compat import unwrap, world_point
from napari_dinov3._napari.layers import Source, read_layer
from napari_dinov3._napari.provenance import provenance
from napari_dinov3.align.stack import StackAlignment
from napari_dinov3.progress import Job
from napari_dinov3.recipe import AlignConfig, ApplyConfig
from napari_dinov3.widgets.form import Choice, Form
from napari_dinov3.widgets.image_panel import ImagePanel
from napari_dinov3.widgets.layer_chooser import LayerChooser
from napari_dinov3.widgets.panel import field_row

MODELS = (("translation", "translation"), ("rigid", "rigid"), ("similarity", "similarity"), ("affine", "affine"))
PROPOSALS = (("auto", "features"), (None, "pixels only"))
DRIFTS = (("minimum", "least movement"), ("first", "first good plane"))
FIELDS = (
    Choice("model", "Movement", "Translation shifts a plane, rigid also turns it, similarity sizes it, affine shears it.",
           "rigid", MODELS),
    Choice("backbone", "Proposed by", "What finds the rough position, which pixels then refine.", "auto", PROPOSALS),
    Choice("drift", "Common frame", "Which frame the planes are moved into.", "minimum", DRIFTS),
)
COLUMNS = ("Plane", "Row", "Col", "Turn", "Match")
TABLE_HEIGHT = 170


class AlignPanel(ImagePanel):
    """Bring a stack into register."""

    title = "Align a stack"
    summary = "Bring the planes of a stack into register; the original stays as it is."
    run_text = "Align"
    uses_features = False
    help_text = (
        "1. Choose a stack and what a plane may do: try translation or rigid first.\n"
        "2. Align adds a resampled copy. The table says how each plane was moved and how well it matches its neighbours; a plane "
        "that matches none gets a pose between theirs.\n"
        "3. Move another layer of the same shape (labels, another channel) along with the same transforms.\n"
        "The transforms are in the new layer's metadata."
    )

    def build_task(self) -> None:
        """Add settings, table and the layer that moves along."""
        self.alignment: StackAlignment | None = None
        self.form = Form(FIELDS)
        self.table = _table()
        self.follower = LayerChooser(self.viewer, ("Image", "Labels"), label="Layer to move along", optional="none",
                                     tooltip="Another layer of the same shape, moved with the same transforms.")
        self.move_button = QPushButton("Move this layer along")
        self.move_button.clicked.connect(self.move_follower)
        self.section("Alignment", self.form)
        self.section("How each plane was moved (px, °)", self.table)
        self.section("Another layer", field_row("Layer", self.follower), self.move_button)
        self.form.valueChanged.connect(self.changed)
        self.follower.valueChanged.connect(self.refresh)
        self.on_close(self.follower.dispose)

    def value(self) -> dict[str, Any]:
        """Read every setting."""
        return {**super().value(), **self.form.value()}

    def setValue(self, value: Mapping[str, Any]) -> None:
        """Set some or all settings."""
        super().setValue(value)
        self.form.setValue(value)

    def config(self) -> AlignConfig:
        """Give the settings as a recipe's."""
        return AlignConfig(**self.form.value())

    def problem(self) -> str:
        """Ask for a stack."""
        problem = super().problem()
        if not problem and len(self.source().planes) < 2:
            return f"{self.image.value().name!r} is a single image; choose a stack of two planes or more."
        return problem

    def refresh(self, *_: Any) -> None:
        """Bring buttons in step, the task's own too."""
        super().refresh()
        ready = self.alignment is not None and self.follower.value() is not None and not self.runner.running
        self.move_button.setEnabled(ready)
        self.move_button.setToolTip("Add a moved copy of this layer." if ready else "Align a stack first, then choose a layer.")

    def make_job(self) -> Job[tuple[StackAlignment, Any]]:
        """Estimate and resample."""
        self._source, self._like, self._config = self.source(), self.image.value(), self.config()
        return alignment.align_steps(self._source.planes, self._config)

    def show_result(self, result: tuple[StackAlignment, Any]) -> str:
        """Add the aligned stack and fill the table."""
        self.alignment, aligned = result
        rows = alignment.section_table(self.alignment)
        _fill(self.table, rows)
        layer = self._add(self._source, aligned, self._like)
        self.refresh()
        bad = len(self.alignment.bad)
        lost = f"; {bad} match no neighbour and got a pose between theirs" if bad else ""
        if bad == len(rows):
            lost = "; none matches another, so nothing was moved"
        return f"Added {layer.name!r}: {len(rows)} planes{lost}."

    def script(self) -> str:
        """Write alignment and resampling."""
        source = self.source()
        config = self.config().to_python("image") if not source.planes.rgb else self._rgb_config().to_python("image")
        add = script.add_line("image", "aligned", name=f"{source.placement.name} aligned", placement=source.placement,
                              transform=source.placement.pixel_transform(), rgb=source.planes.rgb)
        return script.script_of([*self.image_script(), config, ApplyConfig().to_python(), add])

    def move_follower(self) -> None:
        """Add a copy of another layer, moved with the same transforms."""
        layer = self.follower.value()
        if self.alignment is None or layer is None:
            return
        source = read_layer(layer, point=world_point(self.viewer))
        self.start(alignment.resample_steps(self.alignment, source.planes), "Moving along",
                   lambda moved: f"Added {self._add(source, moved, layer).name!r}.")

    def _rgb_config(self) -> AlignConfig:
        return AlignConfig(**self.form.value(), axes=script.axes_of(self.source()))

    def _add(self, source: Source, moved: Any, like: Any) -> Any:
        path, placement = self.alignment, source.placement
        assert path is not None  # only called with a result
        metadata = provenance("align", source=placement.name, settings=self._config.options(), script=self.ran_script,
                              transforms=path.transforms, quality=path.quality, bad=path.bad)
        is_labels = type(unwrap(like)).__name__ == "Labels"
        look: dict[str, Any] = {} if is_labels else {"rgb": source.planes.rgb}
        if not is_labels and not source.planes.rgb:
            look |= {"colormap": like.colormap.name, "contrast_limits": tuple(like.contrast_limits)}
        with results.selection_kept(self.viewer):
            return results.add_pixels(self.viewer, placement, moved, kind="labels" if is_labels else "image",
                                      name=f"{placement.name} aligned", metadata=metadata, **look)


def _table() -> QTableWidget:
    table = QTableWidget(0, len(COLUMNS))
    table.setHorizontalHeaderLabels(COLUMNS)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.verticalHeader().setVisible(False)
    table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
    table.setFixedHeight(TABLE_HEIGHT)
    table.setAccessibleName("How each plane was moved")
    table.setToolTip("Movement of each plane's content (px down, px right, degrees), and how many standard deviations its match "
                     "exceeds wrong offsets; a plane without a match got a pose between its neighbours'.")
    return table


def _fill(table: QTableWidget, rows: list[alignment.SectionRow]) -> None:
    table.setRowCount(len(rows))
    for at, row in enumerate(rows):
        match = f"{row.quality:.1f}" if row.matched else "none"
        moved = (f"{round(value, 1) + 0.0:+.1f}" for value in (row.row_shift, row.col_shift, row.rotation_deg))
        texts = (f"{row.section}", *moved, match)
        for col, text in enumerate(texts):
            table.setItem(at, col, QTableWidgetItem(text))
