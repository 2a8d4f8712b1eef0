"""Align: bring the planes of a stack into register, keep the transforms, carry other layers along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qtpy.QtWidgets import QPushButton

from napari_dinov3._napari import alignment, results, script
from napari_dinov3._napari.companion import read_companion
from napari_dinov3._napari.compat import unwrap
from napari_dinov3._napari.layers import Source
from napari_dinov3._napari.provenance import provenance
from napari_dinov3.align.stack import StackAlignment
from napari_dinov3.errors import InputError
from napari_dinov3.progress import Job
from napari_dinov3.recipe import AlignConfig, ApplyConfig
from napari_dinov3.widgets.form import Choice, Form, wrapped_label
from napari_dinov3.widgets.image_panel import ImagePanel
from napari_dinov3.widgets.layer_chooser import LayerChooser
from napari_dinov3.widgets.panel import field_row
from napari_dinov3.widgets.section_table import SectionTable
from napari_dinov3.widgets.status import error_text

MODELS = tuple((model, model) for model in ("translation", "rigid", "similarity", "affine", "elastic"))
PROPOSALS = (("auto", "features"), (None, "pixels only"))
DRIFTS = (
    ("minimum", "least movement"),
    ("first", "first good plane"),
    ("trend", "keep slow trend"),
    ("median", "median of neighbours"),
    ("mean", "mean of all (movie)"),
)
FIELDS = (
    Choice(
        "model",
        "Movement",
        "Translation shifts a plane, rigid also turns it, similarity sizes it, affine shears it, elastic bends it.",
        "rigid",
        MODELS,
    ),
    Choice("backbone", "Proposed by", "What finds the rough position, which pixels then refine.", "auto", PROPOSALS),
    Choice("drift", "Common frame", "Which frame the planes are moved into.", "minimum", DRIFTS),
)


class AlignPanel(ImagePanel):
    """Bring a stack into register."""

    title = "Align a stack"
    summary = "Bring the planes of a stack into register; the original stays as it is."
    run_text = "Align"
    uses_features = False
    help_text = (
        "1. Choose a stack and what a plane may do: try translation or rigid first.\n"
        "2. Align adds a resampled copy. The table says how each plane was moved. Match counts standard deviations above wrong "
        "offsets: from 6.5 a match is accepted; a plane that matches no neighbour gets a pose between theirs.\n"
        "3. Move another layer of the same shape (labels, another channel) along with the same transforms.\n"
        "The transforms are in the new layer's metadata."
    )

    def build_task(self) -> None:
        """Add settings, table and the layer that moves along."""
        self._tabled: alignment.Aligned | None = None
        self.form = Form(FIELDS)
        self.table = SectionTable()
        self.table.useChanged.connect(self.solve_again)
        self.whose = wrapped_label(name="whose")
        self.follower = LayerChooser(
            self.viewer,
            ("Image", "Labels"),
            label="Layer to move along",
            optional="none",
            tooltip="Another layer of the same shape, moved with the same transforms.",
        )
        self.move_button = QPushButton("Move this layer along")
        self.move_button.clicked.connect(self.move_follower)
        self.section("Alignment", self.form)
        self.section("How each plane was moved (px, °)", self.table)
        self.section("Another layer", self.whose, field_row("Layer", self.follower), self.move_button)
        self.form.valueChanged.connect(self.changed)
        self.follower.valueChanged.connect(self.refresh)
        self.on_close(self.follower.dispose)

    @property
    def kept(self) -> alignment.Aligned | None:
        """The last alignment of this viewer; it outlives the panel, and goes with the layer that was aligned."""
        kept: alignment.Aligned | None = self.session.kept(type(self).__name__).get("aligned")
        return kept

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
        """Bring table and buttons in step, the task's own too."""
        super().refresh()
        kept = self.kept
        if kept is not self._tabled:
            self._tabled = kept
            self.table.fill([] if kept is None else alignment.section_table(kept.alignment))
        self.whose.setText("" if kept is None else f"Transforms of {kept.source.placement.name!r}.")
        self.whose.setHidden(kept is None)
        reason = self._why_nothing_moves()
        self.move_button.setEnabled(not reason and not self.runner.running)
        self.move_button.setToolTip(reason or "Add a copy of this layer, moved like the stack.")

    def _why_nothing_moves(self) -> str:
        kept, image = self.kept, self.image.value()
        if kept is None:
            return "Align a stack first."
        if image is None or image.unique_id != kept.source.placement.layer_id:
            return f"The transforms are of {kept.source.placement.name!r}: choose it as the image, or align this one first."
        return "Choose a layer to move along." if self.follower.value() is None else ""

    def make_job(self) -> Job[tuple[StackAlignment, Any]]:
        """Estimate and resample."""
        source, config = self.source(), self.config()
        self._asked = (source, config, tuple(self.align_lines()), self.image.value())
        return alignment.align_steps(source.planes, config)

    def show_result(self, result: tuple[StackAlignment, Any]) -> str:
        """Add the aligned stack, keep the transforms, fill the table."""
        path, aligned = result
        source, config, lines, like = self._asked
        kept = alignment.Aligned(path, source, config, lines)
        self.session.kept(type(self).__name__).update(aligned=kept, layer_id=source.placement.layer_id)
        code = script.script_of([*lines, ApplyConfig().to_python(), _add_line(source, "aligned", like)])
        layer = self._add(kept, source, aligned, like, code)
        self.refresh()
        bad, count = len(path.bad), len(path.transforms)
        lost = f"; {bad} match no neighbour and got a pose between theirs" if bad else ""
        if bad == count:
            lost = "; none matches another, so nothing was moved"
        return f"Added {layer.name!r}: {count} planes{lost}."

    def solve_again(self, section: int, use: bool) -> None:
        """Leave a plane out, or let it in, and solve again without matching again."""
        kept, image = self.kept, self.image.value()
        if kept is None or self.runner.running or image is None or image.unique_id != kept.source.placement.layer_id:
            self._tabled = None  # the box goes back to what holds
            self.refresh()
            return
        config = alignment.with_section(kept.config, section, use=use)
        self._asked = (kept.source, config, (*kept.lines[:-1], config.to_python("image")), image)
        self.start(alignment.solve_again_steps(kept, config), "Solving again", self.show_result)

    def align_lines(self) -> list[str]:
        """Write the alignment as Python, from the layer on."""
        source = self.source()
        config = self.config() if not source.planes.rgb else replace(self.config(), axes=script.axes_of(source))
        return [*self.image_script(), config.to_python("image")]

    def script(self) -> str:
        """Write alignment and resampling; and the layer that moves along, where one is chosen."""
        source, like = self.source(), self.follower.value()
        lines = [*self.align_lines(), ApplyConfig().to_python(), _add_line(source, "aligned", self.image.value())]
        try:
            lines += [] if like is None else self._follow_lines(read_companion(like, source), like)
        except InputError as error:
            lines.append(f"# {like.name!r} is left out: {error.problem}")
        return script.script_of(lines)

    def move_follower(self) -> None:
        """Add a copy of another layer, moved with the same transforms."""
        kept, like = self.kept, self.follower.value()
        reason = self._why_nothing_moves()
        if kept is None or reason:
            self.say("blocked", reason)
            return
        try:
            source = read_companion(like, kept.source)
        except InputError as error:
            self.say("error", error_text(error))
            return
        code = script.script_of([*kept.lines, *self._follow_lines(source, like)])
        self.start(
            alignment.resample_steps(kept.alignment, source.planes, labels=_is_labels(like)),
            "Moving along",
            lambda moved: f"Added {self._add(kept, source, moved, like, code).name!r}.",
        )

    def _follow_lines(self, source: Source, like: Any) -> list[str]:
        order = 0 if _is_labels(like) else None
        read = script.layer_lines(source, variable="follower", multiscale=bool(like.multiscale))
        return [
            *read,
            ApplyConfig(order=order).to_python("alignment", "follower", output="moved"),
            _add_line(source, "moved", like),
        ]

    def _add(self, kept: alignment.Aligned, source: Source, moved: Any, like: Any, code: str) -> Any:
        path, placement = kept.alignment, source.placement
        metadata = provenance(
            "align",
            source=placement.name,
            settings=kept.config.options(),
            script=code,
            transforms=path.transforms,
            quality=path.quality,
            bad=path.bad,
        )
        labels = _is_labels(like)
        look: dict[str, Any] = {} if labels else {"rgb": source.planes.rgb}
        if not labels and not source.planes.rgb:
            look |= {"colormap": like.colormap.name, "contrast_limits": tuple(like.contrast_limits)}
        owned = self.session.owned(type(self).__name__, str(placement.layer_id))
        return owned.show(
            placement.arrange(moved),
            belongs_to=alignment.place_of(source),
            metadata=metadata,
            add=lambda: results.add_pixels(
                self.viewer,
                placement,
                moved,
                kind="labels" if labels else "image",
                name=f"{placement.name} aligned",
                metadata=metadata,
                **look,
            ),
        )


def _is_labels(layer: Any) -> bool:
    return type(unwrap(layer)).__name__ == "Labels"


def _add_line(source: Source, expression: str, like: Any) -> str:
    placement = source.placement
    look = {} if _is_labels(like) else {"rgb": source.planes.rgb}
    return script.add_line(
        "labels" if _is_labels(like) else "image",
        expression,
        name=f"{placement.name} aligned",
        placement=placement,
        transform=placement.pixel_transform(),
        **look,
    )
