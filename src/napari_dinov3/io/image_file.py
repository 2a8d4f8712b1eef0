"""What a file holds: lazy pixels with their axes, spacing, units, names and place in the world.

Conventions. `axes` has one letter an array axis out of ``t z c y x`` and ``s`` for a last RGB axis. `spacing` and `units` go
with the axes of `space` (t, z, y, x in the array's order); channels and colours have neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.geometry import Matrix, affine
from napari_dinov3.image import Planes, as_planes
from napari_dinov3.io.legend import Legend

Kind = Literal["image", "labels"]


@dataclass(frozen=True, slots=True, eq=False)
class ImageFile:
    """One image of a file or folder; nothing is read until it is asked for.

    Parameters
    ----------
    levels : tuple of array-like
        Pyramid, finest first; one entry where there is no pyramid. numpy or dask.
    axes : str
        One letter an array axis out of ``t z c y x s``.
    spacing : floats
        World units between neighbours, one number an axis of `space`.
    units : str, one an axis of `space`
        ``"pixel"`` where unknown.
    name, path
        For people, and where it came from.
    kind : {"image", "labels"}
        Whether the numbers are intensities or ids.
    channel_names : tuple of str
        One a channel where the file names them.
    contrast_limits : (2,) floats, optional
        Where the file states a display range.
    channel_limits : tuple of (2,) floats
        One display range a channel, where the file states them.
    placement : (n + 1, n + 1) float64, optional
        ``world_from_pixel`` on the axes of `space`, where it is more than the spacing.
    facts : mapping
        Format, compression and what else the file says; JSON-able.
    legend : mapping
        Of labels: the name and colour of each id, where they are known.
    """

    levels: tuple[Any, ...] = field(repr=False)
    axes: str
    spacing: tuple[float, ...]
    units: tuple[str, ...]
    name: str
    path: Path
    kind: Kind = "image"
    channel_names: tuple[str, ...] = ()
    contrast_limits: tuple[float, float] | None = None
    channel_limits: tuple[tuple[float, float], ...] = ()
    placement: Matrix | None = field(default=None, repr=False)
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    legend: Legend = field(default_factory=lambda: MappingProxyType({}), repr=False)

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.shape) or len(self.spacing) != len(self.space) or len(self.units) != len(self.space):
            raise InputError(
                f"{self.name!r}: axes {self.axes!r}, shape {self.shape}, spacing {self.spacing}, units {self.units}",
                "one axis letter an array axis, one spacing and unit an axis of t z y x",
                "Correct the reader",
            )

    @property
    def data(self) -> Any:
        """The finest level."""
        return self.levels[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the finest level."""
        return tuple(int(n) for n in self.levels[0].shape)

    @property
    def ndim(self) -> int:
        """Array axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels as stored."""
        dtype: np.dtype[Any] = np.dtype(self.levels[0].dtype)
        return dtype

    @property
    def space(self) -> str:
        """Axes that have a spacing: those of `axes` without channels and colours."""
        return "".join(a for a in self.axes if a not in "cs")

    @property
    def rgb(self) -> bool:
        """Whether each pixel is a colour."""
        return "s" in self.axes

    @property
    def lazy(self) -> bool:
        """Whether pixels are read only when asked for."""
        return not isinstance(self.levels[0], np.ndarray)

    @property
    def nbytes(self) -> int:
        """Bytes of the finest level once in memory."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize

    @property
    def world_from_pixel(self) -> Matrix:
        """(n + 1, n + 1) float64 on the axes of `space`."""
        return affine(self.spacing) if self.placement is None else self.placement

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        """Index the finest level; a lazy array stays lazy."""
        return self.data[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Read the finest level whole."""
        return np.asarray(self.data, dtype=dtype)

    def select(self, **index: int) -> ImageFile:
        """Take one position on some axes, for example ``image.select(t=3)`` or ``image.select(c=0)``.

        Parameters
        ----------
        **index : int
            Position by axis letter; negative counts from the end.

        Returns
        -------
        image : ImageFile
            Without these axes, still lazy.

        Raises
        ------
        InputError
            For an axis the image does not have, or a position outside it.
        """
        image = self
        for axis, at in index.items():
            image = _select(image, axis, at)
        return image

    def planes(self, *, channel: int | Sequence[int] | None = None, level: int = 0) -> Planes:
        """See the image as planes, which every task accepts.

        Parameters
        ----------
        channel : int or up to three ints, optional
            Which channel, where there are several; see :func:`napari_dinov3.as_planes`.
        level : int
            Pyramid level, 0 the finest; spacing and place follow it.
        """
        if not 0 <= level < len(self.levels):
            raise InputError(f"Level {level} of {self.name!r}", f"0..{len(self.levels) - 1}", "Choose one of these levels")
        matrix = self.world_from_pixel @ _pixel_from_level(self, level)
        order = [self.space.index(a) for a in self._plane_axes()]
        spacing, units = [float(np.linalg.norm(matrix[:-1, i])) for i in order], [self.units[i] for i in order]
        place = np.eye(4)
        rows = list(range(3 - len(order), 3))
        place[np.ix_(rows, rows)] = matrix[np.ix_(order, order)]
        place[rows, 3] = matrix[order, -1]
        if len(order) == 2:
            spacing, units = [1.0, *spacing], [units[-1], *units]
        return as_planes(
            self.levels[level],
            axes=self.axes,
            channel=channel,
            spacing=spacing,
            units=units,
            world_from_pixel=place,
            name=self.name,
        )

    def _plane_axes(self) -> str:
        """Choose the axes that planes keep: stack axes of length 1 give way to another one."""
        long = [a for a in self.space if a in "tz" and self.shape[self.axes.index(a)] > 1]
        if len(long) > 1:
            raise InputError(
                f"{self.name!r} has axes {self.axes.upper()} of shape {self.shape}",
                "two image axes and at most one stack axis",
                f"Choose a position first, for example image.select({long[0]}=0)",
            )
        single = [a for a in self.space if a in "tz" and a not in long]
        return "".join([*(long or single[-1:]), *(a for a in self.space if a in "yx")])


def _select(image: ImageFile, axis: str, at: int) -> ImageFile:
    if axis not in image.axes or axis in "yxs":
        allowed = [a for a in image.axes if a in "tzc"]
        raise InputError(
            f"{image.name!r} has axes {image.axes.upper()}, not {axis.upper()!r} to choose from",
            " or ".join(a.upper() for a in allowed) or "no choice: it is a single plane",
            "Leave this choice out",
        )
    where = image.axes.index(axis)
    count = image.shape[where]
    if not -count <= at < count:
        raise InputError(f"{axis.upper()}={at} of {image.name!r}", f"0..{count - 1}", "Choose a position inside the image")
    levels = tuple(level[(slice(None),) * where + (at,)] for level in image.levels)
    rest = image.axes.replace(axis, "")
    if axis == "c":
        names = (image.channel_names[at],) if len(image.channel_names) == count else ()
        limits = image.channel_limits[at] if len(image.channel_limits) == count else image.contrast_limits if count == 1 else None
        return replace(image, levels=levels, axes=rest, channel_names=names, contrast_limits=limits, channel_limits=())
    gone = image.space.index(axis)
    kept = [i for i in range(len(image.space)) if i != gone]
    placement = None
    if image.placement is not None:
        rows = [*kept, len(image.space)]
        placement = image.placement[np.ix_(rows, rows)].copy()
        placement[:-1, -1] += image.placement[kept, gone] * (at % count)
    return replace(
        image,
        levels=levels,
        axes=rest,
        spacing=tuple(image.spacing[i] for i in kept),
        units=tuple(image.units[i] for i in kept),
        placement=placement,
    )


def _pixel_from_level(image: ImageFile, level: int) -> Matrix:
    """Map a level's pixel indices to those of the finest: levels cover the same field, so centres shift by half a step."""
    at = [image.axes.index(a) for a in image.space]
    scale = [image.shape[i] / int(image.levels[level].shape[i]) for i in at]
    return affine(scale, [(s - 1) / 2 for s in scale])
