"""How well a probe does on planes it has not seen: train on the labels of some planes, test on those of others, in turn.

Whole planes are held out, in blocks of neighbours (:mod:`~napari_dinov3.evaluate.folds`): pixels of one plane, and planes
beside each other, are so alike that a test on them would praise any probe. Where a single plane is labelled, rectangles of it
are held out, with a gap around them, and the result says that another plane may do worse.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.evaluate.folds import block_folds, spatial_folds
from napari_dinov3.evaluate.metrics import Report, evaluate_labels
from napari_dinov3.evaluate.tables import rows_to_csv, rows_to_markdown
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import Job, Progress, collect, part_of
from napari_dinov3.segment.probe import Probe
from napari_dinov3.segment.scribbles import PlaneLabels, Scribbles, labelled_planes, pair_up
from napari_dinov3.wording import counted

MEASURES = ("accuracy", "f1", "iou")
_Place = tuple[int, int]
_GAP = 1 / 32  # of the shorter side; at least two patches


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
    unseen : tuple of int
        Classes that are labelled in what was held out alone, and could not be learned.
    """

    held_out: tuple[_Place, ...]
    report: Report
    seconds: float
    unseen: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class CrossValidation:
    """Agreement with labels of planes that were not trained on.

    Parameters
    ----------
    folds : tuple of Fold
        In the order of the planes.
    within_plane : bool
        Whether parts of a single plane were held out, not planes.
    """

    folds: tuple[Fold, ...]
    within_plane: bool = False

    def summary(self) -> str:
        """Say what was held out, and what to beware of."""
        count = len(self.folds)
        planes = len({place for fold in self.folds for place in fold.held_out})
        texts = [
            f"One labelled plane in {count} rectangles with a gap around each: what another plane would give may be less."
            if self.within_plane
            else f"{counted(planes, 'labelled plane')} in {count} folds of neighbours."
        ]
        texts += [
            f"Class {', '.join(map(str, fold.unseen))} is labelled in fold {number} alone, which therefore could not find it."
            for number, fold in enumerate(self.folds, start=1)
            if fold.unseen
        ]
        return " ".join(texts)

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
        return f"{rows_to_markdown(self.as_rows())}\n\n{self.report.to_markdown()}\n\n{self.summary()}"


def cross_validate(features: FeatureMap | Sequence[FeatureMap], labels: Scribbles, **options: Any) -> CrossValidation:
    """Train on the labels of some planes and test on those of others.

    Parameters
    ----------
    features : FeatureMap or list of FeatureMap
        One map, or several that were made the same way.
    labels : array-like or mapping, or a list of them
        Scribbles or dense labels, as for :meth:`napari_dinov3.Probe.fit`, best of two planes or more.
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
        Blocks of neighbouring planes, as many as there are labelled planes where these are fewer; or parts of a single plane.
    reference : as `labels`, optional
        Labels to test on, where these are other (dense) than those to train on (scribbles).

    Yields
    ------
    progress : Progress
        While a fold is trained and labelled.

    Raises
    ------
    InputError
        If nothing, or only one class, is labelled, or a part of a single plane cannot be held out.
    """
    pairs = pair_up(features, labels)
    tests = pairs if reference is None else pair_up(features, reference)
    known = _by_plane(pairs)
    truth = known if reference is None else _by_plane(tests)
    places = list(known)
    classes = {int(value) for one in known.values() for value in np.unique(one.labels)}
    if not places:
        raise InputError("0 planes with labels", "one or more, better two", "Label some pixels of each class")
    if len(classes) < 2:
        raise InputError(
            f"One class only: {min(classes)}",
            "two classes or more",
            "Label a second class; or pass a mask as bool, where 0 is the background",
        )
    maps = [features for features, _ in pairs]
    turns = _plane_turns(known, truth, folds) if len(places) > 1 else _part_turns(known, truth, folds, maps[places[0][0]])
    done = []
    for number, (training, tests_of) in enumerate(turns):
        fold = _fold_steps(maps, training, tests_of, probe or Probe())
        done.append((yield from part_of(fold, start=100 * number, span=100, total=100 * len(turns))))
    return CrossValidation(tuple(done), within_plane=len(places) == 1)


_Labels = dict[_Place, PlaneLabels]


def _plane_turns(known: _Labels, truth: _Labels, folds: int) -> list[tuple[_Labels, _Labels]]:
    """Give what each fold is trained and tested on, planes held out in blocks."""
    turns = []
    places = list(known)
    for block in block_folds(len(places), folds):
        held = [places[at] for at in block]
        if not any(place in truth for place in held):
            raise InputError(
                f"No reference labels on the planes {', '.join(str(plane) for _, plane in held)}",
                "reference labels on the planes that have labels to train on",
                "Label the same planes in both",
            )
        kept = {place: one for place, one in known.items() if place not in held}
        turns.append((kept, {place: truth[place] for place in held if place in truth}))
    return turns


def _part_turns(known: _Labels, truth: _Labels, folds: int, features: FeatureMap) -> list[tuple[_Labels, _Labels]]:
    """Give what each fold is trained and tested on, rectangles of one plane held out with a gap around them."""
    (place, painted), *_ = known.items()
    tested = truth.get(place)
    if tested is None:
        raise InputError(f"No reference labels on plane {place[1]}", "reference labels where there are labels", "Label it")
    gap = max(2 * features.stride, _GAP * min(features.image_shape))
    turns = []
    for held, kept in spatial_folds(painted.rows, painted.cols, folds, gap=gap):
        test = held if tested is painted else _within(tested, painted, held)
        if len(np.unique(painted.labels[kept])) < 2 or not test.any():
            raise InputError(
                f"Without one of {folds} parts of plane {place[1]} a single class is left to learn from",
                "labels of each class at several places of the plane, or on two planes or more",
                "Label each class far from where it is labelled now, or on another plane",
            )
        turns.append(({place: _some(painted, kept)}, {place: _some(tested, test)}))
    return turns


def _some(one: PlaneLabels, chosen: npt.NDArray[np.bool_]) -> PlaneLabels:
    return replace(one, rows=one.rows[chosen], cols=one.cols[chosen], labels=one.labels[chosen])


def _within(tested: PlaneLabels, painted: PlaneLabels, held: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Choose the reference pixels in the rectangle of the held-out ones."""
    rows, cols = painted.rows[held], painted.cols[held]
    inside = (tested.rows >= rows.min()) & (tested.rows <= rows.max()) & (tested.cols >= cols.min()) & (tested.cols <= cols.max())
    return np.asarray(inside)


def _by_plane(pairs: Sequence[tuple[FeatureMap, Scribbles]]) -> _Labels:
    return {
        (number, one.plane): one
        for number, (features, labels) in enumerate(pairs)
        for one in labelled_planes(labels, planes=len(features), shape=features.image_shape)
    }


def _fold_steps(maps: Sequence[FeatureMap], training: _Labels, tests: _Labels, like: Probe) -> Job[Fold]:
    begun = time.perf_counter()
    probe = copy.deepcopy(like)
    whole = all(len(one.rows) == np.prod(maps[at].image_shape) for (at, _), one in training.items())
    shift = 0 if whole else int(any((one.labels == 0).any() for one in training.values()))  # in a part of a mask 0 is a class
    painted = [
        {plane: _image(one, maps[at].image_shape, shift) for (at, plane), one in training.items() if at == number}
        for number in range(len(maps))
    ]
    classes = {int(value) for one in training.values() for value in np.unique(one.labels)}
    unseen = {int(value) for one in tests.values() for value in np.unique(one.labels)} - classes
    yield from part_of(probe.fit_steps(maps, painted), start=0, span=50, total=100)
    reports = []
    for done, ((number, plane), one) in enumerate(tests.items()):
        yield Progress(50 + 50 * done // len(tests), 100, f"testing on plane {plane}")
        found = probe.predict_plane(maps[number], plane)[one.rows, one.cols].astype(np.int64) - shift
        reports.append(evaluate_labels(found, one.labels, ignore_label=None))
    return Fold(tuple(tests), reduce(Report.__add__, reports), time.perf_counter() - begun, tuple(sorted(unseen)))


def _image(one: PlaneLabels, shape: tuple[int, int], shift: int) -> npt.NDArray[Any]:
    """Write labelled pixels as the image they came from; a whole mask, which has a class 0, as a mask."""
    image = np.zeros(shape, np.int64)
    image[one.rows, one.cols] = one.labels + shift
    return image > 0 if not shift and (one.labels == 0).any() else image
