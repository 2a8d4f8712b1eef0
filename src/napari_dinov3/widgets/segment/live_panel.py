"""A panel with a live loop: strokes are noticed, and each is answered by a round; a newer one takes the place of the one before.

Strokes are noticed and read by a :class:`~napari_dinov3.widgets.segment.scribble_watch.ScribbleWatch`; a round is made by the
panel and runs in its worker (:mod:`napari_dinov3._napari.segment.live`). A round that has been answered, failed or was cancelled
is not begun again before the paint or a setting changes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from qtpy.QtWidgets import QCheckBox

from napari_dinov3._napari.compat import unwrap, world_point
from napari_dinov3._napari.jobs import estimate_features, is_quick
from napari_dinov3._napari.layers import plane_at
from napari_dinov3._napari.segment import live
from napari_dinov3._napari.segment.live import PlaneReady, Round, SoftReady
from napari_dinov3._napari.segment.prediction import Canvas, PlaneStack, Prediction
from napari_dinov3._napari.segment.result_layer import metadata_of
from napari_dinov3._napari.segment.scribble_book import Painted
from napari_dinov3._napari.segment.soft_attention import SoftAttention
from napari_dinov3._napari.segment.soft_layers import show_soft_layers
from napari_dinov3._napari.segment.soft_stack import SoftCanvas
from napari_dinov3.errors import InputError
from napari_dinov3.features.on_demand import planes_here
from napari_dinov3.image import Planes
from napari_dinov3.progress import Job, Progress
from napari_dinov3.widgets.image_panel import ImagePanel
from napari_dinov3.widgets.layer_chooser import LayerChooser
from napari_dinov3.widgets.runner import Cancelled, Done, Failed
from napari_dinov3.widgets.segment.class_editor import ClassEditor
from napari_dinov3.widgets.segment.learning_curve import LearningCurve
from napari_dinov3.widgets.segment.probe_files import ProbeFiles
from napari_dinov3.widgets.segment.scribble_watch import ScribbleWatch
from napari_dinov3.widgets.status import error_text

LIVE_WAITS = "Live begins once the features of this plane are there; press 'Train and label'."

NAME, PROBES = "SegmentPanel", "SegmentPanel probes"
"""Of the panel in the session: what goes with its image, and the probes, which serve other images too."""


class LivePanel(ImagePanel):
    """Base of the Segment panel: everything between a stroke and its answer."""

    live: QCheckBox
    scribbles: LayerChooser
    files: ProbeFiles
    editor: ClassEditor
    watch: ScribbleWatch
    curve: LearningCurve

    def begin_live(self) -> None:
        """Take over what an earlier panel of the viewer has left."""
        live.load_ahead()
        self.owned = self.session.owned(NAME)
        self._round: Round | None = self.session.kept(NAME).get("run")
        self._canvas: Canvas | None = None if self._round is None else self._round.canvas
        self._painted: Painted | None = None
        self._in_round = self._filling = False
        self._said = "", "ready"
        self._plane = 0
        self.soft = SoftAttention(partial(self.session.owned, NAME), self._canvases, self.fill_soft)
        self.soft.follow()
        self.on_close(self.soft.stop)

    def make_round(self, scribbles: Planes | Painted | None, *, everything: bool = True) -> Round:
        """Make a round from the present settings."""
        raise NotImplementedError

    def show_labels(self, run: Round) -> Any:
        """Show what is labelled by now; give the layer."""
        raise NotImplementedError

    def soft_wanted(self) -> dict[str, bool]:
        """Say whether probabilities and uncertainty are asked for."""
        raise NotImplementedError

    def show_soft(self, run: Round) -> list[Any]:
        """Show probabilities and uncertainty where they are asked for; give the layers."""
        shown = show_soft_layers(
            self.viewer,
            partial(self.session.owned, NAME),
            run.request,
            run.prediction,
            metadata=metadata_of(run),
            canvases=self.session.kept(NAME).setdefault("soft", {}),
            painted_in=run.painted_in,
            **self.soft_wanted(),
        )
        self.soft.follow()
        return shown

    def looks_soft(self) -> bool:
        """Whether a layer with probabilities or uncertainty is visible, and will be brought up to date."""
        layers = (self.session.owned(NAME, kind).layer for kind in self._canvases())
        return any(self.soft_wanted().values()) and any(layer is not None and layer.visible for layer in layers)

    def fill_soft(self, event: Any = None) -> None:
        """Have the worker fill the plane in view of visible probabilities and uncertainty, where it is not there."""
        run, image = self._round, self.image.value()
        if run is not None and (image is None or image.unique_id != run.request.source.placement.layer_id):
            run = None
        running = self.runner.running and self._in_round
        missing = self.soft.attend(run, running=running)
        if run is None or not run.prediction.trained:
            return
        if running:
            run.soft = run.soft or self.looks_soft()
        elif missing and not self.runner.running:
            run.soft = self._in_round = self._filling = True
            self._said = self.status.text(), self.status.property("state")
            self.start(live.soft_steps(run), "Probabilities", self._show_filled, listed=False)

    def _show_filled(self, result: None) -> str:
        self.soft.draw_thumbnails()
        return "Probabilities are drawn."

    def _canvases(self) -> dict[str, SoftCanvas]:
        canvases: dict[str, SoftCanvas] = self.session.kept(NAME).get("soft", {})
        return canvases

    def steps_of(self, work: Round) -> Job[Prediction]:
        """Make the job of a round, which is the present one from now on."""
        self._round, self._in_round, self._filling = work, True, False
        work.soft = self.looks_soft()
        return live.round_steps(self.session, work, self._pace())

    def _pace(self) -> dict[Any, float]:
        pace: dict[Any, float] = self.session.kept(PROBES).setdefault("pace", {})
        return pace

    def _answer(self) -> None:
        """Begin a round for what is painted now, unless the last one answers it, or something newer is about to be read."""
        painted = self._painted
        if self.watch.waiting:
            return
        if painted is None or not painted.planes or not self.live.isChecked() or self.files.loaded or self._problem():
            return
        if self.runner.running and not self._in_round:
            return  # another job goes on; its end comes back here
        try:
            request = self.request()
            estimate = estimate_features(request.source.planes, request.config)
            grid = (estimate.planes, *estimate.grid, estimate.dim)
            work = self.make_round(painted, everything=not live.looks_only(request, grid))
            if self._answered(work):
                self._add_soft()
                return
            if not self._can_be_live(work):
                return
            work.script = self.ran_script = self.script()
        except InputError as error:
            self.say("error", error_text(error))
            return
        self.start(self.steps_of(work), "Live", self.show_result, listed=False)

    def _answered(self, work: Round) -> bool:
        """Whether the last round, also one that still runs, failed or was cancelled, is the same."""
        last = self._round
        if last is None or last.answers != work.answers:
            return False
        reading = last.digest is None and self.runner.running
        return reading or last.digest == work.digest

    def _can_be_live(self, work: Round) -> bool:
        features = self.session.find(work.request.key, begun=True)
        here = features is not None and work.request.visible in planes_here(features)
        if not here and not is_quick(work.request.config):
            self.say("ready", LIVE_WAITS)
            return False
        return True

    def _show_progress(self) -> None:
        run = self._round
        if run is not None and self._in_round and run.prediction.begun and (run.canvas is None or self.owned.showing):
            self.show_labels(run)

    def _add_soft(self) -> None:
        """Add layers that were asked for after the answer was there."""
        run = self._round
        if run is None or self.runner.running or not run.prediction.trained or not any(self.soft_wanted().values()):
            return
        before = {layer.unique_id for layer in self.viewer.layers}
        added = [layer.name for layer in self.show_soft(run) if layer.unique_id not in before]
        if added:
            self.say("done", f"Added {', '.join(map(repr, added))}, hidden at first: click the eye in the layer list.")

    def _show_soft_progress(self) -> None:
        run = self._round
        flat = unwrap(self.viewer).dims.ndisplay == 2  # a volume is drawn once all planes are there
        if run is not None and self._in_round and flat:
            self.show_soft(run)
            self.fill_soft()  # those that are not asked for any more

    def ready_text(self) -> str:
        """Say what to paint next, as long as there is too little to learn from."""
        if self.scribbles.value() is None or self.files.loaded is not None or self.session.kept(PROBES).get("examples"):
            return ""
        classes = 0 if self._painted is None else len(self._painted.counts)
        if classes == 0:
            return "Paint a stroke of class 1 in the image (key P takes the brush), then one of class 2 (key M)."
        if classes == 1:
            return "Now paint a stroke of a second class: choose it in the list of classes, or press key M."
        return "" if self.live.isChecked() else f"Press '{self.run_text}', or switch 'Live' on."

    def on_painted(self, painted: Painted) -> None:
        """Take note of what is painted, and answer it where live is on."""
        self._painted = painted
        self.editor.show(painted)
        if not self.runner.running and self.status.property("state") == "ready":
            self.say("ready", self.ready_text())
        self._answer()

    def on_unreadable(self, error: Exception) -> None:
        """Say why the scribbles cannot be read, where nobody has asked for it."""
        there = self.image.value() is not None  # where it is gone, the line below Run says so
        if there and self.live.isChecked() and not self.runner.running and not self.files.loaded:
            self.say("error", error_text(error))

    def look_at_view(self) -> None:
        """Take note of the plane in view; a round that runs goes on from there."""
        try:
            self._plane = 0 if self.image.value() is None else plane_at(self.source(), world_point(self.viewer))
        except InputError:
            return
        if self._round is not None:
            self._round.focus = self._plane

    def on_view(self, event: Any = None) -> None:
        """Label the plane that came into view next; where planes are only labelled when looked at, now."""
        self.look_at_view()
        self._label_view()
        self.fill_soft()

    def _label_view(self) -> None:
        run = self._round
        if run is None or self.runner.running or not self.live.isChecked() or run.everything:
            return
        labels = run.prediction.labels
        if isinstance(labels, PlaneStack) and self._plane not in run.prediction.done:
            self._in_round, self._filling, run.soft = True, False, self.looks_soft()
            self.start(live.label_steps(run, self._pace()), "Live", self.show_result, listed=False)

    def _on_progress(self, event: Progress) -> None:
        super()._on_progress(event)
        if isinstance(event, PlaneReady):
            self._show_progress()
        elif isinstance(event, SoftReady):
            self._show_soft_progress()
        elif hasattr(event, "miou"):  # an epoch of the decoder, whose module is loaded with torch alone
            self.curve.add(event)

    def _on_finished(self, outcome: Done | Failed | Cancelled) -> None:
        run = self._round
        if self._in_round and run is not None and run.prediction.trained and self.files.loaded is not run.prediction.probe:
            run.name_classes()
            self.files.trained = run.prediction.probe
        self._show_progress()  # what the last events did not bring any more
        filled = self._filling and isinstance(outcome, Done)
        again = filled or not self._filling  # what failed or was cancelled is not begun anew by itself
        self._in_round = self._filling = False
        super()._on_finished(outcome)
        if filled:  # nobody has asked for it; what was said of the last answer still holds
            text, state = self._said
            self.status.setText(text)
            self.status.setProperty("state", state)
        self._answer()  # what was painted while another job went on
        if again:
            self.fill_soft()
