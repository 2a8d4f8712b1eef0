"""Agreement of predicted with reference labels: accuracy, precision, recall, F1, IoU and Dice for each class, and their means.

Everything follows from one table of counts, so reports of several images can be added up before anything is divided. Where a
ratio has no cases (a class that is in neither image) it is NaN and left out of means; precision without a single prediction
and recall without a single true pixel are 0, as long as the class occurs in the other image.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError

Counts = npt.NDArray[np.int64]
COLUMNS = ("class", "pixels", "precision", "recall", "f1", "iou")


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Counts of reference against predicted labels, and the measures that follow from them.

    Parameters
    ----------
    classes : tuple of int
        Label values, in the order of the table.
    counts : (classes, classes) int64
        Pixels or patches by reference label (row) and predicted label (column).
    names : mapping of int to str
        What classes are called; their number otherwise.
    """

    classes: tuple[int, ...]
    counts: Counts = field(repr=False)
    names: Mapping[int, str] = field(default_factory=dict)

    @property
    def support(self) -> Counts:
        """Pixels of each class in the reference."""
        return np.asarray(self.counts.sum(axis=1))

    @property
    def accuracy(self) -> float:
        """Part of all pixels that agree; NaN without pixels."""
        return float(_ratio(np.trace(self.counts), self.counts.sum()))

    @property
    def precision(self) -> npt.NDArray[np.float64]:
        """Part of each predicted class that is right."""
        return self._of_occurring(self.counts.sum(axis=0))

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        """Part of each true class that is found."""
        return self._of_occurring(self.support)

    @property
    def f1(self) -> npt.NDArray[np.float64]:
        """Harmonic mean of precision and recall of each class; the same number as Dice."""
        return _ratio(2 * np.diag(self.counts), self.counts.sum(axis=0) + self.support)

    @property
    def dice(self) -> npt.NDArray[np.float64]:
        """Twice the overlap over the sum of both areas, for each class; the same number as F1."""
        return self.f1

    @property
    def iou(self) -> npt.NDArray[np.float64]:
        """Intersection over union of each class."""
        hits = np.diag(self.counts)
        return _ratio(hits, self.counts.sum(axis=0) + self.support - hits)

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes of the reference."""
        return _mean(self.recall[self.support > 0])

    @property
    def macro_precision(self) -> float:
        """Mean precision over classes."""
        return _mean(self.precision)

    @property
    def macro_recall(self) -> float:
        """Mean recall over classes."""
        return _mean(self.recall)

    @property
    def macro_f1(self) -> float:
        """Mean F1 over classes."""
        return _mean(self.f1)

    @property
    def macro_iou(self) -> float:
        """Mean IoU over classes."""
        return _mean(self.iou)

    def weighted(self, measure: npt.NDArray[np.float64]) -> float:
        """Average a measure of each class, weighted by its pixels in the reference, such as ``report.weighted(report.f1)``."""
        known = np.isfinite(measure) & (self.support > 0)
        return float(np.average(measure[known], weights=self.support[known])) if known.any() else float("nan")

    def __add__(self, other: Report) -> Report:
        """Put the counts of two reports together; the classes of either are kept."""
        classes = tuple(sorted({*self.classes, *other.classes}))
        counts = np.zeros((len(classes), len(classes)), np.int64)
        for part in (self, other):
            at = np.searchsorted(classes, part.classes)
            counts[np.ix_(at, at)] += part.counts
        return Report(classes, counts, {**self.names, **other.names})

    def as_rows(self) -> list[dict[str, Any]]:
        """List one row a class, then one of means: ready for a table widget, a CSV file or a data frame."""
        columns = (self.support, self.precision, self.recall, self.f1, self.iou)
        rows: list[dict[str, Any]] = [
            {
                "class": self.names.get(value, str(value)),
                "pixels": int(numbers[0]),
                **dict(zip(COLUMNS[2:], map(float, numbers[1:]), strict=True)),
            }
            for value, *numbers in zip(self.classes, *columns, strict=True)
        ]
        means = map(_mean, columns[1:])
        rows.append({"class": "mean", "pixels": int(self.counts.sum()), **dict(zip(COLUMNS[2:], means, strict=True))})
        return rows

    def to_markdown(self) -> str:
        """Write the rows as a Markdown table, the accuracy below it."""
        table = format_table(COLUMNS, [[row[column] for column in COLUMNS] for row in self.as_rows()])
        return "\n".join([table, "", f"Accuracy {self.accuracy:.3f}, balanced accuracy {self.balanced_accuracy:.3f}"])

    def to_csv(self) -> str:
        """Write the rows as comma-separated text with a header."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.as_rows())
        return text.getvalue()

    def _of_occurring(self, whole: Counts) -> npt.NDArray[np.float64]:
        occurs = (self.counts.sum(axis=0) + self.support) > 0
        hits = np.diag(self.counts) / np.maximum(whole, 1)
        return np.where(occurs, hits, np.nan)


def evaluate_labels(
    predicted: npt.ArrayLike,
    reference: npt.ArrayLike,
    *,
    ignore_label: int | None = 0,
    names: Mapping[int, str] | None = None,
) -> Report:
    """Compare predicted with reference labels.

    Parameters
    ----------
    predicted, reference : integer or bool array-likes of one shape
        Labels of pixels or patches. With three or more axes they are read one plane at a time, so lazy arrays stay lazy.
    ignore_label : int or None
        Reference label that means "not labelled": such pixels count nowhere. None counts every pixel, as for masks.
    names : mapping of int to str, optional
        Names of classes for tables.

    Returns
    -------
    report : Report
        Of all labels that occur in either, without the ignored ones.

    Raises
    ------
    InputError
        If the shapes differ, values are not whole numbers, or no pixel of the reference is labelled.
    """
    ours: Any
    theirs: Any
    ours, theirs = (a if hasattr(a, "shape") and hasattr(a, "dtype") else np.asarray(a) for a in (predicted, reference))
    if ours.shape != theirs.shape:
        raise InputError(
            f"Predicted labels of shape {ours.shape} and reference labels of shape {theirs.shape}",
            "two labels images of one shape",
            "Compare labels of the same image at the same resolution",
        )
    for labels in (ours, theirs):
        if np.dtype(labels.dtype).kind not in "bui":
            raise InputError(f"Labels of type {labels.dtype}", "whole numbers or bool", "Round or threshold them first")
    pieces = zip(ours, theirs, strict=True) if len(ours.shape) > 2 else iter([(ours, theirs)])
    reports = [_count(np.asarray(a), np.asarray(b), ignore_label, names or {}) for a, b in pieces]
    report = reduce(Report.__add__, reports, Report((), np.zeros((0, 0), np.int64), names or {}))
    if not report.classes:
        raise InputError(
            f"No pixel of the reference is labelled other than {ignore_label}",
            "at least one labelled pixel",
            "Use ignore_label=None where that label is a class of its own",
        )
    return report


def format_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Write a Markdown table; floats to three digits."""
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(map(_cell, row)) + " |" for row in rows)])


def _count(predicted: npt.NDArray[Any], reference: npt.NDArray[Any], ignore: int | None, names: Mapping[int, str]) -> Report:
    kept = np.ones(reference.shape, bool) if ignore is None else reference != ignore
    ours, theirs = predicted[kept].astype(np.int64), reference[kept].astype(np.int64)
    classes = np.union1d(ours, theirs)
    pairs = np.searchsorted(classes, theirs) * len(classes) + np.searchsorted(classes, ours)
    counts = np.bincount(pairs, minlength=len(classes) ** 2).reshape(len(classes), len(classes))
    return Report(tuple(map(int, classes)), counts.astype(np.int64), names)


def _ratio(part: Any, whole: Any) -> npt.NDArray[np.float64]:
    return np.where(np.asarray(whole) > 0, part / np.maximum(whole, 1), np.nan)


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
