"""The labels layer of a round: one layer that the next round takes over, in the colours and names of the scribbles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_dinov3._napari.owned import OwnedLayer
from napari_dinov3._napari.provenance import provenance
from napari_dinov3._napari.results import add_pixels, beneath
from napari_dinov3._napari.segment.classes import copy_of, default_name, names_of, result_features
from napari_dinov3._napari.segment.live import Round
from napari_dinov3._napari.segment.prediction import LABELS_SHARE, LOOKED_AT, Canvas, PlaneStack

OPACITY = 0.5


def metadata_of(work: Round) -> dict[str, Any]:
    """Describe how the labels of a round were made."""
    prediction = work.prediction
    return provenance(
        "probe",
        source=work.request.source.placement.name,
        settings=work.config.options(),
        script=work.script,
        features=prediction.features.provenance if prediction.features is not None else {},
        classes={str(value): name for value, name in work.names.items()},
        training_set=[example.text for example in work.examples],
    )


def show_labels(viewer: Any, owned: OwnedLayer, work: Round, earlier: Canvas | None) -> Any:
    """Show what is labelled by now: in the layer that shows this round, else in the one of the round before, or a new one.

    Parameters
    ----------
    viewer : napari viewer
        Also a ViewerModel.
    owned : OwnedLayer
        The result layer.
    work : Round
        With its labels begun; it gets a canvas.
    earlier : Canvas or None
        What the layer has shown so far.
    """
    prediction = work.prediction
    if work.canvas is not None and owned.showing:
        _redraw(viewer, owned, work, work.canvas.catch_up())
        return owned.layer
    if earlier is not None and earlier.fits(prediction) and owned.reusable(work.request.place):
        work.canvas = earlier
        changed = earlier.follow(prediction)
        owned.layer.metadata = metadata_of(work)
        _redraw(viewer, owned, work, changed)
        return owned.layer
    work.canvas = Canvas(prediction)
    return _add(viewer, owned, work, work.canvas)


def _add(viewer: Any, owned: OwnedLayer, work: Round, canvas: Canvas) -> Any:
    """Show a canvas: in a new layer, or in that of the last result where it is still as it was made."""
    prediction, placement, metadata = work.prediction, work.request.source.placement, metadata_of(work)
    options: dict[str, Any] = {"opacity": OPACITY}
    if canvas.lazy and isinstance(prediction.labels, PlaneStack):
        options["cache"] = False  # what is drawn changes behind the array
    if work.colormap is not None:
        options["colormap"] = copy_of(work.colormap)
    table = result_features(work.names, prediction.probe.classes_) if prediction.trained else {}
    if table:
        options["features"] = table

    def add() -> Any:
        layer = add_pixels(
            viewer, placement, canvas.array, kind="labels", name=f"{placement.name} labels", metadata=metadata, **options
        )
        beneath(viewer, layer, work.painted_in, image=placement.layer_id)
        return layer

    return owned.show(placement.arrange(canvas.array), belongs_to=work.request.place, metadata=metadata, add=add)


def prepare(viewer: Any, owned: OwnedLayer, work: Round) -> Canvas:
    """Add the empty layer of a round before it begins: napari takes up to a second for it, in which nobody should be painting.

    Parameters
    ----------
    viewer, owned
        As in :func:`show_labels`.
    work : Round
        Of the image and its new scribbles layer.

    Returns
    -------
    canvas : Canvas
        For the first round.
    """
    shape = work.request.source.planes.shape
    large = np.prod(shape, dtype=np.float64) > LABELS_SHARE * work.request.config.memory_gb * 1e9
    labels = PlaneStack(shape, np.dtype(np.uint8), limit=LOOKED_AT if large else None)
    work.prediction.labels = labels
    canvas = Canvas(work.prediction)
    _add(viewer, owned, work, canvas)
    return canvas


def adopt_classes(owned: OwnedLayer, scribbles: Any, work: Round) -> None:
    """Give the result the colours and names that the scribbles have now."""
    layer = owned.layer
    if layer is None or not work.prediction.trained:
        return
    if work.learns or not work.prediction.probe.class_names:
        work.names = names_of(scribbles)
        work.name_classes()
    layer.colormap = copy_of(scribbles.colormap)
    table = result_features(work.names, work.prediction.probe.classes_)
    if table:
        layer.features = table
    layer.metadata = metadata_of(work)


def result_text(viewer: Any, work: Round, layer: Any, soft: Sequence[Any], warning: str) -> str:
    """Say what a round has made: its labels `layer`, and the layers `soft` with probabilities and uncertainty."""
    prediction = work.prediction
    given = {value: name for value, name in work.names.items() if name != default_name(value)}
    classes = ", ".join(f"{value} {given.get(value, '')}".strip() for value in prediction.probe.classes_)
    text = f"Classes {classes} in layer {layer.name!r}"
    text += f" and {_soft_text(soft)}." if soft else "."
    if prediction.report:
        text += f" {prediction.report.splitlines()[0]}."
    if not work.everything:
        text += " Other planes are labelled when you look at them."
    placement = work.request.source.placement
    if all(other.unique_id != placement.layer_id for other in viewer.layers):
        text += f" The image {placement.name!r} was removed meanwhile; its labels stay."
    return "\n".join(part for part in (text, warning) if part)


def _soft_text(soft: Sequence[Any]) -> str:
    """Count layers, and say which of them cannot be seen and how they can."""
    hidden = sum(not layer.visible for layer in soft)
    if not hidden:
        return f"{len(soft)} more"
    return f"{len(soft)} more, {'' if hidden == len(soft) else f'{hidden} of them '}hidden (click the eye in the layer list)"


def _redraw(viewer: Any, owned: OwnedLayer, work: Round, changed: set[int]) -> None:
    """Draw again only where something is seen: drawing takes the time in which people want to paint."""
    dims = viewer.dims
    flat = dims.ndisplay == 2 and tuple(dims.order[-2:]) == (dims.ndim - 2, dims.ndim - 1)
    if changed and (not flat or work.focus in changed):
        owned.refresh()
