"""Compare objects with reference objects: matches by overlap, precision, recall, F1 and average precision.

A predicted and a reference object match at a threshold if their intersection over union (IoU) reaches it, one to one. Then
``precision = TP / (TP + FP)``, ``recall = TP / (TP + FN)``, ``F1 = 2 TP / (2 TP + FP + FN)``, and the average precision as the
Data Science Bowl 2018 and StarDist have it, ``AP = TP / (TP + FP + FN)``.

References
----------
.. [1] J. Caicedo et al., "Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl", Nature Methods 16
   (2019), doi:10.1038/s41592-019-0612-7.
.. [2] U. Schmidt et al., "Cell detection with star-convex polygons", MICCAI 2018, doi:10.1007/978-3-030-00934-2_30.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.evaluate.metrics import format_table
from napari_dinov3.progress import Job, Progress, collect

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
COLUMNS = ("IoU", "matched", "false", "missed", "precision", "recall", "F1", "AP")


@dataclass(frozen=True, slots=True, eq=False)
class ObjectScores:
    """Matches at each threshold.

    Parameters
    ----------
    thresholds : tuple of float
        IoU, rising.
    matched, false, missed : (t,) int64
        Pairs that match; predicted objects without a match; reference objects without one.
    mean_iou : () float64
        Of the pairs that match at the first threshold; NaN where there are none.
    """

    thresholds: tuple[float, ...]
    matched: npt.NDArray[np.int64]
    false: npt.NDArray[np.int64]
    missed: npt.NDArray[np.int64]
    mean_iou: npt.NDArray[np.float64]

    @property
    def precision(self) -> npt.NDArray[np.float64]:
        """Share of predicted objects that match; NaN where there are none."""
        return _share(self.matched, self.matched + self.false)

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        """Share of reference objects that match; NaN where there are none."""
        return _share(self.matched, self.matched + self.missed)

    @property
    def f1(self) -> npt.NDArray[np.float64]:
        """Harmonic mean of precision and recall; NaN where there are no objects at all."""
        return _share(2 * self.matched, 2 * self.matched + self.false + self.missed)

    @property
    def average_precision(self) -> npt.NDArray[np.float64]:
        """``TP / (TP + FP + FN)``; NaN where there are no objects at all."""
        return _share(self.matched, self.matched + self.false + self.missed)

    def as_rows(self) -> list[dict[str, Any]]:
        """List one row a threshold."""
        measures = (self.matched, self.false, self.missed, self.precision, self.recall, self.f1, self.average_precision)
        return [
            dict(zip(COLUMNS, (threshold, *(column[at].item() for column in measures)), strict=True))
            for at, threshold in enumerate(self.thresholds)
        ]

    def to_markdown(self) -> str:
        """Write the rows as a Markdown table, with the mean average precision below it."""
        rows = self.as_rows()
        table = format_table(COLUMNS, [[row[column] for column in COLUMNS] for row in rows])
        return f"{table}\n\n{self.summary()}"

    def summary(self) -> str:
        """Say the figures at the first threshold, and the mean average precision."""
        precision, recall, f1, mean = self.precision[0], self.recall[0], self.f1[0], np.mean(self.average_precision)
        first = f"IoU {self.thresholds[0]:g}: precision {precision:.3f}, recall {recall:.3f}, F1 {f1:.3f}"
        return f"{first}. Mean AP over IoU {self.thresholds[0]:g} to {self.thresholds[-1]:g}: {mean:.3f}."


@dataclass(frozen=True, slots=True, eq=False)
class ObjectReport:
    """Object scores of a stack.

    Parameters
    ----------
    planes : tuple of ObjectScores
        Of each plane; of the whole where objects were compared across planes.
    total : ObjectScores
        Counts of all planes together.
    """

    planes: tuple[ObjectScores, ...]
    total: ObjectScores

    def __len__(self) -> int:
        return len(self.planes)

    def __getitem__(self, plane: int) -> ObjectScores:
        return self.planes[plane]

    def as_rows(self) -> list[dict[str, Any]]:
        """List the rows of the total."""
        return self.total.as_rows()

    def to_markdown(self) -> str:
        """Write the total as a Markdown table."""
        return self.total.to_markdown()


def object_scores(reference: npt.ArrayLike, predicted: npt.ArrayLike, **options: Any) -> ObjectReport:
    """Compare predicted with reference objects.

    Parameters
    ----------
    reference, predicted : integer array-likes of one shape
        ``(H, W)`` or ``(planes, H, W)``; 0 is background, every other number an object.
    **options
        Of :func:`object_scores_steps`.

    Returns
    -------
    report : ObjectReport

    Examples
    --------
    >>> import numpy as np
    >>> reference, predicted = np.zeros((8, 8), int), np.zeros((8, 8), int)
    >>> reference[:4, :4], predicted[:4, 1:4] = 1, 5
    >>> object_scores(reference, predicted).total.average_precision[[0, -1]].tolist()
    [1.0, 0.0]
    """
    return collect(object_scores_steps(reference, predicted, **options))


def object_scores_steps(
    reference: npt.ArrayLike,
    predicted: npt.ArrayLike,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    across: Literal["planes", "stack"] = "planes",
) -> Job[ObjectReport]:
    """Compare objects plane by plane; see :func:`object_scores`.

    Parameters
    ----------
    reference, predicted
        As in :func:`object_scores`.
    thresholds : floats
        IoU from which a pair matches, above 0.
    across : {"planes", "stack"}
        Compare the parts of objects in each plane, read one at a time, or whole objects of the stack.

    Yields
    ------
    progress : Progress
        After each plane.

    Raises
    ------
    InputError
        If the shapes differ, values are not whole numbers, or a threshold is not in 0..1.

    Notes
    -----
    Above an IoU of 0.5 an object has one possible partner; at and below, as many pairs as possible are matched.
    """
    pair = [
        array if hasattr(array, "shape") and hasattr(array, "dtype") else np.asarray(array) for array in (reference, predicted)
    ]
    ours: Any = pair[1]
    theirs: Any = pair[0]
    levels = tuple(sorted(float(threshold) for threshold in thresholds))
    _check(theirs, ours, levels)
    by_plane = len(ours.shape) > 2 and across == "planes"
    count = len(ours) if by_plane else 1
    scores: tuple[ObjectScores, ...] = ()
    for number in range(count):
        yield Progress(number, count, f"comparing objects, {number + 1} of {count}")
        a, b = (theirs[number], ours[number]) if by_plane else (theirs, ours)
        scores += (_compare(np.asarray(a), np.asarray(b), levels),)
    counts = np.stack([(one.matched, one.false, one.missed) for one in scores]).sum(axis=0)
    pairs = np.array([one.matched[0] for one in scores], np.float64)
    overlaps = np.array([float(one.mean_iou) for one in scores])
    mean = np.nansum(np.where(pairs > 0, pairs * overlaps, 0)) / pairs.sum() if pairs.sum() else np.nan
    return ObjectReport(scores, ObjectScores(levels, counts[0], counts[1], counts[2], np.asarray(mean)))


def overlaps(reference: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> tuple[Any, int, int]:
    """Measure the IoU of every pair that touches.

    Returns
    -------
    iou : (references, predictions) sparse array
        Of the objects in the order of their numbers.
    references, predictions : int
        Number of objects.
    """
    from scipy.sparse import coo_array

    ours, theirs = predicted.ravel(), reference.ravel()
    their_values, their_index, their_sizes = np.unique(theirs, return_inverse=True, return_counts=True)
    our_values, our_index, our_sizes = np.unique(ours, return_inverse=True, return_counts=True)
    both = (theirs > 0) & (ours > 0)
    shape = (len(their_values), len(our_values))
    shared = coo_array((np.ones(int(both.sum()), np.int64), (their_index.ravel()[both], our_index.ravel()[both])), shape=shape)
    shared = shared.tocsr().tocoo()  # sums what falls together
    rows, cols = shared.coords
    union = their_sizes[rows] + our_sizes[cols] - shared.data
    iou = coo_array((shared.data / union, (rows, cols)), shape=shape).tocsr()
    return iou, int((their_values > 0).sum()), int((our_values > 0).sum())


def _compare(reference: npt.NDArray[Any], predicted: npt.NDArray[Any], levels: tuple[float, ...]) -> ObjectScores:
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    iou, references, predictions = overlaps(reference, predicted)
    matched: list[int] = []
    mean = np.nan
    for level in levels:
        good = iou.data >= level
        pairs = iou.tocoo()
        rows, cols = pairs.coords
        possible = csr_array((np.ones(int(good.sum()), np.int8), (rows[good], cols[good])), shape=iou.shape)
        partner = maximum_bipartite_matching(possible, perm_type="column")
        found = np.flatnonzero(partner >= 0)
        if not matched and len(found):
            mean = float(np.mean(np.asarray(iou[found, partner[found]])))
        matched.append(len(found))
    hits = np.array(matched, np.int64)
    return ObjectScores(levels, hits, predictions - hits, references - hits, np.asarray(mean))


def _check(reference: Any, predicted: Any, levels: tuple[float, ...]) -> None:
    if reference.shape != predicted.shape or len(reference.shape) not in (2, 3):
        raise InputError(
            f"Reference objects of shape {tuple(reference.shape)} and predicted ones of shape {tuple(predicted.shape)}",
            "(H, W) or (planes, H, W), the same for both",
            "Compare objects of the same image at the same resolution",
        )
    for objects in (reference, predicted):
        if np.dtype(objects.dtype).kind not in "bui":
            raise InputError(f"Objects of type {objects.dtype}", "whole numbers", "Round or label them first")
    if not levels or not all(0 < level <= 1 for level in levels):
        raise InputError(f"thresholds={levels}", "numbers above 0, up to 1", "Use the default")


def _share(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
