"""Results as new layers: placed like their source, named freely, never over a layer that exists."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np

from napari_dinov3._napari.compat import unwrap
from napari_dinov3._napari.layers import Placement, free_name
from napari_dinov3.features.feature_map import FeatureMap

Kind = Literal["image", "labels", "points", "shapes"]


def add_pixels(
    viewer: Any, placement: Placement, data: Any, *, kind: Kind = "image", name: str, metadata: Mapping[str, Any], **options: Any
) -> Any:
    """Add a result with one value a pixel.

    Parameters
    ----------
    viewer : napari viewer
        Also a ViewerModel.
    placement : Placement
        Of the source layer.
    data : (planes, rows, cols[, 3]) array
        The result; bool becomes labels 0 and 1.
    kind : str
        Layer type.
    name : str
        Wanted; made free.
    metadata : mapping
        See :mod:`~napari_dinov3._napari.provenance`.
    **options
        Of the layer: colormap, opacity, rgb and so on.

    Returns
    -------
    layer : napari layer
    """
    return _add(viewer, kind, placement.arrange(storable(data, kind)), name, metadata, placement.pixel_transform(), options)


def add_arranged(viewer: Any, placement: Placement, data: Any, *, name: str, metadata: Mapping[str, Any], **options: Any) -> Any:
    """Add an image whose data have the axes of the source layer already; see :func:`add_pixels`."""
    return _add(viewer, "image", data, name, metadata, placement.pixel_transform(), options)


def add_patches(
    viewer: Any,
    placement: Placement,
    features: FeatureMap,
    data: Any,
    *,
    kind: Kind = "image",
    name: str,
    metadata: Mapping[str, Any],
    **options: Any,
) -> Any:
    """Add a result with one value a patch; see :func:`add_pixels`.

    Parameters
    ----------
    viewer, placement, kind, name, metadata, **options
        As in :func:`add_pixels`.
    features : FeatureMap
        Whose grid the data are on.
    data : (planes, grid rows, grid cols[, 3]) array
        The result.
    """
    transform = placement.patch_transform(features.stride, features.first_centre)
    return _add(viewer, kind, placement.arrange(storable(data, kind)), name, metadata, transform, options)


@contextmanager
def selection_kept(viewer: Any) -> Iterator[None]:
    """Keep the layer selection while layers are added, so that a click goes on in the layer the user works in."""
    selected = [layer.unique_id for layer in viewer.layers.selection]
    active = viewer.layers.selection.active
    yield
    if not selected:
        return
    viewer.layers.selection.clear()
    for layer in viewer.layers:
        if layer.unique_id in selected:
            viewer.layers.selection.add(unwrap(layer))
    if active is not None and active in viewer.layers:
        viewer.layers.selection.active = unwrap(active)


def beneath(viewer: Any, layer: Any, painted_in: Hashable, *, image: Hashable) -> None:
    """Move a new result under the layer people paint in, so that strokes stay seen; the order of all other layers stays.

    Parameters
    ----------
    viewer : napari viewer
        Also a ViewerModel.
    layer : napari layer
        Just added.
    painted_in : hashable
        Unique id of the layer with the strokes; nothing is moved where it is not there.
    image : hashable
        Unique id of the source. A result is not moved under it, where nobody would see it.
    """
    places = {each.unique_id: place for place, each in enumerate(viewer.layers)}
    top = places.get(painted_in)
    if top is not None and places.get(image, -1) < top < places[layer.unique_id]:
        viewer.layers.move(places[layer.unique_id], top)


def empty_labels(
    viewer: Any, placement: Placement, shape: tuple[int, int, int], *, name: str, metadata: Mapping[str, Any], **options: Any
) -> Any:
    """Add an empty labels layer in the place of an image, to paint on.

    Parameters
    ----------
    viewer, placement, name, metadata, **options
        As in :func:`add_pixels`.
    shape : (planes, rows, cols)
        Of the image.
    """
    return add_pixels(viewer, placement, np.zeros(shape, np.uint8), kind="labels", name=name, metadata=metadata, **options)


def add_shapes(
    viewer: Any, placement: Placement, shapes: Sequence[Any], *, name: str, metadata: Mapping[str, Any], **options: Any
) -> Any:
    """Add shapes in pixel coordinates of the source.

    Parameters
    ----------
    viewer, placement, name, metadata, **options
        As in :func:`add_pixels`.
    shapes : list of (n, ndim) arrays
        Corners, in the axes of the layer.
    """
    return _add(viewer, "shapes", list(shapes), name, metadata, placement.pixel_transform(), options)


def storable(data: Any, kind: Kind) -> Any:
    """Give a result the data type its layer needs: bool becomes labels 0 and 1."""
    return data.astype(np.uint8) if kind == "labels" and data.dtype == bool else data


def _add(
    viewer: Any,
    kind: Kind,
    data: Any,
    name: str,
    metadata: Mapping[str, Any],
    transform: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Any:
    add = getattr(viewer, f"add_{kind}")
    return add(data, name=free_name(viewer.layers, name), metadata=dict(metadata), **transform, **options)
