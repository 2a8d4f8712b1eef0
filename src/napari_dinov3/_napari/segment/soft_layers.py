"""What else there is of a prediction: probability and uncertainty, computed when looked at, and a comparison with a reference."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, MutableMapping
from typing import Any

import numpy as np

from napari_dinov3._napari import script
from napari_dinov3._napari.jobs import FeatureRequest
from napari_dinov3._napari.layers import Placement
from napari_dinov3._napari.owned import OwnedLayer
from napari_dinov3._napari.results import add_arranged, beneath
from napari_dinov3._napari.segment.prediction import Prediction
from napari_dinov3._napari.segment.soft_stack import SoftCanvas, SoftView
from napari_dinov3.errors import InputError
from napari_dinov3.evaluate.metrics import Report, evaluate_labels
from napari_dinov3.image import Planes
from napari_dinov3.progress import Job, Progress

UNCERTAINTY = "uncertainty"
SOFT_LOOK: dict[str, Any] = {"contrast_limits": (0, 1), "opacity": 0.6, "visible": False}


def show_soft_layers(
    viewer: Any,
    owned: Callable[[str], OwnedLayer],
    request: FeatureRequest,
    prediction: Prediction,
    *,
    probability: bool,
    uncertainty: bool,
    metadata: Mapping[str, Any],
    canvases: MutableMapping[str, SoftCanvas] | None = None,
    painted_in: Hashable = None,
) -> list[Any]:
    """Show lazy layers with the probability of each class, and with the uncertainty; hidden at first, as they cover the image.

    Parameters
    ----------
    viewer : napari viewer
        Also a ViewerModel.
    owned : callable
        Gives the result layer for ``"probability 1"`` and so on, so that the next run replaces it.
    request : FeatureRequest
        What the prediction was made of.
    prediction : Prediction
        Complete.
    probability, uncertainty : bool
        Which of the two.
    metadata : mapping
        As in :func:`~napari_dinov3._napari.results.add_pixels`.
    canvases : mapping, optional
        What the layers show, by kind; updated. A layer that is as it was made goes on with its own, and is drawn again.
    painted_in : hashable, optional
        Unique id of the scribbles layer; new layers come beneath it.

    Returns
    -------
    layers : list
        Those that show something now.
    """
    soft = prediction.soft_of(request.source.planes)
    canvases = {} if canvases is None else canvases
    wanted: list[tuple[str, int]] = []
    if probability:
        wanted += [(f"probability {value}", index) for index, value in enumerate(soft.classes)]
    if uncertainty:
        wanted.append((UNCERTAINTY, -1))
    shown = []
    for kind, index in wanted:
        layer, canvas = owned(kind), canvases.get(kind)
        if canvas is not None and canvas.fits(soft) and layer.reusable(request.place):
            if canvas.follow(soft, index):
                layer.layer.metadata = dict(metadata)
                layer.refresh()
            elif canvas.outdated:
                layer.refresh()
        else:
            canvas = canvases[kind] = SoftCanvas(soft, index)
            canvas.attended = True  # until the panel knows better: adding a layer must not compute
            _add_layer(viewer, layer, request, canvas, kind, metadata, painted_in)
        shown.append(layer.layer)
    return shown


def _add_layer(
    viewer: Any,
    owned: OwnedLayer,
    request: FeatureRequest,
    canvas: SoftCanvas,
    kind: str,
    metadata: Mapping[str, Any],
    painted_in: Hashable,
) -> None:
    placement = request.source.placement
    view = SoftView(canvas, placement)

    def add() -> Any:
        name = f"{placement.name} {kind}"
        colormap = "magma" if kind == UNCERTAINTY else "viridis"
        layer = add_arranged(viewer, placement, view, name=name, metadata=metadata, colormap=colormap, **SOFT_LOOK)
        beneath(viewer, layer, painted_in, image=placement.layer_id)
        return layer

    owned.show(view, belongs_to=request.place, metadata=metadata, add=add)


def soft_script(placement: Placement, arguments: str, *, probability: bool, uncertainty: bool) -> list[str]:
    """Write what :func:`show_soft_layers` does as Python; `arguments` are those of ``predict``."""
    words: dict[str, Any] = {"placement": placement, "transform": placement.pixel_transform(), **SOFT_LOOK}
    lines = []
    if probability:
        add = script.add_line("image", "soft[:, index]", name=f"{placement.name} probability", colormap="viridis", **words)
        lines += [
            f"soft = probe.predict_proba({arguments}, lazy=True)",
            "for index, value in enumerate(probe.classes_):",
            f"    {add}.name += f' {{value}}'",
        ]
    if uncertainty:
        lines.append(
            script.add_line(
                "image",
                f"probe.uncertainty({arguments}, lazy=True)",
                name=f"{placement.name} uncertainty",
                colormap="magma",
                **words,
            )
        )
    return lines


def report_steps(labels: Any, truth: Planes) -> Job[str]:
    """Compare labels with a reference, plane by plane, and write the outcome for people.

    Parameters
    ----------
    labels : (planes, rows, cols) int
        Of a prediction.
    truth : Planes
        Reference labels of the same shape; its values need not be the same numbers, see Notes.

    Returns
    -------
    report : str
        Accuracy and mean IoU, then F1 and IoU of each class.

    Notes
    -----
    A class is paired with the reference value it shares most pixels with, one to one (the assignment with the largest total
    overlap), because a mask codes background as 0 and scribbles cannot. Where the reference has more values than there are
    classes, its 0 means "not labelled" and counts nowhere.
    """
    if truth.shape != labels.shape:
        raise InputError(
            f"Layer {truth.name!r} has shape {truth.shape}",
            f"{labels.shape}, as the labels",
            "Choose reference labels of the same image",
        )
    counts = Report((), np.zeros((0, 0), np.int64))
    for plane in range(len(labels)):
        yield Progress(plane, len(labels), f"comparing plane {plane + 1} of {len(labels)}")
        counts += evaluate_labels(labels[plane], truth.plane(plane), ignore_label=None)
    return _report(counts)


def _report(counts: Report) -> str:
    from scipy.optimize import linear_sum_assignment

    values = np.array(counts.classes)
    ours, theirs = values[counts.counts.any(axis=0)], values[counts.counts.any(axis=1)]
    if 0 in theirs and 0 not in ours and len(theirs) > len(ours):
        theirs = theirs[theirs != 0]
    table = counts.counts[np.ix_(np.searchsorted(values, theirs), np.searchsorted(values, ours))].T
    rows, cols = linear_sum_assignment(-table)
    shared = table[rows, cols]
    either = table[rows].sum(axis=1) + table[:, cols].sum(axis=0) - shared
    iou, f1 = shared / either, 2 * shared / (either + shared)
    lines = [f"Accuracy {shared.sum() / table.sum():.3f}, mean IoU {iou.mean():.3f}"]
    for row, col, one_f1, one_iou in zip(rows, cols, f1, iou, strict=True):
        lines.append(f"class {ours[row]} = reference {theirs[col]}: F1 {one_f1:.3f}, IoU {one_iou:.3f}")
    return "\n".join(lines)
