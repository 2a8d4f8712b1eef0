"""How well a probe does on planes it has not seen: train on the labels of some planes, test on those of others, in turn.

Whole planes are held out, in blocks of neighbours (:mod:`~napari_dinov3.evaluate.folds`): pixels of one plane, and planes
beside each other, are so alike that a test on them would praise any probe.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.evaluate.folds import block_folds
from napari_dinov3.evaluate.metrics import Report, evaluate_labels
from napari_dinov3.evaluate.tables import rows_to_csv, rows_to_markdown
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import Job, Progress, collect, part_of
from napari_dinov3.segment.probe import Probe
from napari_dinov3.segment.scribbles import PlaneLabels, Scribbles, labelled_planes, pair_up

MEASURES = ("accuracy", "f1", "iou")


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One turn.

    Parameters
    ----------
    held_out : tuple of (map, plane)
        Planes tested on.
    report : Report
        Of their labelled pixels.
    seconds : float
        To train and label.
    """

    held_out: tuple[tuple[int, int], ...]
    report: Report
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class CrossValidation:
    """Agreement with labels of planes that were not trained on.

    Parameters
    ----------
    folds : tuple of Fold
        In the order of the planes.
    """

    folds: tuple[Fold, ...]

    @property
    def report(self) -> Report:
        """Counts of all folds together: every labelled pixel once."""
        return reduce(Report.__add__, (fold.report for fold in self.folds))

    def values(self, measure: str) -> npt.NDArray[np.float64]:
        """Give a measure of each fold: ``"accuracy"``, ``"f1"`` or ``"iou"`` (means over classes)."""
        names = {"accuracy": "accuracy", "f1": "macro_f1", "iou": "macro_iou"}
        return np.array([getattr(fold.report, names[measure]) for fold in self.folds])

    def mean(self, measure: str = "f1") -> float:
        """Give the mean over folds."""
        return float(np.nanmean(self.values(measure)))

    def spread(self, measure: str = "f1") -> float:
        """Give the standard deviation over folds."""
        return float(np.nanstd(self.values(measure)))

    @property
    def seconds(self) -> float:
        """To train and label, all folds together."""
        return sum(fold.seconds for fold in self.folds)

    def as_rows(self) -> list[dict[str, Any]]:
        """List one row a fold, then mean and standard deviation."""
        rows: list[dict[str, Any]] = []
        for number, fold in enumerate(self.folds):
            planes = " ".join(f"{plane}" if not at else f"{at}:{plane}" for at, plane in fold.held_out)
            measures = {name: float(self.values(name)[number]) for name in MEASURES}
            rows.append({"fold": str(number + 1), "planes": planes, **measures, "seconds": fold.seconds})
        rows.append(
            {"fold": "mean", "planes": "", **{m: self.mean(m) for m in MEASURES}, "seconds": self.seconds / len(self.folds)}
        )
        rows.append({"fold": "sd", "planes": "", **{m: self.spread(m) for m in MEASURES}, "seconds": float("nan")})
        return rows

    def to_csv(self) -> str:
        """Write the rows of the folds as comma-separated text."""
        return rows_to_csv(self.as_rows())

    def to_markdown(self) -> str:
        """Write the table of the folds, then that of the classes over all folds."""
        return f"{rows_to_markdown(self.as_rows())}\n\n{self.report.to_markdown()}"


def cross_validate(features: FeatureMap | Sequence[FeatureMap], labels: Scribbles, **options: Any) -> CrossValidation:
    """Train on the labels of some planes and test on those of others.

    Parameters
    ----------
    features : FeatureMap or list of FeatureMap
        One map, or several that were made the same way.
    labels : array-like or mapping, or a list of them
        Scribbles or dense labels, as for :meth:`napari_dinov3.Probe.fit`; at least two planes with labels.
    **options
        Of :func:`cross_validate_steps`.

    Examples
    --------
    >>> import napari_dinov3 as nd
    >>> sample = nd.synthetic.em(planes=4, size=64, rng=0)
    >>> features = nd.extract(sample.images, backbone="filter-bank", stride=4)
    >>> result = nd.evaluate.cross_validate(features, sample.masks, folds=2)
    >>> result.mean("f1") > 0.9
    True
    """
    return collect(cross_validate_steps(features, labels, **options))


def cross_validate_steps(
    features: FeatureMap | Sequence[FeatureMap],
    labels: Scribbles,
    *,
    probe: Probe | None = None,
    folds: int = 5,
    reference: Scribbles | None = None,
) -> Job[CrossValidation]:
    """Cross-validate step by step; see :func:`cross_validate`.

    Parameters
    ----------
    features, labels
        As in :func:`cross_validate`.
    probe : Probe, optional
        Whose head and options are used; it is not changed. ``Probe()`` by default.
    folds : int
        Blocks of neighbouring planes; as many as there are labelled planes, where these are fewer.
    reference : as `labels`, optional
        Labels to test on, where these are other (dense) than those to train on (scribbles).

    Yields
    ------
    progress : Progress
        While a fold is trained and labelled.

    Raises
    ------
    InputError
        If fewer than two planes, or only one class, are labelled.
    """
    pairs = pair_up(features, labels)
    tests = pairs if reference is None else pair_up(features, reference)
    known = _by_plane(pairs)
    truth = known if reference is None else _by_plane(tests)
    places = list(known)
    classes = {int(value) for one in known.values() for value in np.unique(one.labels)}
    if len(places) < 2:
        raise InputError(
            f"{len(places)} plane{'s' * (len(places) != 1)} with labels",
            "two or more, to train on one and test on the other",
            "Label another plane, far from this one",
        )
    if len(classes) < 2:
        raise InputError(
            f"One class only: {min(classes)}",
            "two classes or more",
            "Label a second class; or pass a mask as bool, where 0 is the background",
        )
    blocks = block_folds(len(places), folds)
    done = []
    for number, block in enumerate(blocks):
        held = [places[at] for at in block]
        fold = _fold_steps(pairs, known, truth, held, probe or Probe())
        done.append((yield from part_of(fold, start=100 * number, span=100, total=100 * len(blocks))))
    return CrossValidation(tuple(done))


_Place = tuple[int, int]


def _by_plane(pairs: Sequence[tuple[FeatureMap, Scribbles]]) -> dict[_Place, PlaneLabels]:
    return {
        (number, one.plane): one
        for number, (features, labels) in enumerate(pairs)
        for one in labelled_planes(labels, planes=len(features), shape=features.image_shape)
    }


def _fold_steps(
    pairs: Sequence[tuple[FeatureMap, Scribbles]],
    known: dict[_Place, PlaneLabels],
    truth: dict[_Place, PlaneLabels],
    held: Sequence[_Place],
    like: Probe,
) -> Job[Fold]:
    begun = time.perf_counter()
    probe = copy.deepcopy(like)
    maps = [features for features, _ in pairs]
    kept = [place for place in known if place not in held]
    training = [
        {plane: _image(known[at, plane], maps[at].image_shape) for at, plane in kept if at == number}
        for number in range(len(maps))
    ]
    yield from part_of(probe.fit_steps(maps, training), start=0, span=50, total=100)
    reports = []
    for done, (number, plane) in enumerate(place for place in held if place in truth):
        yield Progress(50 + 50 * done // len(held), 100, f"testing on plane {plane}")
        one = truth[number, plane]
        found = probe.predict_plane(maps[number], plane)[one.rows, one.cols]
        reports.append(evaluate_labels(found, one.labels, ignore_label=None))
    if not reports:
        raise InputError(
            f"No reference labels on the planes {', '.join(str(plane) for _, plane in held)}",
            "reference labels on the planes that have labels to train on",
            "Label the same planes in both",
        )
    return Fold(tuple(held), reduce(Report.__add__, reports), time.perf_counter() - begun)


def _image(one: PlaneLabels, shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Write labelled pixels as the image they came from; a dense mask, which has a class 0, as a mask."""
    if (one.labels == 0).any():
        mask = np.zeros(shape, bool)
        mask[one.rows, one.cols] = one.labels > 0
        return mask
    image = np.zeros(shape, np.int64)
    image[one.rows, one.cols] = one.labels
    return image
