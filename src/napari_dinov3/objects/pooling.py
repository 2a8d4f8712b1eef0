"""Pool patch features over objects: mean, spread and rim of each, computed on the patch grid.

Every pixel of an object has the bilinear interpolation of the four patches around it. The mean of these over an object is a
weighted mean of patches, so only the weights are made at pixels, and the features never are. An object smaller than a patch gets
the samples at its own pixels, one that covers many patches each in proportion to its area.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.objects.table import checked_labels, label_planes
from napari_dinov3.progress import Job, Progress, collect

FloatArray = npt.NDArray[np.float32]
PARTS = ("mean", "std", "rim")
_FLAT = np.float32(1e-6)  # a feature that varies less than this is constant: dividing by less would make noise of rounding
_BLOCK = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Standard:
    """Express features in units of their spread around their mean: ``(features - mean) / spread``.

    Parameters
    ----------
    mean, spread : (width,) float32
    """

    mean: FloatArray
    spread: FloatArray

    @classmethod
    def of(cls, features: FloatArray) -> Standard:
        """Take mean and spread of ``(n, width)`` features; those that do not vary keep their size."""
        if not len(features):
            width = features.shape[1]
            return cls(np.zeros(width, np.float32), np.ones(width, np.float32))
        spread = features.std(axis=0)
        return cls(features.mean(axis=0), np.where(spread > _FLAT, spread, np.float32(1)))

    def apply(self, features: FloatArray) -> FloatArray:
        """Standardise ``(n, width)`` features."""
        standardised: FloatArray = (features - self.mean) / self.spread
        return standardised

    def lengths(self, features: FloatArray) -> FloatArray:
        """Measure the length of each standardised vector, ``(n,)``, block by block."""
        blocks = (features[start : start + _BLOCK] for start in range(0, len(features), _BLOCK))
        lengths = [np.linalg.norm(self.apply(block), axis=1) for block in blocks]
        return np.concatenate(lengths) if lengths else np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class PooledObjects:
    """Features of objects.

    Parameters
    ----------
    labels : (n,) int64
        Number of each object, rising.
    features : (n, 3 * dim) float32
        Mean over the object, standard deviation over it, and mean along its rim. NaN where no patch under the object has finite
        features.
    signature : mapping
        Of the feature map, and what was pooled: what another image's must share to be classified alike.
    standard : Standard
        How features are standardised before anything is learned from these objects.
    usable : (n,) bool
        Which objects have finite features.
    lengths : (n,) float32
        Of the standardised features; kept, since many clicks ask for them.
    """

    labels: npt.NDArray[np.int64]
    features: FloatArray = field(repr=False)
    signature: Mapping[str, Any]
    standard: Standard = field(repr=False)
    usable: npt.NDArray[np.bool_] = field(repr=False)
    lengths: FloatArray = field(repr=False)

    @classmethod
    def of(cls, labels: npt.NDArray[np.int64], features: FloatArray, signature: Mapping[str, Any]) -> PooledObjects:
        """Complete labels and features by what follows from them."""
        usable = np.asarray(np.isfinite(features).all(axis=1))
        standard = Standard.of(features[usable] if not usable.all() else features)
        return cls(labels, features, signature, standard, usable, standard.lengths(features))

    def __len__(self) -> int:
        return len(self.labels)

    def rows_of(self, labels: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Find objects by their numbers; -1 where there is none of that number."""
        wanted = np.asarray(labels, np.int64)
        if not len(self.labels):
            return np.full(wanted.shape, -1, np.intp)
        at = np.minimum(np.searchsorted(self.labels, wanted), len(self.labels) - 1)
        return np.where(self.labels[at] == wanted, at, -1)


def pool_objects(features: FeatureMap, objects: Any) -> PooledObjects:
    """Pool the features of every object; see :func:`pool_objects_steps`."""
    return collect(pool_objects_steps(features, objects))


def pool_objects_steps(features: FeatureMap, objects: Any) -> Job[PooledObjects]:
    """Pool plane by plane.

    Parameters
    ----------
    features : FeatureMap
        Of the image the objects lie in.
    objects : Instances, Planes, opened file or array-like
        ``(planes, H, W)`` whole numbers, 0 for background; a number that occurs in several planes is one object.

    Returns
    -------
    pooled : PooledObjects

    Raises
    ------
    InputError
        If the objects have other planes, rows or columns than the image, or there are none.

    Notes
    -----
    The standard deviation is over patches by the same weights. Patches that are not finite count nowhere. Time is in
    proportion to the labelled pixels, and to the number of patches that objects touch.
    """
    labels = label_planes(objects)
    if labels.shape != (len(features), *features.image_shape):
        raise InputError(
            f"The objects have shape {labels.shape} and the image of the features {(len(features), *features.image_shape)}",
            "the same planes, rows and columns",
            "Use the objects of this image, at the same pyramid level",
        )
    sums = _Sums(features.dim)
    for index in range(len(labels)):
        yield Progress(index, len(labels), f"pooling features of plane {index + 1} of {len(labels)}")
        plane = checked_labels(labels.plane(index), labels.name)
        if plane.any():
            sums.add(plane, features.plane(index), stride=features.stride, first_centre=features.first_centre)
    yield Progress(len(labels), len(labels), "pooled")
    found, pooled = sums.pooled()
    if not len(found):
        raise InputError(
            f"{labels.name!r} holds no object", "at least one label above 0", "Make objects first, or choose another layer"
        )
    return PooledObjects.of(found, pooled, {**features.signature, "pooled": list(PARTS)})


class _Sums:
    """Weighted sums of patches an object, over the planes read so far; a row for each object in the order of first sight."""

    def __init__(self, dim: int) -> None:
        self.row_of: npt.NDArray[np.int64] = np.full(1, -1, np.int64)  # by label
        self.labels: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.weight = np.zeros((0, 2))  # whole, rim
        self.sums = np.zeros((0, 3, dim), np.float32)

    def add(self, plane: npt.NDArray[np.int64], grid: FloatArray, *, stride: float, first_centre: float) -> None:
        """Add a plane: ``(H, W)`` labels on a ``(rows, cols, dim)`` grid."""
        from skimage.segmentation import find_boundaries

        here = np.unique(plane)
        here = here[here > 0]
        rows = self._rows(here)
        place = np.zeros(int(here[-1]) + 1, np.int64)
        place[here] = np.arange(len(here))
        table = grid.reshape(-1, grid.shape[-1])
        finite = np.asarray(np.isfinite(table).all(axis=1))
        table = np.where(finite[:, None], table, np.float32(0))
        rim = find_boundaries(plane, mode="inner", background=0)
        # an object cut by the border of the image has a rim there too
        rim[0], rim[-1], rim[:, 0], rim[:, -1] = plane[0] > 0, plane[-1] > 0, plane[:, 0] > 0, plane[:, -1] > 0
        for number, mask in enumerate((plane > 0, rim)):
            at = np.nonzero(mask)
            weights = _weights(place[plane[at]], at, len(here), grid.shape[:2], stride, first_centre)
            weights = weights.multiply(finite[None]).tocsr()
            self.weight[rows, number] += np.asarray(weights.sum(axis=1)).ravel()
            if number == 0:
                self.sums[rows, 0] += weights @ table
                self.sums[rows, 1] += weights @ np.square(table)
            else:
                self.sums[rows, 2] += weights @ table

    def _rows(self, here: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Find the rows of labels, making those of new ones."""
        if here[-1] >= len(self.row_of):
            self.row_of = np.concatenate([self.row_of, np.full(int(here[-1]) + 1 - len(self.row_of), -1, np.int64)])
        new = here[self.row_of[here] < 0]
        if len(new):
            self.row_of[new] = len(self.labels) + np.arange(len(new))
            self.labels = np.concatenate([self.labels, new])
            self.weight = np.concatenate([self.weight, np.zeros((len(new), 2))])
            self.sums = np.concatenate([self.sums, np.zeros((len(new), *self.sums.shape[1:]), np.float32)])
        return self.row_of[here]

    def pooled(self) -> tuple[npt.NDArray[np.int64], FloatArray]:
        """Turn sums into means and spread, in the order of the labels."""
        order = np.argsort(self.labels)
        weight = self.weight[order].astype(np.float32)
        weight = np.where(weight > 0, weight, np.float32(np.nan))
        sums = self.sums[order]
        mean = sums[:, 0] / weight[:, :1]
        spread = np.sqrt(np.maximum(sums[:, 1] / weight[:, :1] - mean * mean, 0))
        rim = sums[:, 2] / weight[:, 1:]
        return self.labels[order], np.concatenate([mean, spread, rim], axis=1)


def _weights(
    objects: npt.NDArray[np.int64],
    pixels: tuple[npt.NDArray[np.intp], ...],
    count: int,
    grid: tuple[int, int],
    stride: float,
    first_centre: float,
) -> Any:
    """Weigh patches for each object: a sparse ``(count, patches)`` array of bilinear weights, added up over its pixels."""
    from scipy.sparse import coo_array

    corners = []
    for at, length in zip(pixels, grid, strict=True):
        place = np.clip((at - first_centre) / stride, 0, length - 1)
        low = np.floor(place).astype(np.int64)
        share = (place - low).astype(np.float32)
        corners.append(((low, 1 - share), (np.minimum(low + 1, length - 1), share)))
    values, columns = [], []
    for row, row_share in corners[0]:
        for col, col_share in corners[1]:
            values.append(row_share * col_share)
            columns.append(row * grid[1] + col)
    shape = (count, grid[0] * grid[1])
    return coo_array((np.concatenate(values), (np.tile(objects, 4), np.concatenate(columns))), shape=shape).tocsr()
