"""From feature maps and scribbles to training samples: one row of features a labelled pixel, within a fixed budget.

A labelled pixel takes the features interpolated at its place, as scores are later interpolated to pixels: a linear probe is
trained on exactly what it will answer, and thin structures (membranes of two pixels on a grid of two) keep their edges. Of
each class at most `max_samples` pixels are kept, drawn
evenly over all labelled pixels while the planes stream by, then the largest classes are thinned until the total fits, so
that a small class keeps every pixel it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.features.combine import parts_of
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.features.upsample import interpolate_at
from napari_dinov3.progress import Job, Progress
from napari_dinov3.segment.scribbles import PlaneLabels, Scribbles, labelled_planes

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
    where : (n, 4) int64
        Feature map, plane, row and column of each sample.
    widths : tuple of int
        Numbers of each part of the feature map: several where it is a joint one.
    """

    features: npt.NDArray[np.float32]
    codes: npt.NDArray[np.intp]
    classes: tuple[int, ...]
    surround: npt.NDArray[np.float32]
    where: npt.NDArray[np.int64]
    widths: tuple[int, ...]

    def centre_and_scale(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Find the mean and the spread of each feature, ``(dim,)`` each, over the surround.

        The spread is the geometric mean of those of the samples and of the surround: where most of a plane is empty, the
        surround alone would stretch what tells the classes apart. Parts of a joint map get the same variance each, whatever
        their width.
        """
        around = self.surround if len(self.surround) else self.features
        spread = np.sqrt(np.maximum(around.std(axis=0), _FLAT) * np.maximum(self.features.std(axis=0), _FLAT))
        share = np.repeat(np.sqrt(np.array(self.widths) * len(self.widths) / sum(self.widths)), self.widths)
        return around.mean(axis=0), (spread * share).astype(np.float32)

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
    widths = tuple(part.dim for part in parts_of(pairs[0][0]))
    return TrainingSet(rows, codes, classes, _finite_rows(surround), where, widths)


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
        mine = (where[:, 0] == number) & (where[:, 1] == plane)
        count = int(np.prod(features.grid))
        around = np.arange(count) if count <= share else rng.choice(count, share, replace=False)
        patches = np.stack(np.divmod(around, features.grid[1]), axis=1)
        rows[mine], near = _read(features, plane, where[mine, 2:], patches, on_patches)
        surround.append(near)
    return rows, _joined(surround, axis=0)


def _read(
    features: FeatureMap, plane: int, at: npt.NDArray[np.int64], patches: npt.NDArray[np.intp], on_patches: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Read features of one plane at labelled pixels (or patches), and at patches; each part of a joint map on its own grid."""
    parts = parts_of(features)
    pixels = features.first_centre + patches * features.stride
    labelled, around = [], []
    for part in parts:
        grid = part.plane(plane)
        step = {"stride": part.stride, "first_centre": part.first_centre}
        if len(parts) == 1:
            every = len(patches) == grid.shape[0] * grid.shape[1]
            around.append(grid.reshape(len(patches), -1) if every else grid[patches[:, 0], patches[:, 1]])
        else:
            around.append(interpolate_at(grid, pixels, **step))
        if len(parts) == 1 and on_patches:
            labelled.append(grid[at[:, 0], at[:, 1]])
        else:
            labelled.append(interpolate_at(grid, features.first_centre + at * features.stride if on_patches else at, **step))
    return _joined(labelled, axis=1), _joined(around, axis=1)


def _joined(parts: list[npt.NDArray[np.float32]], *, axis: int) -> npt.NDArray[np.float32]:
    """Concatenate, without a copy of a single part: features of a plane are megabytes, and strokes are answered at once."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=axis)


def _finite_rows(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return rows if np.isfinite(rows.sum()) else rows[np.isfinite(rows).all(axis=1)]


def _check_finite(rows: npt.NDArray[np.float32], what: str) -> None:
    bad = np.count_nonzero(~np.isfinite(rows).all(axis=1))
    if bad:
        raise InputError(
            f"{bad} of {len(rows)} {what} patches hold NaN or infinite features",
            "finite features",
            "Extract the features again, or erase the labels there",
        )
