"""Which channel of a layer an alignment is estimated on; the others are moved along afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari_dinov3._napari.compat import to_data
from napari_dinov3._napari.layers import read_layer

_CHANNELS = frozenset({"c", "ch", "channel", "channels"})
_TIMES = frozenset({"t", "time", "frame", "frames"})


def channel_axis(layer: Any) -> int | None:
    """Find the axis of a layer along which its channels lie, or None.

    It is called so; without such a name it is the first axis beyond planes, rows and columns that is not time.
    """
    if layer is None or layer.ndim < 3:
        return None
    labels = [str(label).lower() for label in layer.axis_labels]
    named = [axis for axis in range(layer.ndim - 2) if labels[axis] in _CHANNELS]
    stack = read_layer(layer).placement.stack
    others = [axis for axis in range(layer.ndim - 2) if axis != stack and labels[axis] not in _TIMES]
    return next((axis for axis in (*named, *others) if _shape(layer)[axis] > 1 and axis != stack), None)


def channel_count(layer: Any) -> int:
    """Count the channels of a layer; 1 where it has no such axis."""
    axis = channel_axis(layer)
    return 1 if axis is None else int(_shape(layer)[axis])


def point_of_channel(layer: Any, point: Sequence[float], channel: int | None) -> tuple[float, ...]:
    """Move a world point onto a channel of a layer; None leaves it where the sliders are.

    Parameters
    ----------
    layer : napari layer
    point : floats
        World position of the sliders.
    channel : int or None
        Counted from 0; the last one where there are fewer.
    """
    axis = channel_axis(layer)
    if channel is None or axis is None:
        return tuple(point)
    at = list(to_data(layer, point))
    at[axis] = min(channel, int(_shape(layer)[axis]) - 1)
    return tuple(float(x) for x in layer.data_to_world(at))


def _shape(layer: Any) -> tuple[int, ...]:
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    return tuple(data.shape)
