"""A button, and a key in the canvas, that go to the next place where a stroke helps most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_dinov3._napari.compat import unwrap
from napari_dinov3._napari.owned import OwnedLayer
from napari_dinov3._napari.segment import paint_next
from napari_dinov3._napari.segment.live import Round
from napari_dinov3._napari.segment.scribble_book import Painted
from napari_dinov3.segment.next_scribbles import UncertainPlace
from napari_dinov3.widgets.runner import Done, Failed, JobRunner
from napari_dinov3.widgets.status import State, error_text

KEY = "Alt-N"


class PaintNext(QWidget):
    """Go from one uncertain place to the next.

    Parameters
    ----------
    viewer : napari viewer
        Whose slider and camera move; the key is bound in it until :meth:`dispose`.
    owned : OwnedLayer
        The mark.
    state : callable
        Gives the last round with a trained probe, or None, and what is painted.
    say : callable
        Shows a status.
    """

    def __init__(
        self,
        viewer: Any,
        owned: OwnedLayer,
        state: Callable[[], tuple[Round | None, Painted | None]],
        say: Callable[[State, str], None],
    ) -> None:
        super().__init__()
        self._viewer, self._owned, self._state, self._say = viewer, owned, state, say
        self._places: list[UncertainPlace] = []
        self._found_for: Any = None
        self.runner = JobRunner(self)
        self.runner.finished.connect(self._on_found)
        self.button = QPushButton("Where to paint next")
        self.button.setToolTip(f"Go to the region the probe is least sure of, and mark it; key {KEY} in the canvas.")
        self.button.clicked.connect(lambda _=False: self.go())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.button)
        unwrap(viewer).bind_key(KEY, self._on_key, overwrite=True)

    def go(self) -> None:
        """Go to the next place; the first time after a new training, look for places."""
        work, painted = self._state()
        if work is None or not work.prediction.trained:
            self._say("warning", "There is no trained probe yet; paint two classes first.")
        elif self._found_for is work.prediction and self._places:
            self._show(work)
        elif not self.runner.running:
            self._found_for = work.prediction
            self.runner.run(paint_next.places_steps(work, painted), "Where to paint next")

    def refresh(self) -> None:
        """Bring the button in step."""
        work, _ = self._state()
        self.button.setEnabled(work is not None and work.prediction.trained)

    def dispose(self) -> None:
        """Let go of the key and of a running search."""
        self.runner.abandon()
        viewer = unwrap(self._viewer)
        if any(slot == self._on_key for slot in viewer.keymap.values()):
            viewer.bind_key(KEY, None, overwrite=True)

    def _on_key(self, viewer: Any = None) -> None:
        self.go()

    def _on_found(self, outcome: Any) -> None:
        work, _ = self._state()
        if isinstance(outcome, Failed):
            self._say("error", error_text(outcome.error))
        elif isinstance(outcome, Done) and work is not None:
            self._places = list(outcome.result)
            self._show(work)

    def _show(self, work: Round) -> None:
        if not self._places:
            self._say("done", "The probe is sure everywhere it has looked; nothing needs another stroke.")
            return
        place = self._places.pop(0)
        paint_next.go_to(self._viewer, self._owned, work.request, place)
        self._say(
            "done",
            f"Plane {place.plane + 1}, row {place.row}, column {place.col}: uncertainty {place.uncertainty:.2f} of 1. "
            f"{len(self._places)} more places.",
        )
