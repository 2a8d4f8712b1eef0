"""Train here, test there: what a probe learned on one data set is worth on another.

Off the diagonal, all labelled planes of one set train a probe that is tested on all labelled planes of the other. On the
diagonal, where a probe would be tested on what it was trained on, planes are held out in turn, so that it can be compared.
Classes are the same where their label values are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.evaluate.backbones import labelled_part
from napari_dinov3.evaluate.cross_validation import cross_validate_steps
from napari_dinov3.evaluate.metrics import Report, evaluate_labels, format_table
from napari_dinov3.evaluate.tables import rows_to_csv
from napari_dinov3.features.extract import extract_steps
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.image import Planes
from napari_dinov3.normalize import grey_of_colour
from napari_dinov3.progress import Job, Progress, collect, part_of
from napari_dinov3.segment.probe import Probe
from napari_dinov3.segment.scribbles import Scribbles, labelled_planes

FloatArray = npt.NDArray[np.float64]
Colour = Literal["auto", "keep", "grey"]


@dataclass(frozen=True, slots=True, eq=False)
class TransferMatrix:
    """What probes trained on each set are worth on each.

    Parameters
    ----------
    names : tuple of str
        Data sets.
    reports : tuple of tuples of Report
        ``reports[trained][tested]``.
    backbone, head : str
        With which.
    """

    names: tuple[str, ...]
    reports: tuple[tuple[Report, ...], ...] = field(repr=False)
    backbone: str
    head: str

    def matrix(self, measure: str = "f1", *, label: int | None = None) -> FloatArray:
        """Give a measure of every pair.

        Parameters
        ----------
        measure : {"f1", "iou", "accuracy"}
            Which; F1 and IoU are means over the classes of the tested set.
        label : int, optional
            F1 or IoU of this class alone.

        Returns
        -------
        matrix : (trained, tested) float64
        """
        return np.array([[_measure(report, measure, label) for report in row] for row in self.reports])

    def as_rows(self) -> list[dict[str, Any]]:
        """List one row a pair, with F1 of each class of any set."""
        classes = sorted({value for row in self.reports for report in row for value in report.classes})
        return [
            {
                "trained_on": trained, "tested_on": tested, "accuracy": report.accuracy,
                "f1": _measure(report, "f1", None), "iou": _measure(report, "iou", None),
                **{f"f1_class_{value}": _measure(report, "f1", value) for value in classes},
            }
            for trained, row in zip(self.names, self.reports, strict=True)
            for tested, report in zip(self.names, row, strict=True)
        ]  # fmt: skip

    def to_csv(self) -> str:
        """Write the rows as comma-separated text."""
        return rows_to_csv(self.as_rows())

    def to_markdown(self, measure: str = "f1", *, label: int | None = None) -> str:
        """Write one matrix as a table: rows trained on, columns tested on."""
        values = self.matrix(measure, label=label)
        rows = [(name, *map(float, line)) for name, line in zip(self.names, values, strict=True)]
        return format_table(("trained on", *self.names), rows)


def transfer(datasets: Mapping[str, tuple[Any, Scribbles]], **options: Any) -> TransferMatrix:
    """Train a probe on each data set and test it on every one.

    Parameters
    ----------
    datasets : mapping
        ``{name: (image, labels)}``, labels as for :meth:`napari_dinov3.Probe.fit`, best on two planes or more of each.
    **options
        Of :func:`transfer_steps`.

    Examples
    --------
    >>> import napari_dinov3 as nd
    >>> sets = {name: getattr(nd.synthetic, name)(planes=4, size=64, rng=0) for name in ("em", "calcium")}
    >>> found = nd.evaluate.transfer({name: (s.images, s.masks) for name, s in sets.items()}, stride=4)
    >>> found.matrix("f1").shape
    (2, 2)
    """
    return collect(transfer_steps(datasets, **options))


def transfer_steps(
    datasets: Mapping[str, tuple[Any, Scribbles]],
    *,
    backbone: str = "auto",
    stride: int | None = None,
    probe: Probe | None = None,
    folds: int = 5,
    max_planes: int = 20,
    colour: Colour = "auto",
    memory_gb: float = 2.0,
) -> Job[TransferMatrix]:
    """Transfer step by step; see :func:`transfer`.

    Parameters
    ----------
    datasets
        As in :func:`transfer`.
    backbone, stride, memory_gb
        How all sets are embedded, see :func:`napari_dinov3.extract`.
    probe : Probe, optional
        Whose head and options are used; ``Probe()`` by default.
    folds : int
        Of the diagonal.
    max_planes : int
        Most labelled planes used of each set, drawn evenly.
    colour : {"auto", "keep", "grey"}
        ``"auto"`` turns colours into grey (Rec. 601) where some sets are grey: features of both kinds do not fit together.

    Raises
    ------
    InputError
        For fewer than two sets, or one without labels or with a single class; the message names it.
    """
    if len(datasets) < 2:
        raise InputError(f"{len(datasets)} data set", "two or more", "Give another set to test on")
    like = probe or Probe()
    parts = {name: _named(name, image, labels, max_planes) for name, (image, labels) in datasets.items()}
    grey = colour == "grey" or (colour == "auto" and len({planes.rgb for planes, _ in parts.values()}) > 1)
    maps: list[FeatureMap] = []
    for at, (planes, _) in enumerate(parts.values()):
        extract = extract_steps(_grey(planes) if grey else planes, backbone=backbone, stride=stride, memory_gb=memory_gb)
        maps.append((yield from part_of(extract, start=50 * at, span=50, total=100 * len(parts))))
    labels = [painted for _, painted in parts.values()]
    rows = []
    for at in range(len(maps)):
        row = _row_steps(maps, labels, at, like, folds)
        rows.append((yield from part_of(row, start=50 * (len(maps) + at), span=50, total=100 * len(maps))))
    return TransferMatrix(tuple(parts), tuple(rows), maps[0].backbone, like.head)


def _row_steps(
    maps: Sequence[FeatureMap], labels: Sequence[Scribbles], trained: int, like: Probe, folds: int
) -> Job[tuple[Report, ...]]:
    import copy

    probe = copy.deepcopy(like)
    yield from part_of(probe.fit_steps(maps[trained], labels[trained]), start=0, span=40, total=100)
    reports = []
    for tested, features in enumerate(maps):
        if tested == trained:
            run = cross_validate_steps(features, labels[tested], probe=like, folds=folds)
            reports.append((yield from part_of(run, start=40, span=20, total=100)).report)
            continue
        yield Progress(60 + 40 * tested // len(maps), 100, f"set {trained + 1} on set {tested + 1}")
        counts = []
        for one in labelled_planes(labels[tested], planes=len(features), shape=features.image_shape):
            found = probe.predict_plane(features, one.plane)[one.rows, one.cols]
            counts.append(evaluate_labels(found, one.labels, ignore_label=None))
        reports.append(reduce(Report.__add__, counts))
    return tuple(reports)


def _named(name: str, image: Any, labels: Scribbles, max_planes: int) -> tuple[Planes, dict[int, npt.NDArray[Any]]]:
    try:
        planes, _, painted = labelled_part(image, labels, max_planes=max_planes)
    except InputError as error:
        raise InputError(f"Data set {name!r}: {error.problem}", error.expected, error.action) from error
    return planes, painted


def _grey(planes: Planes) -> Planes:
    if not planes.rgb:
        return planes
    return replace(planes, data=grey_of_colour(np.asarray(planes.data, np.float32)))


def _measure(report: Report, measure: str, label: int | None) -> float:
    if measure == "accuracy":
        return report.accuracy
    values = {"f1": report.f1, "iou": report.iou}[measure]
    if label is not None:
        return float(values[report.classes.index(label)]) if label in report.classes else float("nan")
    known = values[report.support > 0]
    return float(known.mean()) if known.size else float("nan")
