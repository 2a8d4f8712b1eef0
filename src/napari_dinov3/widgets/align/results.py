"""What the Align panel does with an alignment: table and matrix, views, other layers, files.

An alignment of a stack and one of a pair are kept side by side in the session; which one is shown follows the choice above.
"""

from __future__ import annotations

from typing import Any, ClassVar

from qtpy.QtWidgets import QPushButton

from napari_dinov3._napari import script
from napari_dinov3._napari.align import files as alignment_files
from napari_dinov3._napari.align import layers as alignment_layers
from napari_dinov3._napari.align import stack as alignment
from napari_dinov3._napari.align import views as alignment_views
from napari_dinov3._napari.align.apply import KINDS, Moved, check_fits, move_steps
from napari_dinov3._napari.align.layers import Blinker
from napari_dinov3._napari.align.link_quality import link_cells
from napari_dinov3._napari.align.pair import AlignedPair, landmark_text, landmarks_of, pair_text
from napari_dinov3._napari.align.stack import Aligned
from napari_dinov3._napari.align.views import Strips
from napari_dinov3._napari.layers import plane_at
from napari_dinov3._napari.provenance import provenance_of
from napari_dinov3.errors import InputError
from napari_dinov3.widgets.align.compare import CompareBox
from napari_dinov3.widgets.align.files import AlignFiles
from napari_dinov3.widgets.align.link_matrix import LinkMatrix
from napari_dinov3.widgets.align.pair import PairFields
from napari_dinov3.widgets.align.section_table import SectionTable
from napari_dinov3.widgets.form import wrapped_label
from napari_dinov3.widgets.image_panel import ImagePanel
from napari_dinov3.widgets.layer_chooser import LayerChooser
from napari_dinov3.widgets.panel import field_row
from napari_dinov3.widgets.runner import Done, JobRunner
from napari_dinov3.widgets.status import error_text
from napari_dinov3.wording import counted

Kept = Aligned | AlignedPair
NAME, PAIR = alignment_layers.PANEL, f"{alignment_layers.PANEL} pair"
"""Of the panel in the session: what goes with the aligned stack, and with the fixed image of a pair."""


class AlignResults(ImagePanel):
    """Base of the Align panel: everything after an alignment is there."""

    uses_features: ClassVar[bool] = False
    pair: PairFields

    def build_results(self) -> None:
        """Add the sections of results."""
        self._tabled: Kept | None = None
        self._side = JobRunner(self)
        self._side.finished.connect(self._on_side)
        self.on_close(self._side.abandon)
        self.table, self.matrix = SectionTable(), LinkMatrix()
        self.table.useChanged.connect(self.solve_again)
        self.table.planeChosen.connect(self.show_plane)
        self.verdict = wrapped_label(name="verdict")
        self.undo_button = QPushButton("Undo edit")
        self.undo_button.setToolTip("Go back to the poses before the last box was ticked or unticked; nothing is matched again.")
        self.undo_button.clicked.connect(lambda _=False: self.undo_edit())
        self.pair_facts = wrapped_label(name="pair_facts")
        self.stack_box = self.section("How each plane was moved (px, °)", self.verdict, self.table, self.undo_button, self.matrix)
        self.pair_box = self.section("How well the two match", self.pair_facts)
        self.compare = CompareBox()
        self.compare.boardRequested.connect(self.add_checkerboard)
        self.compare.gridRequested.connect(self.add_grid)
        self.compare.blinkRequested.connect(self.blink)
        self.compare.rowChanged.connect(self.cut_across)
        self.look_box = self.section("Look", self.compare)
        self._build_follower()
        self.files = AlignFiles()
        self.files.saveRequested.connect(self.save)
        self.files.loadRequested.connect(self.load)
        self.section("Files", self.files)

    def _build_follower(self) -> None:
        self.whose = wrapped_label(name="whose")
        self.follower = LayerChooser(
            self.viewer,
            KINDS,
            label="Layer to move along",
            optional="none",
            tooltip="A layer that lies on the aligned one: channels, labels, points, shapes; all levels of a pyramid.",
        )
        self.move_button = QPushButton("Move this layer along")
        self.move_button.clicked.connect(self.move_follower)
        self.follow_box = self.section("Another layer", self.whose, field_row("Layer", self.follower), self.move_button)
        self.follower.valueChanged.connect(self.refresh)
        self.on_close(self.follower.dispose)

    @property
    def is_pair(self) -> bool:
        """Whether two layers are aligned, not the planes of one."""
        raise NotImplementedError

    @property
    def kept(self) -> Any:
        """The last alignment of this viewer, of the kind that is chosen; it goes with the layer that stayed in place."""
        there = self.session.kept(PAIR if self.is_pair else NAME)
        if "aligned" in there:
            there["aligned"] = alignment_layers.with_present_names(there["aligned"], self.viewer)
        return there.get("aligned")

    def keep(self, kept: Kept) -> None:
        """Keep an alignment for the next panel of this viewer."""
        name = PAIR if isinstance(kept, AlignedPair) else NAME
        self.session.kept(name).update(aligned=kept, layer_id=alignment_layers.frame_of(kept).placement.layer_id)

    def refresh(self, *_: Any) -> None:
        """Bring results and their buttons in step."""
        super().refresh()
        kept, pair = self.kept, self.is_pair
        self.stack_box.setHidden(pair)
        self.look_box.setHidden(kept is None)
        self.follow_box.setHidden(kept is None)
        self.pair_box.setHidden(not pair)
        if kept is not self._tabled or kept is None:
            self._tabled = kept
            self._show_kept(kept)
        self.whose.setText("" if kept is None else f"Transforms of {alignment_layers.moving_of(kept).placement.name!r}.")
        self.whose.setHidden(kept is None)
        if pair:
            self.pair_facts.setText(self._pair_facts(kept))
        running = self.runner.running
        reason = self._why_nothing_moves()
        missing = "" if self.follower.value() is not None else "Choose a layer to move along."
        self.move_button.setEnabled(not reason and not missing and not running)
        self.move_button.setToolTip(reason or missing or "Add a copy of this layer, moved along.")
        self.compare.say_why(reason, pair=pair, running=running)
        self.undo_button.setHidden(not getattr(kept, "earlier", ()))
        self.undo_button.setEnabled(not running)
        self.files.say_why(reason or ("Something is running." if running else ""), self._problem())

    def _show_kept(self, kept: Kept | None) -> None:
        stack = kept if isinstance(kept, Aligned) else None
        rows = [] if stack is None else alignment.section_table(stack.alignment, stack.config)
        self.verdict.setText(alignment.verdict_text(rows) if rows else "Nothing is aligned yet.")
        self.table.fill(rows)
        self.table.setHidden(not rows)
        cells = () if stack is None else link_cells(stack.alignment, include=stack.config.include)
        self.matrix.setValue(cells, 0 if stack is None else len(stack.alignment))
        if stack is None:
            self.compare.xz.setValue(None, 0)
            return
        strips = self.compare.xz.value()  # of the alignment before; it stays until the new one is there
        rows_there = stack.alignment.shape[0]
        self.cut_across(strips.row if strips is not None and strips.row < rows_there else rows_there // 2)

    def _pair_facts(self, kept: AlignedPair | None) -> str:
        if kept is None:
            return "Nothing is aligned yet."
        if self.pair.landmarks is None:
            return f"{pair_text(kept)}\nChoose landmarks on both images to measure the error in pixels."
        try:
            return f"{pair_text(kept)}\n{landmark_text(kept, landmarks_of(self.pair.landmarks, kept.fixed, kept.moving))}"
        except InputError as error:
            return f"{pair_text(kept)}\n{error_text(error)}"

    def _why_nothing_moves(self) -> str:
        kept, image = self.kept, self.image.value()
        if kept is None:
            return "Align the two first." if self.is_pair else "Align a stack first."
        frame = alignment_layers.frame_of(kept).placement
        if image is None or image.unique_id != frame.layer_id:
            return f"The transforms are of {frame.name!r}: choose it as the image, or align this one first."
        return ""

    def show_kept(self, kept: Kept, data: Any, like: Any) -> Any:
        """Keep an alignment, add the aligned image, bring everything in step."""
        self.keep(kept)
        code = script.script_of([*kept.lines, *alignment_layers.result_lines(kept, like)])
        layer = alignment_layers.show_aligned(self.viewer, self.session, kept, data, like, code)
        self.session.kept(PAIR if self.is_pair else NAME)["result_id"] = layer.unique_id
        self.refresh()
        return layer

    def result_layer(self) -> Any:
        """Give the layer of the aligned image, or None where it is gone."""
        wanted = self.session.kept(PAIR if self.is_pair else NAME).get("result_id")
        return next((layer for layer in self.viewer.layers if layer.unique_id == wanted), None)

    def kept_script(self) -> str:
        """Write how the present result was made, as it lies in its layer."""
        layer = self.result_layer()
        return "" if layer is None else str(provenance_of(layer).get("script", ""))

    def solve_again(self, section: int, use: bool) -> None:
        """Leave a plane out, or let it in, and solve again without matching again."""
        kept, image = self.kept, self.image.value()
        if self.runner.running or self._why_nothing_moves():
            self._tabled = None  # the box goes back to what holds
            self.refresh()
            return

        def show(result: tuple[Any, Any, Any]) -> str:
            config, path, aligned = result
            return self._show_solved(kept, config, path, aligned, image, earlier=(*kept.earlier, kept.config))

        self.start(alignment.edited_steps(kept, section, use=use), "Solving again", show)

    def undo_edit(self) -> None:
        """Take the last edit of the table back."""
        kept, image = self.kept, self.image.value()
        if self.runner.running or self._why_nothing_moves() or not kept.earlier:
            return
        config, earlier = kept.earlier[-1], kept.earlier[:-1]
        self.start(
            alignment.solve_again_steps(kept, config),
            "Solving again",
            lambda result: self._show_solved(kept, config, result[0], result[1], image, earlier=earlier),
        )

    def _show_solved(self, kept: Aligned, config: Any, path: Any, aligned: Any, like: Any, *, earlier: tuple[Any, ...]) -> str:
        layer = self.show_kept(alignment.edited(kept, config, path, earlier=earlier), aligned, like)
        return f"Added {layer.name!r}; {counted(len(path.bad), 'plane')} left out."

    def show_plane(self, section: int) -> None:
        """Show a plane of the aligned stack in the viewer."""
        kept = self.kept
        if isinstance(kept, Aligned) and not self._why_nothing_moves():
            self.compare.stop()
            alignment_layers.show_plane(self.viewer, kept, section)

    # other layers

    def follow_lines(self, kept: Kept) -> list[str]:
        """Write how the chosen other layer is moved along; why not, where it cannot be."""
        layer = self.follower.value()
        if layer is None:
            return []
        try:
            check_fits(layer, kept)
            return alignment_layers.follow_lines(kept, layer)
        except InputError as error:
            return [f"# {layer.name!r} is left out: {error.problem}"]

    def move_follower(self) -> None:
        """Add a copy of another layer, moved with the same transforms."""
        kept, layer = self.kept, self.follower.value()
        reason = self._why_nothing_moves() or ("" if layer is not None else "Choose a layer to move along.")
        if reason:
            self.say("blocked", reason)
            return
        try:
            check_fits(layer, kept)
            code = script.script_of([*kept.lines, *alignment_layers.follow_lines(kept, layer)])
        except InputError as error:
            self.say("error", error_text(error))
            return

        def show(moved: Moved) -> str:
            return f"Added {alignment_layers.show_moved(self.viewer, self.session, kept, layer, moved, code).name!r}."

        self.start(move_steps(layer, kept), "Moving along", show)

    # views

    def add_checkerboard(self) -> None:
        """Add a layer that shows neighbours, or fixed and moved image, in alternate squares."""
        kept = self.kept
        if isinstance(kept, AlignedPair):
            job = alignment_views.pair_board_steps(kept.fixed.planes, kept.moving.planes, kept.pair)
        else:
            job = alignment_views.neighbours_steps(kept.alignment, kept.source.planes)
        self.start(
            job,
            "Checkerboard",
            lambda data: f"Added {alignment_layers.show_board(self.viewer, self.session, kept, data).name!r}.",
        )

    def add_grid(self) -> None:
        """Add a grid that was moved and bent like the image."""
        kept = self.kept
        self.start(
            alignment_views.grid_steps(kept.pair if isinstance(kept, AlignedPair) else kept.alignment),
            "Grid",
            lambda grid: f"Added {alignment_layers.show_grid(self.viewer, self.session, kept, grid).name!r}.",
        )

    def blink(self) -> None:
        """Show a plane and the next one in turn, or the moved image and then not."""
        layer = self.result_layer()
        if layer is None:
            self.say("blocked", "The aligned layer is gone; align again.")
        self.compare.blink(None if layer is None else Blinker(self.viewer, self.kept, layer))

    def cut_across(self, row: int) -> None:
        """Show the stack across its planes, before and after, along a row."""
        kept = self.kept
        if isinstance(kept, Aligned):
            self._side.run(alignment_views.strip_steps(kept.source.planes, kept.alignment, row), "")

    def _on_side(self, outcome: Any) -> None:
        kept = self.kept
        if isinstance(outcome, Done) and isinstance(outcome.result, Strips) and isinstance(kept, Aligned):
            self.compare.xz.setValue(outcome.result, kept.alignment.shape[0])

    # files

    def save(self, path: str, what: str) -> None:
        """Save transforms or the aligned image; what is there is replaced (the button asks first)."""
        kept = self.kept
        reason = self._why_nothing_moves()
        if reason:
            self.say("blocked", reason)
            return
        self.start(alignment_files.save_steps(kept, path, what), "Saving", lambda written: f"Wrote {written}.")

    def load(self, path: str) -> None:
        """Apply transforms of a file to the chosen layers."""
        raise NotImplementedError

    def visible_plane(self, source: Any) -> int:
        """Give the plane the viewer shows."""
        return plane_at(source, self.viewer.dims.point)
