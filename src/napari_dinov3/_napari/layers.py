"""Layers to planes, and results to layers that lie where they belong.

Conventions. napari places index ``i`` of a layer at ``affine @ (rotate @ shear @ diag(scale) @ i + translate)``. A layer with
more than one stack axis is read at the position of the viewer's sliders: the axes that are not planes, rows or columns are
*fixed*, and a result gets them back with length one, at the same place. A layer that holds one value a patch has
``scale' = scale * stride`` and its first patch at the centre of that patch, through the full transform; rotation, shear,
affine, units and axis labels are those of the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from napari_dinov3._napari.compat import to_data
from napari_dinov3.errors import InputError
from napari_dinov3.geometry import region_window, transform_points
from napari_dinov3.image import Planes, as_planes
from napari_dinov3.wording import counted

_CHANNEL_LABELS = frozenset({"c", "ch", "channel", "channels"})
_TIME_LABELS = frozenset({"t", "time", "frame", "frames"})
_DEPTH_LABELS = frozenset({"z", "depth", "plane", "slice", "section"})


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where the planes that were read from a layer lie, so that results can be put there.

    Parameters
    ----------
    name : str
        Of the layer.
    layer_id : hashable
        napari's `unique_id` of the layer.
    axes : str
        ``"yx"``, ``"zyx"`` or ``"tyx"``, as in :class:`~napari_dinov3.image.Planes`.
    stack : int or None
        Layer axis along which the planes lie.
    fixed : tuple of (axis, index)
        Layer axes that were indexed.
    scale, translate, shear : arrays
    rotate, affine : matrices
        As napari has them, for the pyramid level that was read.
    units, axis_labels : tuples
        One an axis of the layer.
    window : (2,) slices, optional
        Rows and columns that were read of the level, where only a region was.
    """

    name: str
    layer_id: Any
    axes: str
    stack: int | None
    fixed: tuple[tuple[int, int], ...]
    scale: npt.NDArray[np.float64]
    translate: npt.NDArray[np.float64]
    rotate: npt.NDArray[np.float64] = field(repr=False)
    shear: npt.NDArray[np.float64] = field(repr=False)
    affine: npt.NDArray[np.float64] = field(repr=False)
    units: tuple[Any, ...]
    axis_labels: tuple[str, ...]
    window: tuple[slice, slice] | None = None

    @property
    def ndim(self) -> int:
        """Axes of the layer, colour not counted."""
        return len(self.scale)

    def arrange(self, planes: Any) -> Any:
        """Give a result the axes of the layer.

        Parameters
        ----------
        planes : (planes, rows, cols, ...) array
            A result of a task.

        Returns
        -------
        array : array
            Without the plane axis for a single image, and with an axis of length one for each fixed axis.
        """
        array = planes[0] if self.stack is None else planes
        for axis, _ in self.fixed:
            array = array[(slice(None),) * axis + (None,)]
        return array

    def pixel_transform(self) -> dict[str, Any]:
        """Give the keywords that place a layer with one value a pixel."""
        return self._transform((1.0, 1.0), (0.0, 0.0))

    def patch_transform(self, stride: float, first_centre: float) -> dict[str, Any]:
        """Give the keywords that place a layer with one value a patch.

        Parameters
        ----------
        stride, first_centre : float
            Pixels between patch centres, and the pixel coordinate of the first one.
        """
        return self._transform((stride, stride), (first_centre, first_centre))

    def _transform(self, step: tuple[float, float], first: tuple[float, float]) -> dict[str, Any]:
        factor, offset = np.ones(self.ndim), np.zeros(self.ndim)
        factor[-2:], offset[-2:] = step, first
        for axis, index in self.fixed:
            offset[axis] = index
        return {
            "scale": self.scale * factor,
            "translate": self.translate + _linear(self.scale, self.rotate, self.shear) @ offset,
            "rotate": self.rotate,
            "shear": self.shear,
            "affine": self.affine,
            "units": self.units,
            "axis_labels": self.axis_labels,
        }


class Source(NamedTuple):
    """A layer read as planes, and where they lie."""

    planes: Planes
    placement: Placement


def read_layer(
    layer: Any,
    *,
    point: Sequence[float] | None = None,
    level: int = 0,
    region: Sequence[float] | None = None,
    stack_axis: int | None = None,
) -> Source:
    """See an image or labels layer as planes, lazily.

    Parameters
    ----------
    layer : napari Image or Labels
        2D, a z or t stack, or more axes; grey or RGB(A); numpy, dask or zarr; multiscale or not.
    point : floats, optional
        World position at which axes beyond planes, rows and columns are read; index 0 by default.
    level : int
        Pyramid level of a multiscale layer, 0 the finest.
    region : (4,) numbers, optional
        Only this rectangle; see :func:`napari_dinov3.as_planes`.
    stack_axis : int, optional
        Axis along which the planes lie. By default an axis called z, else the last one before rows that is no channel axis.

    Returns
    -------
    source : Source
        Planes in the layer's own space, and their placement.

    Raises
    ------
    InputError
        If the layer is no image, or the level or axis does not exist.
    """
    data, zoom = _level(layer, level)
    ndim = int(layer.ndim)
    if ndim < 2:
        raise InputError(f"Layer {layer.name!r} has {ndim} axis", "an image with rows and columns", "Choose another layer")
    labels = tuple(str(label) for label in layer.axis_labels)
    stack = _stack_axis(labels, data.shape, ndim, layer.name, stack_axis)
    where = to_data(layer, point) if point is not None else (0.0,) * ndim
    others = (axis for axis in range(ndim - 2) if axis != stack)
    fixed = tuple((axis, int(np.clip(round(where[axis] / zoom[axis]), 0, data.shape[axis] - 1))) for axis in others)
    rows, cols = slice(0, data.shape[ndim - 2]), slice(0, data.shape[ndim - 1])
    if region is not None:
        finest = (round(rows.stop * zoom[-2]), round(cols.stop * zoom[-1]))
        rows, cols = region_window(region, (rows.stop, cols.stop), finest=finest, name=layer.name)
    placement = _place(layer, labels, stack, fixed, zoom, (rows.start, cols.start))
    if region is not None:
        placement = replace(placement, window=(rows, cols))
    chosen: dict[int, int | slice] = {**dict(fixed), ndim - 2: rows, ndim - 1: cols}
    picked = data[tuple(chosen.get(axis, slice(None)) for axis in range(ndim))]
    rgb = bool(getattr(layer, "rgb", False))
    matrix, units = _world_from_pixel(placement), [str(u) for u in placement.units]
    planes = as_planes(
        picked,
        axes=placement.axes + "s" * rgb,
        spacing=_column_lengths(matrix),
        units=("pixel" if stack is None else units[stack], units[-2], units[-1]),
        world_from_pixel=matrix,
        name=layer.name,
    )
    return Source(planes, placement)


def pixel_at(source: Source, world: Sequence[float]) -> tuple[float, float, float]:
    """Convert a position in the viewer's world into (plane, row, col) of the planes that were read, at their pyramid level."""
    placement = source.placement
    point = np.asarray(world, dtype=np.float64)
    point = np.concatenate([np.zeros(max(0, placement.ndim - len(point))), point])[-placement.ndim :]
    used = [*([] if placement.stack is None else [placement.stack]), placement.ndim - 2, placement.ndim - 1]
    at = np.zeros(3)
    at[3 - len(used) :] = point[used]
    plane, row, col = transform_points(np.asarray(np.linalg.inv(source.planes.world_from_pixel), np.float64), at)
    return float(plane), float(row), float(col)


def plane_at(source: Source, world: Sequence[float]) -> int:
    """Find the plane nearest to a world position (the visible one, for the position of the sliders)."""
    return int(np.clip(round(pixel_at(source, world)[0]), 0, len(source.planes) - 1))


def describe_layer(layer: Any) -> str:
    """Say in one line what a layer holds: ``120 planes of 512 x 512, uint8``."""
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    shape = tuple(data.shape)[: layer.ndim]
    size = f"{shape[-2]} x {shape[-1]}"
    if len(shape) > 2:
        size = f"{' x '.join(map(str, shape[:-2]))} planes of {size}"
    kind = "RGB " if getattr(layer, "rgb", False) else ""
    lazy = "" if isinstance(data, np.ndarray) else ", read lazily"
    return f"{size}, {kind}{np.dtype(data.dtype)}{lazy}"


def free_name(taken: Sequence[Any], name: str) -> str:
    """Find a layer name that is not in use, so that nothing is overwritten.

    Parameters
    ----------
    taken : layers
        The viewer's layers.
    name : str
        Wanted; ``"name [1]"`` and so on where it is taken.
    """
    names = {layer.name for layer in taken}
    if name not in names:
        return name
    return next(f"{name} [{n}]" for n in range(1, len(names) + 2) if f"{name} [{n}]" not in names)


def _level(layer: Any, level: int) -> tuple[Any, npt.NDArray[np.float64]]:
    """Pick a pyramid level; the second value is how many finest pixels one of its pixels spans on each axis."""
    multiscale = bool(getattr(layer, "multiscale", False))
    count = len(layer.data) if multiscale else 1
    if not 0 <= level < count:
        raise InputError(
            f"Level {level} of layer {layer.name!r}",
            f"a layer with {counted(count, 'level')} counts 0..{count - 1}",
            "Choose one of these levels",
        )
    if not multiscale:
        if not hasattr(layer.data, "dtype"):
            raise InputError(
                f"Layer {layer.name!r} is of type {type(layer).__name__}", "an Image or Labels layer", "Choose an image"
            )
        return layer.data, np.ones(layer.ndim)
    finest, data = layer.data[0], layer.data[level]
    return data, np.array([a / b for a, b in zip(finest.shape, data.shape, strict=True)][: layer.ndim])


def _stack_axis(labels: tuple[str, ...], shape: Sequence[int], ndim: int, name: str, wanted: int | None) -> int | None:
    leading = range(ndim - 2)
    if wanted is not None:
        if wanted not in leading:
            raise InputError(
                f"stack_axis={wanted} of layer {name!r}", f"one of {list(leading)}", "Choose an axis before the rows"
            )
        return wanted
    free = [axis for axis in leading if labels[axis].lower() not in _CHANNEL_LABELS]
    named = [axis for axis in free if labels[axis].lower() in _DEPTH_LABELS]
    several = [axis for axis in free if shape[axis] > 1]
    return next((choice[-1] for choice in (named, several, free) if choice), None)


def _place(
    layer: Any,
    labels: tuple[str, ...],
    stack: int | None,
    fixed: tuple[tuple[int, int], ...],
    zoom: npt.NDArray[np.float64],
    corner: tuple[int, int],
) -> Placement:
    scale, rotate, shear = np.asarray(layer.scale, float), np.asarray(layer.rotate, float), np.asarray(layer.shear, float)
    first = (zoom - 1) / 2
    first[-2:] += zoom[-2:] * corner
    translate = np.asarray(layer.translate, float) + _linear(scale, rotate, shear) @ first
    axes = "yx" if stack is None else "tyx" if labels[stack].lower() in _TIME_LABELS else "zyx"
    return Placement(
        name=layer.name,
        layer_id=layer.unique_id,
        axes=axes,
        stack=stack,
        fixed=fixed,
        scale=scale * zoom,
        translate=translate,
        rotate=rotate,
        shear=shear,
        affine=np.asarray(layer.affine.affine_matrix, float),
        units=tuple(layer.units),
        axis_labels=labels,
    )


def _linear(
    scale: npt.NDArray[np.float64], rotate: npt.NDArray[np.float64], shear: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Compose rotation, shear and scale the way napari does."""
    return _composed(*((part.tobytes(), part.shape) for part in (scale, rotate, shear)))


@lru_cache(maxsize=64)  # asked for a dozen times after every stroke
def _composed(*parts: tuple[bytes, tuple[int, ...]]) -> npt.NDArray[np.float64]:
    from napari.utils.transforms import CompositeAffine

    scale, rotate, shear = (np.frombuffer(numbers).reshape(shape) for numbers, shape in parts)
    matrix = np.array(CompositeAffine(scale=scale, rotate=rotate, shear=shear).linear_matrix, dtype=np.float64)
    matrix.setflags(write=False)
    return matrix


def corner_worlds(placement: Placement, corners: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Place (n, 3) corners of (plane, row, col) in the layer's world, all its axes."""
    used = [*([] if placement.stack is None else [placement.stack]), placement.ndim - 2, placement.ndim - 1]
    index = np.zeros((len(corners), placement.ndim))
    for axis, at in placement.fixed:
        index[:, axis] = at
    index[:, used] = corners[:, 3 - len(used) :]
    return transform_points(world_from_index(placement), index)


def world_from_index(placement: Placement) -> npt.NDArray[np.float64]:
    """(ndim + 1, ndim + 1): the layer's full transform."""
    full = np.eye(placement.ndim + 1)
    full[:-1, :-1] = _linear(placement.scale, placement.rotate, placement.shear)
    full[:-1, -1] = placement.translate
    return np.asarray(placement.affine @ full, np.float64)


def _world_from_pixel(placement: Placement) -> npt.NDArray[np.float64]:
    """(4, 4) on (plane, row, col, 1): the layer's full transform, restricted to the axes of the planes."""
    full = world_from_index(placement)
    origin = np.zeros(placement.ndim + 1)
    origin[-1] = 1
    for axis, index in placement.fixed:
        origin[axis] = index
    used = [*([] if placement.stack is None else [placement.stack]), placement.ndim - 2, placement.ndim - 1]
    keep = slice(4 - 1 - len(used), 3)
    matrix = np.eye(4)
    matrix[keep, keep] = full[np.ix_(used, used)]
    matrix[keep, 3] = (full @ origin)[used]
    return matrix


def _column_lengths(matrix: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    return float(lengths[0]), float(lengths[1]), float(lengths[2])
