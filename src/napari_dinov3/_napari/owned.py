"""A result layer that the next result of its kind replaces, as long as it is still as it was made.

Trying settings out must not leave twenty layers behind, and must never take away what a user has done. So a layer is reused
only if it was added here, is still in the viewer, belongs to the same source, and its data have not been replaced or painted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any
from weakref import ref

from napari_dinov3._napari.compat import unwrap
from napari_dinov3._napari.results import selection_kept


class OwnedLayer:
    """One result layer of a viewer.

    Parameters
    ----------
    viewer : napari viewer
        Also a ViewerModel. Only a weak reference is kept.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = ref(unwrap(viewer))  # the session of a viewer holds this, and must not keep the viewer alive
        self._layer_id: Hashable = None
        self._belongs_to: Hashable = None
        self._shown: Any = None
        self._painted = False

    @property
    def layer(self) -> Any:
        """The layer, or None where there is none (any more)."""
        viewer = self._viewer()
        layers = () if viewer is None else viewer.layers
        return next((layer for layer in layers if layer.unique_id == self._layer_id), None)

    def show(self, data: Any, *, belongs_to: Hashable, metadata: Mapping[str, Any], add: Callable[[], Any]) -> Any:
        """Show a result: in the layer that is there, or in a new one.

        Parameters
        ----------
        data : array
            Arranged as the layer has it.
        belongs_to : hashable
            What must be equal for the layer to be reused: the source and everything that gives it its place.
        metadata : mapping
            Of this result.
        add : callable
            Adds a new layer with this result and returns it.
        """
        layer = self.layer
        if layer is None or not self.reusable(belongs_to):
            with selection_kept(self._viewer()):
                layer = add()
            self._layer_id, self._belongs_to, self._painted = layer.unique_id, belongs_to, False
            self._watch(layer)
        else:
            layer.data = data
            layer.metadata = dict(metadata)
        self._shown = unwrap(layer).data  # a proxy gives another object for data of a class of ours each time
        return layer

    def reusable(self, belongs_to: Hashable) -> bool:
        """Whether the layer is as it was made and belongs to this source, so that its data may be filled in place."""
        return self.showing and not self._painted and belongs_to == self._belongs_to

    @property
    def showing(self) -> bool:
        """Whether the layer is there and has not been given other data; strokes in it do not count."""
        layer = self.layer
        return layer is not None and layer.data is self._shown

    def refresh(self) -> None:
        """Draw again, after the data shown were filled further.

        The thumbnail waits for :meth:`refresh_thumbnail`: napari draws the whole layer list for it.
        """
        layer = self.layer
        if layer is not None:
            layer.refresh(thumbnail=False, highlight=False, extent=False)

    def refresh_thumbnail(self) -> None:
        """Bring the picture in the layer list in step with the data."""
        layer = self.layer
        if layer is not None:
            layer.refresh(data_displayed=False, highlight=False, extent=False)

    def release(self) -> None:
        """Leave the present layer to the user; the next result gets a new one."""
        self._layer_id = None

    def _watch(self, layer: Any) -> None:
        events = unwrap(layer).events
        if hasattr(events, "paint"):
            events.paint.connect(self._on_paint)

    def _on_paint(self, event: Any) -> None:
        if unwrap(event.source).unique_id == self._layer_id:
            self._painted = True
