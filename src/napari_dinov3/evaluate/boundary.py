"""How well the borders of classes are placed: precision, recall and F1 of boundary pixels within a tolerance.

A boundary pixel of a class is one of its pixels with a neighbour (up, down, left, right) of another class. It counts as right
where the other labels have a boundary pixel of the same class within the tolerance (Euclidean distance between pixel
centres). The edge of the image, and pixels the reference leaves unlabelled, make no boundary.

References
----------
.. [1] G. Csurka, D. Larlus, F. Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC 2013,
   doi:10.5244/C.27.32.
.. [2] F. Perazzi et al., "A benchmark dataset and evaluation methodology for video object segmentation", CVPR 2016,
   doi:10.1109/CVPR.2016.85.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class BoundaryCounts:
    """Boundary pixels of each class, and how many of them are within the tolerance; counts of planes can be added up.

    Parameters
    ----------
    classes : tuple of int
        Label values, in the order of the counts.
    counts : (classes, 4) int64
        Predicted boundary pixels, those near the reference's; reference boundary pixels, those near the prediction's.
    """

    classes: tuple[int, ...]
    counts: npt.NDArray[np.int64] = field(repr=False)

    @property
    def precision(self) -> npt.NDArray[np.float64]:
        """Part of the predicted boundary that is right; NaN without one."""
        return _ratio(self.counts[:, 1], self.counts[:, 0])

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        """Part of the true boundary that is found; NaN without one."""
        return _ratio(self.counts[:, 3], self.counts[:, 2])

    @property
    def f1(self) -> npt.NDArray[np.float64]:
        """Harmonic mean of both; 0 where only one of the two has a boundary, NaN where neither has."""
        precision, recall = np.nan_to_num(self.precision), np.nan_to_num(self.recall)
        values = np.where(precision + recall > 0, 2 * precision * recall / np.maximum(precision + recall, 1e-300), 0.0)
        return np.where(self.counts[:, 0] + self.counts[:, 2] > 0, values, np.nan)

    @property
    def mean_f1(self) -> float:
        """Mean F1 over the classes that have a boundary; NaN without any."""
        known = self.f1[np.isfinite(self.f1)]
        return float(known.mean()) if known.size else float("nan")

    def __add__(self, other: BoundaryCounts) -> BoundaryCounts:
        """Put the counts of two planes together; the classes of either are kept."""
        classes = tuple(sorted({*self.classes, *other.classes}))
        counts = np.zeros((len(classes), 4), np.int64)
        for part in (self, other):
            counts[np.searchsorted(classes, part.classes)] += part.counts
        return BoundaryCounts(classes, counts)


NO_BOUNDARY = BoundaryCounts((), np.zeros((0, 4), np.int64))


def boundary_counts(
    predicted: npt.NDArray[np.integer],
    reference: npt.NDArray[np.integer],
    *,
    tolerance: float = 2.0,
    spacing: tuple[float, float] = (1.0, 1.0),
    ignore_label: int | None = None,
) -> BoundaryCounts:
    """Compare the boundaries of every class in one plane.

    Parameters
    ----------
    predicted, reference : (H, W) int
        Labels of the same pixels.
    tolerance : float
        Largest distance that counts as right, in the unit of `spacing`; 2 pixels by default, about what two people who draw
        the same outline differ by.
    spacing : (2,) floats
        Distance between rows and between columns; 1 for a tolerance in pixels.
    ignore_label : int or None
        Reference label of pixels that count nowhere.

    Returns
    -------
    counts : BoundaryCounts
        Of all classes in either.

    Raises
    ------
    InputError
        If the shapes differ, or the tolerance is negative or not finite.

    Notes
    -----
    Two distance transforms a class, each in the box around the class: linear in the pixels of the boxes.
    """
    if predicted.shape != reference.shape or predicted.ndim != 2:
        raise InputError(
            f"Planes of shape {predicted.shape} and {reference.shape}",
            "two planes of one shape",
            "Compare labels of the same image",
        )
    if not 0 <= tolerance < np.inf:
        raise InputError(f"tolerance={tolerance}", "a distance of 0 or more", "Choose for example 2 pixels")
    valid = np.ones(reference.shape, bool) if ignore_label is None else reference != ignore_label
    values = np.union1d(predicted[valid], reference[valid])
    margin = [int(np.ceil(tolerance / step)) + 1 for step in spacing]
    counts = np.zeros((len(values), 4), np.int64)
    for at, value in enumerate(values):
        ours, theirs = predicted == value, reference == value
        box = _box(ours | theirs, margin)
        found, known = (_boundary(mask[box], valid[box]) for mask in (ours, theirs))
        counts[at] = (
            found.sum(), _near(found, known, tolerance, spacing),
            known.sum(), _near(known, found, tolerance, spacing),
        )  # fmt: skip
    return BoundaryCounts(tuple(map(int, values)), counts)


def _box(mask: BoolArray, margin: list[int]) -> tuple[slice, slice]:
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (
        slice(max(0, int(rows[0]) - margin[0]), int(rows[-1]) + margin[0] + 1),
        slice(max(0, int(cols[0]) - margin[1]), int(cols[-1]) + margin[1] + 1),
    )


def _boundary(mask: BoolArray, valid: BoolArray) -> BoolArray:
    """Find the labelled pixels of a class that touch a labelled pixel of another."""
    inside, outside = mask & valid, ~mask & valid
    touches = np.zeros_like(mask)
    touches[1:] |= outside[:-1]
    touches[:-1] |= outside[1:]
    touches[:, 1:] |= outside[:, :-1]
    touches[:, :-1] |= outside[:, 1:]
    return inside & touches


def _near(these: BoolArray, those: BoolArray, tolerance: float, spacing: tuple[float, float]) -> int:
    from scipy.ndimage import distance_transform_edt

    if not these.any() or not those.any():
        return 0
    distance = distance_transform_edt(~those, sampling=spacing)
    return int(np.count_nonzero(distance[these] <= tolerance * (1 + 1e-9)))  # 0.3 is 3 x 0.1 but for rounding


def _ratio(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
