"""Clicks and drags in the canvas, handed to a panel while it asks for them; panning by drag rests meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar
from weakref import WeakSet

from napari_dinov3._napari.compat import camera_of, unwrap

LEFT = 1
LOOK_AROUND = "pan_zoom"


class ClickPicker:
    """Hand world positions from the canvas to a callback.

    Left clicks without a modifier count. One picker of a viewer is on at a time: starting another stops it. The tool of the
    active layer (a brush, say) is put down meanwhile and taken up again afterwards; a tool taken up while clicks are handed on
    gets its clicks, and the picker none.

    Parameters
    ----------
    viewer : napari viewer
        Whose canvas.
    on_pick : callable
        Called with the world position and whether the pointer has come to rest (False while it is dragged).
    on_taken : callable, optional
        Called when another picker of the viewer took the clicks over.
    """

    _on: ClassVar[WeakSet[ClickPicker]] = WeakSet()

    def __init__(self, viewer: Any, on_pick: Callable[[Any, bool], None], on_taken: Callable[[], None] | None = None) -> None:
        self._viewer = unwrap(viewer)
        self._on_pick, self._on_taken = on_pick, on_taken
        self._active = False
        self._tool: tuple[Any, str] | None = None

    @property
    def active(self) -> bool:
        """Whether clicks are handed on."""
        return self._active

    def start(self) -> None:
        """Begin to hand clicks on."""
        if self._active:
            return
        for other in [picker for picker in self._on if picker._viewer is self._viewer]:
            other._give_way()
        self._active = True
        self._on.add(self)
        self._put_tool_down()
        self._viewer.mouse_drag_callbacks.append(self._on_mouse)
        camera = camera_of(self._viewer)
        camera.events.mouse_pan.connect(self._hold_still)
        camera.mouse_pan = False

    def stop(self) -> None:
        """Leave the mouse to napari again, as the active layer has it."""
        if not self._active:
            return
        self._active = False
        self._on.discard(self)
        self._viewer.mouse_drag_callbacks.remove(self._on_mouse)
        camera = camera_of(self._viewer)
        camera.events.mouse_pan.disconnect(self._hold_still)
        self._take_tool_up()
        active = self._viewer.layers.selection.active
        camera.mouse_pan = True if active is None else active.mouse_pan

    def _give_way(self) -> None:
        self.stop()
        if self._on_taken is not None:
            self._on_taken()

    def _put_tool_down(self) -> None:
        active = self._viewer.layers.selection.active
        self._tool = (active, str(active.mode)) if self._busy() else None
        if self._tool is not None:
            active.mode = LOOK_AROUND

    def _take_tool_up(self) -> None:
        if self._tool is None:
            return
        (layer, mode), self._tool = self._tool, None
        if layer in self._viewer.layers and layer.mode == LOOK_AROUND:
            layer.mode = mode

    def _busy(self) -> bool:
        """Whether the active layer has a tool that takes the clicks."""
        active = self._viewer.layers.selection.active
        return active is not None and active.mode != LOOK_AROUND

    def _hold_still(self, event: Any = None) -> None:
        """Keep panning off: napari turns it on again with every change of the active layer, such as an added result."""
        camera = camera_of(self._viewer)
        if self._active and camera.mouse_pan:
            camera.mouse_pan = False

    def _on_mouse(self, viewer: Any, event: Any) -> Any:
        """Follow the pointer from press to release."""
        if event.button != LEFT or len(event.modifiers) or self._busy():
            return
        position = tuple(event.position)
        self._on_pick(position, False)
        yield
        while event.type == "mouse_move":
            position = tuple(event.position)
            self._on_pick(position, False)
            yield
        self._on_pick(position, True)
