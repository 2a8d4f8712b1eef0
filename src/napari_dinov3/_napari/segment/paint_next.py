"""Where to paint next, in a viewer: the most uncertain regions of the planes whose features are there, and a mark to go to."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_dinov3._napari.compat import camera_of
from napari_dinov3._napari.jobs import FeatureRequest
from napari_dinov3._napari.owned import OwnedLayer
from napari_dinov3._napari.provenance import provenance
from napari_dinov3._napari.segment.live import Round
from napari_dinov3._napari.segment.scribble_book import Painted
from napari_dinov3.features.on_demand import planes_here
from napari_dinov3.geometry import transform_points
from napari_dinov3.progress import Job, Progress
from napari_dinov3.segment.next_scribbles import DEFAULT_SIZE, UncertainPlace, most_uncertain

MOST_PLANES = 8
STEP = 2  # patches; where a region of many pixels is sought, every second patch tells as much
MARK: dict[str, Any] = {
    "face_color": "transparent",
    "border_color": "yellow",
    "border_width": 0.06,
    "symbol": "square",
    "size": DEFAULT_SIZE,
}


def places_steps(work: Round, painted: Painted | None) -> Job[tuple[UncertainPlace, ...]]:
    """Find where strokes help most, in the planes nearest to the one in view whose features are there."""
    features, probe = work.prediction.features, work.prediction.probe
    if features is None:
        return ()
    planes = sorted(planes_here(features), key=lambda plane: (abs(plane - work.focus), plane))[:MOST_PLANES]
    unsure = {}
    for done, plane in enumerate(planes):
        yield Progress(done, len(planes), f"looking for uncertain regions in plane {plane + 1}")
        unsure[plane] = probe.uncertainty_plane(features, plane, image=work.request.source.planes, step=STEP)
    strokes = {} if painted is None else {plane: labels != 0 for plane, labels in painted.planes.items()}
    size = max(8, min(DEFAULT_SIZE, min(features.image_shape) // 8))
    return most_uncertain(unsure, size=size, painted=strokes)


def go_to(viewer: Any, owned: OwnedLayer, request: FeatureRequest, place: UncertainPlace) -> Any:
    """Bring a region into view: move the slider and the camera, and mark it.

    Parameters
    ----------
    viewer : napari viewer
        Also a ViewerModel.
    owned : OwnedLayer
        The mark.
    request : FeatureRequest
        Of the image.
    place : UncertainPlace
        Where.

    Returns
    -------
    layer : napari Points
        The mark.
    """
    planes, placement = request.source.planes, request.source.placement
    world = transform_points(
        np.asarray(planes.world_from_pixel, np.float64), np.array([place.plane, place.row, place.col], float)
    )
    if placement.stack is not None:
        viewer.dims.set_point(placement.stack + viewer.dims.ndim - placement.ndim, float(world[0]))
    camera = camera_of(viewer)
    camera.center = (camera.center[0], float(world[1]), float(world[2]))
    point = np.array([[[place.plane, place.row, place.col]]], float)  # as data of one mark, in the axes of the layer below
    data = _in_layer(request, point[0])
    metadata = provenance("paint next", source=placement.name, settings={}, uncertainty=place.uncertainty)

    def add() -> Any:
        transform = {**placement.pixel_transform()}
        return viewer.add_points(data, name=f"{placement.name} paint here", metadata=metadata, **transform, **MARK)

    return owned.show(data, belongs_to=request.place, metadata=metadata, add=add)


def _in_layer(request: FeatureRequest, points: Any) -> Any:
    """Give points the axes of the layer, with the fixed ones at 0: the transform puts them where they belong."""
    placement = request.source.placement
    used = [*([] if placement.stack is None else [placement.stack]), placement.ndim - 2, placement.ndim - 1]
    data = np.zeros((len(points), placement.ndim))
    data[:, used] = points[:, 3 - len(used) :]
    return data
