"""The few spots where a napari object differs from the proxy a plugin is handed, or one version from another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def unwrap(thing: Any) -> Any:
    """Take a napari object out of the proxy plugins receive.

    Two proxies of one layer are different objects and a weak reference to one dies at once; the object itself is stable.
    """
    return getattr(thing, "__wrapped__", thing)


def world_point(viewer: Any) -> tuple[float, ...]:
    """Read where the sliders of a viewer stand, in world units, one number a displayed or sliced axis."""
    return tuple(float(x) for x in viewer.dims.point)


def to_data(layer: Any, world: Sequence[float]) -> tuple[float, ...]:
    """Convert a world position into index coordinates of a layer.

    Parameters
    ----------
    layer : napari Layer
        Any layer.
    world : floats
        Position in the viewer's world. Where the layer has more axes, 0 stands in front; where it has fewer, the last count.
    """
    point = np.asarray(world, dtype=np.float64)
    if len(point) < layer.ndim:
        point = np.concatenate([np.zeros(layer.ndim - len(point)), point])
    return tuple(float(x) for x in layer.world_to_data(point[-layer.ndim :]))


def camera_of(viewer: Any) -> Any:
    """Get the camera of a viewer; its `mouse_pan` says whether a drag in the canvas moves it (zooming by wheel stays)."""
    scene = getattr(viewer, "scene", None)  # napari >= 0.9 keeps the camera there and warns at the old place
    return scene.camera if scene is not None else viewer.camera
