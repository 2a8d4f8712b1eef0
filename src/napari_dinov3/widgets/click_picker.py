"""Clicks and drags in the canvas, handed to a panel while it asks for them; panning by drag rests meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari_dinov3._napari.compat import set_mouse_pan, unwrap


class ClickPicker:
    """Hand world positions from the canvas to a callback.

    Parameters
    ----------
    viewer : napari viewer
        Whose canvas.
    on_pick : callable
        Called with the world position and whether the pointer has come to rest (False while it is dragged).
    """

    def __init__(self, viewer: Any, on_pick: Callable[[Any, bool], None]) -> None:
        self._viewer = unwrap(viewer)
        self._on_pick = on_pick
        self._active = False

    @property
    def active(self) -> bool:
        """Whether clicks are handed on."""
        return self._active

    def start(self) -> None:
        """Begin to hand clicks on."""
        if not self._active:
            self._active = True
            self._viewer.mouse_drag_callbacks.append(self._on_mouse)
            set_mouse_pan(self._viewer, False)

    def stop(self) -> None:
        """Leave the mouse to napari again."""
        if self._active:
            self._active = False
            self._viewer.mouse_drag_callbacks.remove(self._on_mouse)
            set_mouse_pan(self._viewer, True)

    def _on_mouse(self, viewer: Any, event: Any) -> Any:
        """Follow the pointer from press to release."""
        position = tuple(event.position)
        self._on_pick(position, False)
        yield
        while event.type == "mouse_move":
            position = tuple(event.position)
            self._on_pick(position, False)
            yield
        self._on_pick(position, True)
