"""Predicted against reference labels of an image: regions and boundaries, of each class and of each plane.

Planes are read one at a time, so lazy stacks stay lazy. Labels of a prediction may be numbered otherwise than those of the
reference, see :mod:`~napari_dinov3.evaluate.pairing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.evaluate.boundary import NO_BOUNDARY, BoundaryCounts, boundary_counts
from napari_dinov3.evaluate.metrics import Report, evaluate_labels
from napari_dinov3.evaluate.pairing import pair_by_overlap
from napari_dinov3.evaluate.tables import rows_to_csv, rows_to_markdown
from napari_dinov3.progress import Job, Progress, collect, part_of

IgnoreLabel = int | Literal["auto"] | None
Pairing = Literal["same", "overlap"]
_NOTHING = Report((), np.zeros((0, 0), np.int64))


@dataclass(frozen=True, slots=True)
class PlaneScore:
    """Measures of one plane, each the mean over its classes."""

    plane: int
    pixels: int
    accuracy: float
    f1: float
    iou: float
    boundary_f1: float


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationScores:
    """Agreement of a segmentation with a reference.

    Parameters
    ----------
    report : Report
        Counts of pixels, with accuracy, precision, recall, F1 (Dice) and IoU of each class.
    boundary : BoundaryCounts
        Boundary precision, recall and F1 of each class.
    planes : tuple of PlaneScore
        Planes with at least one labelled reference pixel.
    tolerance, unit : float and str
        Of the boundary, for people.
    ignored : int or None
        Reference label that counted nowhere.
    pairs : mapping of int to int
        Reference label that each predicted label was taken for; empty where both are numbered alike.
    """

    report: Report
    boundary: BoundaryCounts
    planes: tuple[PlaneScore, ...]
    tolerance: float
    unit: str = "pixel"
    ignored: int | None = None
    pairs: Mapping[int, int] = field(default_factory=dict)

    @property
    def mean_iou(self) -> float:
        """Mean IoU over classes (mIoU)."""
        return self.report.macro_iou

    @property
    def mean_boundary_f1(self) -> float:
        """Mean boundary F1 over classes."""
        return self.boundary.mean_f1

    def as_rows(self) -> list[dict[str, Any]]:
        """List one row a class, then one of means."""
        border = dict(zip(self.boundary.classes, self.boundary.f1, strict=True))
        values: list[float] = [float(border.get(value, np.nan)) for value in self.report.classes]
        last = [*values, self.mean_boundary_f1]
        return [
            {
                "class": row["class"], "pixels": row["pixels"], "precision": row["precision"], "recall": row["recall"],
                "f1": row["f1"], "dice": row["f1"], "iou": row["iou"], "boundary_f1": value,
            }
            for row, value in zip(self.report.as_rows(), last, strict=True)
        ]  # fmt: skip

    def plane_rows(self) -> list[dict[str, Any]]:
        """List one row a plane, each measure the mean over the classes of that plane."""
        return [{name: getattr(score, name) for name in PlaneScore.__slots__} for score in self.planes]

    def to_csv(self) -> str:
        """Write the rows of the classes as comma-separated text."""
        return rows_to_csv(self.as_rows())

    def to_markdown(self) -> str:
        """Write the table of the classes, and below it what does not belong to one class."""
        return f"{rows_to_markdown(self.as_rows())}\n\n{self.summary()}"

    def summary(self) -> str:
        """Say the figures of the whole in two or three lines."""
        report = self.report
        lines = [
            f"Accuracy {report.accuracy:.3f}, balanced accuracy {report.balanced_accuracy:.3f}, mean IoU {self.mean_iou:.3f}, "
            f"mean F1 {report.macro_f1:.3f}, F1 weighted by pixels {report.weighted(report.f1):.3f}.",
            f"Boundary F1 {self.mean_boundary_f1:.3f} within {self.tolerance:g} {self.unit}.",
        ]
        if self.pairs:
            lines.append("Paired by overlap: " + ", ".join(f"{a} = reference {b}" for a, b in self.pairs.items()) + ".")
        if self.ignored is not None:
            lines.append(f"Pixels that the reference labels {self.ignored} count nowhere.")
        return "\n".join(lines)


def evaluate_segmentation(predicted: Any, reference: Any, **options: Any) -> SegmentationScores:
    """Compare a segmentation with reference labels.

    Parameters
    ----------
    predicted, reference : (H, W) or (planes, H, W) labels
        Arrays (numpy, dask, zarr) or opened files of one shape, whole numbers.
    **options
        Of :func:`evaluate_segmentation_steps`.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.zeros((32, 32), int); truth[8:24, 8:24] = 1
    >>> scores = evaluate_segmentation(np.roll(truth, 1, axis=1), truth, tolerance=1)
    >>> round(float(scores.report.iou[1]), 3), float(scores.mean_boundary_f1)
    (0.882, 1.0)
    """
    return collect(evaluate_segmentation_steps(predicted, reference, **options))


def evaluate_segmentation_steps(
    predicted: Any,
    reference: Any,
    *,
    tolerance: float = 2.0,
    spacing: tuple[float, float] | None = None,
    unit: str = "pixel",
    ignore_label: IgnoreLabel = "auto",
    pairing: Pairing = "same",
    names: Mapping[int, str] | None = None,
) -> Job[SegmentationScores]:
    """Compare plane by plane; see :func:`evaluate_segmentation`.

    Parameters
    ----------
    predicted, reference
        As in :func:`evaluate_segmentation`.
    tolerance : float
        Distance within which a boundary counts as right: in pixels, or in world units where `spacing` is given.
    spacing : (2,) floats, optional
        World units between rows and between columns.
    unit : str
        Of the tolerance, for people.
    ignore_label : int, None or "auto"
        Reference label that means "not labelled". ``"auto"``: 0, if the prediction never says 0 (a probe trained on scribbles
        cannot); else 0 is a class like the others, as in a mask. None counts every pixel.
    pairing : {"same", "overlap"}
        Whether equal numbers mean the same class, or classes are paired by the pixels they share.
    names : mapping of int to str, optional
        Names of classes.

    Yields
    ------
    progress : Progress
        After each plane.

    Raises
    ------
    InputError
        If the shapes differ, labels are not whole numbers, or nothing of the reference is labelled.
    """
    ours, theirs = _as_stack(predicted, "predicted"), _as_stack(reference, "reference")
    if ours.shape != theirs.shape:
        raise InputError(
            f"Predicted labels of shape {tuple(ours.shape)} and reference labels of shape {tuple(theirs.shape)}",
            "two labels images of one shape",
            "Compare labels of the same image at the same resolution",
        )
    ignored = (
        0 if ignore_label == "auto" and not (yield from part_of(_says_zero_steps(ours), start=0, span=10, total=100)) else None
    )
    ignored = ignored if ignore_label == "auto" else ignore_label
    pairs: dict[int, int] = {}
    if pairing == "overlap":
        pairs = yield from part_of(_pair_steps(ours, theirs), start=10, span=20, total=100)
        matched = 0 if 0 in pairs.values() else None
        ignored = (None if matched == 0 else 0) if ignore_label == "auto" else ignored
    scores = _score_steps(ours, theirs, tolerance, spacing or (1.0, 1.0), ignored, pairs, names or {})
    report, boundary, planes = yield from part_of(scores, start=30, span=70, total=100)
    if not report.classes:
        raise InputError(
            f"No pixel of the reference is labelled other than {ignored}",
            "at least one labelled pixel",
            "Choose other reference labels, or count the label 0 as a class (ignore_label=None)",
        )
    return SegmentationScores(report, boundary, planes, tolerance, unit, ignored, pairs)


def label_plane(labels: Any, index: int, what: str) -> npt.NDArray[np.int64]:
    """Read one plane of labels as whole numbers.

    Raises
    ------
    InputError
        If a value is not a whole number.
    """
    plane = np.asarray(labels[index])
    if plane.dtype.kind in "bui":
        return plane.astype(np.int64)
    bad = np.count_nonzero(plane != np.rint(plane)) if plane.dtype.kind == "f" else plane.size
    if bad:
        nans = np.count_nonzero(~np.isfinite(plane)) if plane.dtype.kind == "f" else 0
        raise InputError(
            f"Plane {index} of the {what} labels holds {bad} pixels that are no whole numbers ({nans} of them NaN or infinite)",
            "whole numbers, one label a pixel",
            "Round or threshold it first; an image or probabilities are not labels",
        )
    return plane.astype(np.int64)


def _as_stack(labels: Any, what: str) -> Any:
    array = labels.data if hasattr(labels, "axes") and hasattr(labels, "data") else labels
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        array = np.asarray(array)
    array = array[None] if len(array.shape) == 2 else array
    if len(array.shape) != 3 or 0 in array.shape:
        raise InputError(
            f"The {what} labels have shape {tuple(array.shape)}",
            "(rows, cols) or (planes, rows, cols)",
            "Index the other axes first",
        )
    return array


def _says_zero_steps(labels: Any) -> Job[bool]:
    for index in range(len(labels)):
        yield Progress(index, len(labels), f"looking at plane {index + 1} of {len(labels)}")
        if not label_plane(labels, index, "predicted").all():
            return True
    return False


def _pair_steps(ours: Any, theirs: Any) -> Job[dict[int, int]]:
    counts = _NOTHING
    for index in range(len(ours)):
        yield Progress(index, len(ours), f"pairing classes, plane {index + 1} of {len(ours)}")
        counts += evaluate_labels(
            label_plane(ours, index, "predicted"), label_plane(theirs, index, "reference"), ignore_label=None
        )
    return pair_by_overlap(counts)


def _score_steps(
    ours: Any,
    theirs: Any,
    tolerance: float,
    spacing: tuple[float, float],
    ignored: int | None,
    pairs: Mapping[int, int],
    names: Mapping[int, str],
) -> Job[tuple[Report, BoundaryCounts, tuple[PlaneScore, ...]]]:
    reports, borders, planes = [], [], []
    for index in range(len(ours)):
        yield Progress(index, len(ours), f"comparing plane {index + 1} of {len(ours)}")
        known = label_plane(theirs, index, "reference")
        found = _renumbered(label_plane(ours, index, "predicted"), pairs)
        if ignored is not None and (known == ignored).all():
            continue
        report = evaluate_labels(found, known, ignore_label=ignored, names=names)
        border = boundary_counts(found, known, tolerance=tolerance, spacing=spacing, ignore_label=ignored)
        pixels = int(report.support.sum())
        planes.append(PlaneScore(index, pixels, report.accuracy, report.macro_f1, report.macro_iou, border.mean_f1))
        reports.append(report)
        borders.append(border)
    start = Report((), np.zeros((0, 0), np.int64), names)
    return reduce(Report.__add__, reports, start), reduce(BoundaryCounts.__add__, borders, NO_BOUNDARY), tuple(planes)


def _renumbered(labels: npt.NDArray[np.int64], pairs: Mapping[int, int]) -> npt.NDArray[np.int64]:
    """Give predicted labels the numbers of their partners; those without one get numbers that the reference does not use."""
    if not pairs:
        return labels
    values, place = np.unique(labels, return_inverse=True)
    above = 1 + max(int(values.max()), *pairs.values())
    numbers = np.array([pairs.get(int(value), above + at) for at, value in enumerate(values)])
    renumbered: npt.NDArray[np.int64] = numbers[place.reshape(labels.shape)]
    return renumbered
