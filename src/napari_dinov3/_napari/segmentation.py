"""Scribbles to labels in a viewer: features, probe, labels of the visible plane first and then of the others.

Labels of a stack that would take more than a share of the memory budget are not computed ahead: they become a lazy array
whose planes are computed when they are looked at. Probabilities and uncertainty are always lazy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3._napari import script
from napari_dinov3._napari.jobs import FeatureRequest, features_steps, outward
from napari_dinov3._napari.layers import Placement
from napari_dinov3._napari.owned import OwnedLayer
from napari_dinov3._napari.results import add_pixels
from napari_dinov3._napari.session import Session
from napari_dinov3.errors import InputError
from napari_dinov3.evaluate.metrics import Report, evaluate_labels
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.image import Planes
from napari_dinov3.progress import Job, Progress, part_of
from napari_dinov3.segment.probe import Probe

SOFT_LOOK: dict[str, Any] = {"contrast_limits": (0, 1), "opacity": 0.6, "visible": False}
LABELS_SHARE = 0.25  # of the memory budget; larger label stacks stay lazy, and the layer's copy takes as much again


@dataclass(slots=True, eq=False)
class Prediction:
    """Labels that a job fills plane by plane. A layer shows a copy of them, :class:`Canvas`: people paint in layers.

    Parameters
    ----------
    probe : Probe
        Fitted once the job has come that far.
    features : FeatureMap or None
        Once extracted.
    labels : (planes, rows, cols) array or None
        numpy, filled in the order the planes are wanted; or dask, computed when looked at.
    done : set of int
        Planes that hold their labels.
    report : str
        Comparison with a reference, where one was given; its first line says the most.
    """

    probe: Probe
    features: FeatureMap | None = None
    labels: Any = None
    done: set[int] = field(default_factory=set)
    report: str = ""

    @property
    def trained(self) -> bool:
        """Whether the probe is fitted."""
        return self.features is not None

    @property
    def complete(self) -> bool:
        """Whether every plane is labelled, in memory."""
        return isinstance(self.labels, np.ndarray) and len(self.done) == len(self.labels)


class Canvas:
    """What a layer shows of a prediction while it is made; a pixel that was painted meanwhile keeps its paint.

    Parameters
    ----------
    prediction : Prediction
        With its labels begun.
    """

    def __init__(self, prediction: Prediction) -> None:
        self.prediction = prediction
        labels = prediction.labels
        self.array = np.zeros_like(labels) if isinstance(labels, np.ndarray) else labels
        self._copied: set[int] = set()
        self.catch_up()

    def catch_up(self) -> None:
        """Copy the planes that are labelled by now; call it in the main thread."""
        if not isinstance(self.array, np.ndarray):
            return  # computed when looked at, and no one can paint in it
        for plane in self.prediction.done - self._copied:
            shown = self.array[plane]
            np.copyto(shown, self.prediction.labels[plane], where=shown == 0)
            self._copied.add(plane)


def prediction_steps(
    session: Session, request: FeatureRequest, prediction: Prediction, *, scribbles: Planes | None, truth: Planes | None = None
) -> Job[Prediction]:
    """Extract features, train, and label every plane.

    Parameters
    ----------
    session, request
        The features that are wanted.
    prediction : Prediction
        Filled on the way; may be shown meanwhile.
    scribbles : Planes or None
        What to learn from, in the place of the image (:func:`~napari_dinov3._napari.layers.read_companion`); None where the
        probe has learned already.
    truth : Planes, optional
        Reference labels to compare with, likewise.
    """
    features = yield from part_of(features_steps(session, request), start=0, span=40, total=100)
    if scribbles is not None:
        yield from part_of(prediction.probe.fit_steps(features, scribbles.data), start=40, span=20, total=100)
    prediction.features = features
    count = len(features)
    size = count * features.image_shape[0] * features.image_shape[1] * prediction.probe.fitted.dtype.itemsize
    if size > LABELS_SHARE * request.config.memory_gb * 1e9:
        prediction.labels = prediction.probe.predict(features, lazy=True)
        return prediction
    prediction.labels = np.zeros((count, *features.image_shape), prediction.probe.fitted.dtype)
    for plane in outward(count, request.visible):
        prediction.labels[plane] = prediction.probe.predict_plane(features, plane)
        prediction.done.add(plane)
        yield Progress(60 + 40 * len(prediction.done) // count, 100, f"labels of plane {plane + 1} of {count}")
    if truth is not None:
        prediction.report = yield from part_of(report_steps(prediction.labels, truth), start=99, span=1, total=100)
    return prediction


def show_soft_layers(
    viewer: Any,
    owned: Callable[[str], OwnedLayer],
    request: FeatureRequest,
    prediction: Prediction,
    *,
    probability: bool,
    uncertainty: bool,
    metadata: Mapping[str, Any],
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

    Returns
    -------
    layers : list
        Those that show something now.
    """
    probe, features, placement = prediction.probe, prediction.features, request.source.placement
    assert features is not None  # a complete prediction has them
    wanted: list[tuple[str, Any, str]] = []
    if probability:
        soft = probe.predict_proba(features, lazy=True)
        wanted += [(f"probability {value}", soft[:, index], "viridis") for index, value in enumerate(probe.classes_)]
    if uncertainty:
        wanted.append(("uncertainty", probe.uncertainty(features, lazy=True), "magma"))
    shown = []
    for kind, data, colormap in wanted:
        add = partial(
            add_pixels,
            viewer,
            placement,
            data,
            name=f"{placement.name} {kind}",
            metadata=metadata,
            colormap=colormap,
            **SOFT_LOOK,
        )
        shown.append(owned(kind).show(placement.arrange(data), belongs_to=request.place, metadata=metadata, add=add))
    return shown


def soft_script(placement: Placement, *, probability: bool, uncertainty: bool) -> list[str]:
    """Write what :func:`show_soft_layers` does as Python."""
    words: dict[str, Any] = {"placement": placement, "transform": placement.pixel_transform(), **SOFT_LOOK}
    lines = []
    if probability:
        add = script.add_line("image", "soft[:, index]", name=f"{placement.name} probability", colormap="viridis", **words)
        lines += [
            "soft = probe.predict_proba(features, lazy=True)",
            "for index, value in enumerate(probe.classes_):",
            f"    {add}.name += f' {{value}}'",
        ]
    if uncertainty:
        lines.append(
            script.add_line(
                "image", "probe.uncertainty(features, lazy=True)", name=f"{placement.name} uncertainty", colormap="magma", **words
            )
        )
    return lines


def report_steps(labels: npt.NDArray[Any], truth: Planes) -> Job[str]:
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
