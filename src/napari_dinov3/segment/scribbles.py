"""Scribbles as plain positions: which pixel of which plane carries which label, read one plane at a time.

Scribbles are a labels image where 0 means unlabelled. A boolean image is a dense mask: every pixel is labelled, False with
class 0 and True with class 1. Planes without a label cost one look (numpy) or one read (dask, zarr); a mapping
``{plane: (H, W)}`` names the painted planes, and no other is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.wording import counted

Scribbles: TypeAlias = Any
"""(planes, H, W) or, for a single plane, (H, W) array-like of labels; or a mapping from plane index to (H, W)."""


@dataclass(frozen=True, slots=True)
class PlaneLabels:
    """Labelled pixels of one plane.

    Parameters
    ----------
    plane : int
        Index of the plane.
    rows, cols : (n,) int
        Pixel coordinates.
    labels : (n,) int64
        Class of each pixel.
    """

    plane: int
    rows: npt.NDArray[np.intp]
    cols: npt.NDArray[np.intp]
    labels: npt.NDArray[np.int64]


def labelled_planes(scribbles: Scribbles, *, planes: int, shape: tuple[int, int]) -> Iterator[PlaneLabels]:
    """Find the labelled pixels, plane by plane, skipping planes without any.

    Parameters
    ----------
    scribbles : array-like or mapping
        As :data:`Scribbles`.
    planes : int
        Number of planes of the feature map.
    shape : (2,) ints
        Rows and columns of the image (or of the patch grid, for patch labels).

    Raises
    ------
    InputError
        If the shape does not fit, a plane does not exist, or a label is negative or not a whole number.
    """
    for index, image in _painted(scribbles, planes, shape):
        values = _whole_numbers(np.asarray(image), index)
        if values.shape != shape:
            raise _misfit(f"Scribbles of plane {index} have shape {values.shape}", planes, shape)
        if values.dtype == bool:
            rows, cols = np.indices(shape).reshape(2, -1)
        else:
            rows, cols = np.divmod(np.flatnonzero(values), shape[1])
        if len(rows):
            labels = values[rows, cols].astype(np.int64)
            if labels.min() < 0:
                raise InputError(
                    f"Plane {index} carries the negative label {labels.min()}",
                    "0 for unlabelled, and positive labels",
                    "Give each class a positive number",
                )
            yield PlaneLabels(index, rows, cols, labels)


def pair_up(features: FeatureMap | Sequence[FeatureMap], scribbles: Any) -> list[tuple[FeatureMap, Scribbles]]:
    """Join each feature map with its scribbles, and refuse maps that were made differently.

    Raises
    ------
    InputError
        If a list of maps has not as many scribbles, or is empty.
    FeatureMismatchError
        If the maps do not fit together.
    """
    if isinstance(features, FeatureMap):
        return [(features, scribbles)]
    maps = list(features)
    if not maps or not isinstance(scribbles, list | tuple) or len(scribbles) != len(maps):
        count = len(scribbles) if isinstance(scribbles, list | tuple) else "one array of"
        raise InputError(
            f"{counted(len(maps), 'feature map')} and {count} scribbles",
            "a list of scribbles as long as the list of feature maps",
            "Pass one labels image for each feature map, in the same order",
        )
    for other in maps[1:]:
        maps[0].check_fits(other, "The feature maps to train on")
    return list(zip(maps, scribbles, strict=True))


def _painted(scribbles: Scribbles, planes: int, shape: tuple[int, int]) -> Iterator[tuple[int, Any]]:
    if isinstance(scribbles, Mapping):
        for index in sorted(scribbles):
            if not 0 <= int(index) < planes:
                raise _misfit(f"Scribbles on plane {index}", planes, shape)
            yield int(index), scribbles[index]
        return
    stack = scribbles if hasattr(scribbles, "shape") else np.asarray(scribbles)
    if len(stack.shape) == 2 and planes == 1:
        stack = stack[None]
    if tuple(stack.shape) != (planes, *shape):
        raise _misfit(f"Scribbles have shape {tuple(stack.shape)}", planes, shape)
    for index in range(planes):
        yield index, stack[index]


def _whole_numbers(values: npt.NDArray[Any], plane: int) -> npt.NDArray[Any]:
    if values.dtype.kind in "bui":
        return values
    if values.dtype.kind == "f" and np.array_equal(values, np.rint(values)):
        return values.astype(np.int64)
    raise InputError(
        f"Scribbles of plane {plane} have type {values.dtype} and hold other than whole numbers",
        "an integer labels image, 0 for unlabelled",
        "Paint in a labels layer, or round the values first",
    )


def _misfit(problem: str, planes: int, shape: tuple[int, int]) -> InputError:
    return InputError(
        f"{problem}; the features cover {counted(planes, 'plane')} of {shape[0]} x {shape[1]}",
        f"scribbles of shape {(planes, *shape)}, or a mapping from plane to {shape}",
        "Use a labels image with the shape of the image that the features were made from",
    )
