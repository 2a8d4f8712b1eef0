"""Who fills the planes of probability and uncertainty layers that come into view: the panel's worker, as long as it can.

While it can, a plane that is not there yet is drawn empty at once and drawn again when the worker has filled it. Where it cannot,
because the panel was closed, its image is another one or the last round failed, the plane is computed by whoever draws it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from napari_dinov3._napari.compat import unwrap
from napari_dinov3._napari.owned import OwnedLayer
from napari_dinov3._napari.segment.live import Round
from napari_dinov3._napari.segment.soft_stack import SoftCanvas


class SoftAttention:
    """The layers with probabilities and uncertainty of one panel.

    Parameters
    ----------
    owned : callable
        Gives the result layer of a kind.
    canvases : callable
        Gives what the layers show, by kind.
    on_eye : callable
        Called when a layer is shown or hidden; a bound method, of which only a weak reference is kept.
    """

    def __init__(
        self,
        owned: Callable[[str], OwnedLayer],
        canvases: Callable[[], Mapping[str, SoftCanvas]],
        on_eye: Callable[..., None],
    ) -> None:
        self._owned, self._canvases, self._on_eye = owned, canvases, on_eye
        self._followed: dict[Any, tuple[Any, SoftCanvas]] = {}

    def follow(self) -> None:
        """Notice from now on when a layer that is there is shown or hidden."""
        for kind, canvas in self._canvases().items():
            owned = self._owned(kind)
            if owned.showing and owned.layer.unique_id not in self._followed:
                layer = unwrap(owned.layer)
                self._followed[layer.unique_id] = layer, canvas
                layer.events.visible.connect(self._on_eye)

    def stop(self) -> None:
        """Leave the layers to themselves; touches no Qt object that may be gone."""
        for layer, canvas in self._followed.values():
            layer.events.visible.disconnect(self._on_eye)
            canvas.attended = False
        self._followed.clear()

    def draw_thumbnails(self) -> None:
        """Bring the pictures in the layer list in step; napari draws the whole list for each, so not while people paint."""
        for layer, _ in self._followed.values():
            if layer.visible:
                layer.refresh(data_displayed=False, highlight=False, extent=False)

    def attend(self, run: Round | None, *, running: bool) -> bool:
        """Settle which layers the worker fills, and draw again what has changed.

        Parameters
        ----------
        run : Round or None
            The present one, of the image that is chosen.
        running : bool
            Whether it has not ended yet: then it fills what is looked at in the end.

        Returns
        -------
        missing : bool
            Whether a visible layer of the round waits for the plane in view.
        """
        soft = None if run is None else run.prediction.soft
        present, missing = list(self._canvases().values()), False
        for layer, canvas in self._followed.values():
            answered = soft is not None and canvas.stack is soft
            canvas.attended = run is not None and canvas in present and (running or answered)
            if canvas.outdated:
                layer.refresh(thumbnail=False, highlight=False, extent=False)
            missing |= run is not None and answered and canvas.attended and layer.visible and run.focus not in canvas.stack
        return missing
