"""From feature maps and scribbles to training samples: one row of features a labelled pixel, within a fixed budget.

A labelled pixel takes the features interpolated at its place, as scores are later interpolated to pixels: a linear probe is
trained on exactly what it will answer, and thin structures (membranes of two pixels on a grid of two) keep their edges. Of
each class at most `max_samples` pixels are kept, drawn
evenly over all labelled pixels while the planes stream by, then the largest classes are thinned until the total fits, so
that a small class keeps every pixel it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import Job, Progress
from napari_dinov3.segment.example_heads import PrototypeHead, TreeHead
from napari_dinov3.segment.heads import ClassWeight, Head, HeadName, KernelHead, LinearHead
from napari_dinov3.segment.parallel import one_library_thread
from napari_dinov3.segment.scribbles import PlaneLabels, Scribbles, labelled_planes
from napari_dinov3.segment.upsample import interpolate_at

MAX_SURROUND = 20_000
_FLAT = np.float32(1e-6)  # a feature that varies less than this is constant: dividing by less would make noise of rounding


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Samples a head is fitted to.

    Parameters
    ----------
    features : (n, dim) float32
        Features of the labelled pixels.
    codes : (n,) intp
        Index into `classes`.
    classes : tuple of int
        Label values in rising order.
    surround : (m, dim) float32
        Features of patches drawn evenly from the painted planes, labelled or not: the scale of each feature, and what share
        of the image each class takes, are estimated on them.
    """

    features: npt.NDArray[np.float32]
    codes: npt.NDArray[np.intp]
    classes: tuple[int, ...]
    surround: npt.NDArray[np.float32]

    def centre_and_scale(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Find the mean and the spread of each feature, ``(dim,)`` each, over the surround.

        The spread is the geometric mean of those of the samples and of the surround: where most of a plane is empty, the
        surround alone would stretch what tells the classes apart.
        """
        around = self.surround if len(self.surround) else self.features
        spread = np.sqrt(np.maximum(around.std(axis=0), _FLAT) * np.maximum(self.features.std(axis=0), _FLAT))
        return around.mean(axis=0), spread.astype(np.float32)

    def standardised(self, mean: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]) -> TrainingSet:
        """Express features and surround in units of `scale` around `mean`."""
        return replace(self, features=(self.features - mean) / scale, surround=(self.surround - mean) / scale)


@dataclass(frozen=True, slots=True)
class _Picks:
    """Candidates of one class: a random key, and the map, plane, row and column of each."""

    keys: npt.NDArray[np.float64]
    where: npt.NDArray[np.int64]

    def merged(self, other: _Picks, limit: int) -> _Picks:
        keys, where = np.concatenate([self.keys, other.keys]), np.concatenate([self.where, other.where])
        return _Picks(keys, where).thinned(limit)

    def thinned(self, limit: int) -> _Picks:
        if len(self.keys) <= limit:
            return self
        kept = np.sort(np.argpartition(self.keys, limit)[:limit])
        return _Picks(self.keys[kept], self.where[kept])


def gather_steps(
    pairs: Sequence[tuple[FeatureMap, Scribbles]], *, max_samples: int, rng: np.random.Generator, on_patches: bool = False
) -> Job[TrainingSet]:
    """Collect the training samples of one or several feature maps.

    Parameters
    ----------
    pairs : sequence of (FeatureMap, scribbles)
        Maps that fit together, each with its own scribbles.
    max_samples : int
        Most samples in all; memory and training time are bounded by it.
    rng : numpy Generator
        Which pixels are kept where there are more.
    on_patches : bool
        The labels lie on the patch grid instead of the pixels.

    Raises
    ------
    InputError
        If nothing is labelled, the scribbles do not fit, or labelled features are not finite.
    """
    picks: dict[int, _Picks] = {}
    painted: set[tuple[int, int]] = set()
    for number, (features, scribbles) in enumerate(pairs):
        shape = features.grid if on_patches else features.image_shape
        for labels in labelled_planes(scribbles, planes=len(features), shape=shape):
            painted.add((number, labels.plane))
            for value in np.unique(labels.labels):
                fresh = _picked(labels, int(value), number, rng).thinned(max_samples)
                picks[int(value)] = picks[int(value)].merged(fresh, max_samples) if int(value) in picks else fresh
    if not picks:
        raise InputError(
            "No pixel is labelled",
            "at least one stroke of at least one class, and better two classes",
            "Paint a few strokes in the labels layer (0 means unlabelled), then train again",
        )
    thinned = _share_out(picks, max_samples)
    classes = tuple(sorted(thinned))
    where = np.concatenate([thinned[value].where for value in classes])
    codes = np.repeat(np.arange(len(classes)), [len(thinned[value].keys) for value in classes])
    rows, surround = yield from _read_steps(pairs, where, sorted(painted), rng, on_patches)
    _check_finite(rows, "labelled")
    return TrainingSet(rows, codes, classes, surround[np.isfinite(surround).all(axis=1)])


def _picked(labels: PlaneLabels, value: int, number: int, rng: np.random.Generator) -> _Picks:
    rows, cols = (axis[labels.labels == value] for axis in (labels.rows, labels.cols))
    where = np.stack([np.full(len(rows), number), np.full(len(rows), labels.plane), rows, cols], axis=1)
    return _Picks(rng.random(len(rows)), where)


def _share_out(picks: dict[int, _Picks], max_samples: int) -> dict[int, _Picks]:
    """Thin the largest classes until the total fits the budget."""
    sizes = sorted(len(p.keys) for p in picks.values())
    limit, left = max_samples, max_samples
    for rank, size in enumerate(sizes):
        limit = max(1, left // (len(sizes) - rank))
        if size > limit:
            break
        left -= size
    else:
        return picks
    return {value: p.thinned(limit) for value, p in picks.items()}


def _read_steps(
    pairs: Sequence[tuple[FeatureMap, Any]],
    where: npt.NDArray[np.int64],
    painted: Sequence[tuple[int, int]],
    rng: np.random.Generator,
    on_patches: bool,
) -> Job[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    dim = pairs[0][0].dim
    rows = np.empty((len(where), dim), np.float32)
    share = max(1, MAX_SURROUND // len(painted))
    surround = []
    for done, (number, plane) in enumerate(painted):
        yield Progress(done, len(painted), f"Reading features of plane {plane}")
        features = pairs[number][0]
        grid = features.plane(plane)
        mine = (where[:, 0] == number) & (where[:, 1] == plane)
        at = where[mine, 2:]
        rows[mine] = (
            grid[at[:, 0], at[:, 1]]
            if on_patches
            else interpolate_at(grid, at, stride=features.stride, first_centre=features.first_centre)
        )
        table = grid.reshape(-1, dim)
        surround.append(table if len(table) <= share else table[rng.choice(len(table), share, replace=False)])
    return rows, np.concatenate(surround)


def _check_finite(rows: npt.NDArray[np.float32], what: str) -> None:
    bad = np.count_nonzero(~np.isfinite(rows).all(axis=1))
    if bad:
        raise InputError(
            f"{bad} of {len(rows)} {what} patches hold NaN or infinite features",
            "finite features",
            "Extract the features again, or erase the labels there",
        )


def fit_head(
    name: HeadName, samples: TrainingSet, *, C: float, class_weight: ClassWeight, landmarks: int, rng: np.random.Generator
) -> Head | None:
    """Fit the head of that name to standardised samples; None where there is one class only."""
    if len(samples.classes) == 1:
        return None
    features, codes = samples.features, samples.codes
    weight = sample_weights(codes, samples.classes, class_weight)
    if name == "prototypes":
        return PrototypeHead.fit(features, codes, weight)
    if name in ("forest", "boosting"):
        return TreeHead("forest" if name == "forest" else "boosting", features, codes, weight, seed=int(rng.integers(2**31)))
    with one_library_thread():
        if name == "linear":
            return LinearHead.fit(features, codes, weight=weight, strength=C)
        return KernelHead.fit(features, codes, weight=weight, strength=C, landmarks=landmarks, rng=rng)


def sample_weights(codes: npt.NDArray[np.intp], classes: tuple[int, ...], class_weight: ClassWeight) -> npt.NDArray[np.float64]:
    """Weigh samples by class, with a mean of 1.

    Parameters
    ----------
    codes : (n,) ints
        Class index of each sample.
    classes : tuple of int
        Label values.
    class_weight : {"balanced"}, mapping from label value to weight, or None
        As in :class:`~napari_dinov3.segment.probe.Probe`; classes a mapping leaves out weigh 1.
    """
    counts = np.bincount(codes, minlength=len(classes))
    if class_weight is None:
        return np.ones(len(codes))
    if isinstance(class_weight, Mapping):
        each = np.array([class_weight.get(value, 1.0) for value in classes])
        if not (np.isfinite(each).all() and (each > 0).all()):
            raise InputError(f"class_weight={dict(class_weight)}", "positive weights", "Give each class a weight above 0")
    else:
        each = 1 / np.maximum(counts, 1)
    weight = each[codes]
    normalised: npt.NDArray[np.float64] = weight / weight.mean()
    return normalised


def class_shares(codes: npt.NDArray[np.intp], classes: tuple[int, ...], class_weight: ClassWeight) -> npt.NDArray[np.float64]:
    """Share of each class in the samples, as weighted: ``(classes,)``, summing to 1."""
    totals = np.bincount(codes, weights=sample_weights(codes, classes, class_weight), minlength=len(classes))
    shares: npt.NDArray[np.float64] = totals / totals.sum()
    return shares
