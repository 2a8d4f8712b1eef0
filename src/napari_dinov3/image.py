"""An image as a row of planes, whatever it was before.

:func:`as_planes` accepts what users have (numpy, dask, zarr or any array-like; 2D, a z or t stack, RGB or RGBA, channels,
8/16-bit, float, with NaN) and returns :class:`Planes`: a lazy ``(planes, rows, cols[, 3])`` array with its spacing, units and
place in the world. Nothing is read until a plane is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.geometry import Matrix, affine, region_window

STACK_AXES = "zt"
_RGB_MIN_WIDTH = 5  # (3, 3, 3) is a stack of three 3x3 planes, not a colour image


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """Planes of one image, read one at a time.

    Parameters
    ----------
    data : array-like
        ``(planes, rows, cols)`` grey or ``(planes, rows, cols, 3)`` RGB; numpy or dask.
    axes : str
        Axis names of the source's own space without colour: ``"yx"``, ``"zyx"`` or ``"tyx"``.
    spacing : (3,) floats
        World units between neighbours along plane, row, col.
    units : (3,) str
        Unit of each axis (``"pixel"`` where unknown).
    world_from_pixel : (4, 4) float64
        Acts on ``(plane, row, col, 1)``.
    name : str
        For messages and provenance.
    """

    data: Any
    axes: str
    spacing: tuple[float, float, float]
    units: tuple[str, str, str]
    world_from_pixel: Matrix = field(repr=False)
    name: str = "image"

    def __len__(self) -> int:
        return int(self.data.shape[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, rows and columns."""
        planes, rows, cols = self.data.shape[:3]
        return int(planes), int(rows), int(cols)

    @property
    def rgb(self) -> bool:
        """Whether each pixel is a colour."""
        return bool(self.data.ndim == 4)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return 3 if self.rgb else 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the pixels as stored."""
        dtype: np.dtype[Any] = np.dtype(self.data.dtype)
        return dtype

    @property
    def lazy(self) -> bool:
        """Whether planes are read only when asked for."""
        return not isinstance(self.data, np.ndarray)

    @property
    def is_2d(self) -> bool:
        """Whether the source was a single image rather than a stack."""
        return self.axes == "yx"

    def plane(self, index: int) -> npt.NDArray[Any]:
        """Read one plane.

        Returns
        -------
        plane : (rows, cols) or (rows, cols, 3)
            In the stored data type.
        """
        return np.asarray(self.data[index])

    def cropped(self, region: Sequence[float], *, finest: tuple[int, int] | None = None) -> Planes:
        """Keep a rectangle of every plane, at its place in the world; lazy data stay lazy.

        Parameters
        ----------
        region : (4,) numbers
            First row, first column, end row and end column (not included), in pixels of the finest level.
        finest : (2,) ints, optional
            Rows and columns of the finest level, where these planes are a coarser one; every pixel that the rectangle touches
            is kept.

        Raises
        ------
        InputError
            If the rectangle is not four numbers in order, or holds no pixel of the image.
        """
        rows, cols = region_window(region, self.shape[1:], finest=finest, name=self.name)
        shift = affine((1, 1, 1), (0, rows.start, cols.start))
        return replace(self, data=self.data[:, rows, cols], world_from_pixel=self.world_from_pixel @ shift)


def as_planes(
    image: Any,
    *,
    axes: str | None = None,
    rgb: bool | None = None,
    channel: int | Sequence[int] | None = None,
    spacing: float | Sequence[float] | None = None,
    units: str | Sequence[str] | None = None,
    world_from_pixel: npt.ArrayLike | None = None,
    level: int = 0,
    region: Sequence[float] | None = None,
    name: str = "image",
) -> Planes:
    """See any supported image as planes, without reading it.

    Parameters
    ----------
    image : array-like, Planes or opened file
        2D ``(y, x)``, a stack ``(z or t, y, x)``, each optionally with a last RGB(A) axis or a channel axis. A list of arrays of
        equal shape is a stack of planes, of falling shapes (or napari multiscale data) a pyramid, finest first. A
        :class:`Planes` comes back as it is.
    axes : str, optional
        One letter an axis out of ``z t c y x`` plus ``s`` for a trailing RGB(A) axis. Guessed by default: a last axis of
        3 or 4 is colour, a leading one is ``z``.
    rgb : bool, optional
        Whether the last axis is colour; overrides the guess.
    channel : int or up to three ints, optional
        Which channel of a ``c`` axis to use; two or three become red, green, blue.
    spacing : float or (2,) or (3,) floats, optional
        World units between neighbouring pixels (row, col) or (plane, row, col); 1 by default.
    units : str or (2,) or (3,) str, optional
        Unit of the spacing, such as ``"micrometer"``; ``"pixel"`` by default.
    world_from_pixel : (4, 4) array-like, optional
        Full affine; takes the place of the one `spacing` would give.
    level : int
        Pyramid level to use, 0 the finest.
    region : (4,) numbers, optional
        Only this rectangle: first row, first column, end row and end column (not included), in pixels of the finest level
        whatever `level` is. Nothing outside is read, and results lie where the rectangle lies.
    name : str
        For messages and provenance.

    Returns
    -------
    planes : Planes
        Lazy view. The alpha channel of RGBA is dropped.

    Raises
    ------
    InputError
        If the image has no two image axes, more than one stack axis, is empty, or is not numeric.
    """
    if isinstance(image, Planes):
        return image if region is None else image.cropped(region)
    if isinstance(image, HasPlanes):
        _refuse_given(image, axes=axes, rgb=rgb, spacing=spacing, units=units, world_from_pixel=world_from_pixel)
        planes = image.planes(channel=channel, level=level)
        if region is None:
            return planes
        return planes.cropped(region, finest=image.planes(channel=channel, level=0).shape[1:])
    if image is None or isinstance(image, str | PathLike):
        raise InputError(f"The image is {image!r}", "an array, or an opened file", "Open it first: nd.read(path)")
    array = _as_array(image, level, name)
    axes = resolve_axes(array.shape, axes, rgb, name)
    finest = _finest(image, array, axes)
    array, axes = _pick_channel(array, axes, channel, name)
    array, axes = _drop_single_axes(array, axes)
    array, axes = _in_order(array, axes, name)
    steps, per_axis, matrix = _place(spacing, units, world_from_pixel)
    planes = Planes(array, axes, steps, per_axis, matrix, name)
    return planes if region is None else planes.cropped(region, finest=finest)


def _in_order(array: Any, axes: str, name: str) -> tuple[Any, str]:
    """Bring the axes into the order (plane, row, col[, colour]); alpha goes. The axes that are left are named too."""
    stack = [a for a in axes if a in STACK_AXES]
    if len(stack) > 1:
        raise InputError(
            f"{name!r} has {len(axes)} axes ({', '.join(axes.upper())})",
            "a backbone needs two image axes and at most one stack axis",
            f"Index one of {' or '.join(a.upper() for a in stack)} first, for example image[0]",
        )
    order = [*stack, "y", "x", *(["s"] if "s" in axes else [])]
    if [*axes] != order:
        array = array.transpose([axes.index(a) for a in order])
    if not stack:
        array = array[None]
    return (array[..., :3] if "s" in axes else array), "".join([*stack, "y", "x"])


def _place(spacing: Any, units: Any, world_from_pixel: Any) -> tuple[tuple[float, float, float], tuple[str, str, str], Matrix]:
    """Check spacing, units and affine, and fill in what was left out."""
    spacing3 = _per_axis(spacing, 1.0, "spacing")
    if not all(isinstance(step, int | float | np.number) and 0 < step < np.inf for step in spacing3):
        raise InputError(f"spacing={spacing!r}", "numbers above 0", "Give the pixel size of each axis")
    spacing3 = (float(spacing3[0]), float(spacing3[1]), float(spacing3[2]))
    units3 = _per_axis(units, "pixel", "units")
    if not all(isinstance(unit, str) and unit for unit in units3):
        raise InputError(f"units={units!r}", "names of units", "Give for example units='micrometer'")
    matrix = affine(spacing3) if world_from_pixel is None else np.asarray(world_from_pixel, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise InputError(
            f"world_from_pixel has shape {matrix.shape}",
            "(4, 4) acts on (plane, row, col, 1)",
            "Give a homogeneous 3D matrix, with an identity row and column for a single image",
        )
    return spacing3, units3, matrix


@runtime_checkable
class HasPlanes(Protocol):
    """An image that knows its own axes and place, such as a file that has been opened."""

    def planes(self, *, channel: int | Sequence[int] | None = None, level: int = 0) -> Planes:
        """Give the planes of one channel (or of up to three as colours) at one pyramid level."""


def _refuse_given(image: Any, **options: Any) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise InputError(
            f"{', '.join(given)} given for {getattr(image, 'name', 'an image')!r}, which knows its own",
            "these facts given where the file is opened",
            f"Use for example napari_dinov3.read(path, {given[0]}=...)",
        )


def _as_array(image: Any, level: int, name: str) -> Any:
    listed = not hasattr(image, "dtype") and isinstance(image, Sequence) and len(image) and hasattr(image[0], "dtype")
    if listed and len(image) > 1 and len({tuple(one.shape) for one in image}) == 1:
        image, listed = np.stack([np.asarray(one) for one in image]), False
    if listed:
        if not 0 <= level < len(image):
            raise InputError(
                f"Level {level} of {name!r}",
                f"a pyramid of {len(image)} levels counts 0..{len(image) - 1}",
                "Choose one of these levels",
            )
        image = image[level]
    elif level != 0:
        raise InputError(f"Level {level} of {name!r}", "a pyramid (a list of arrays); this is a single array", "Leave level out")
    if not hasattr(image, "dtype") or not hasattr(image, "shape"):
        image = np.asarray(image)
    if not hasattr(image, "transpose"):
        import dask.array

        chunks = (1, *image.shape[1:]) if len(image.shape) > 2 else image.shape
        meta = np.empty((0,) * len(image.shape), image.dtype)
        image = dask.array.from_array(image, chunks=chunks, meta=meta)
    dtype = np.dtype(image.dtype)
    if dtype.kind not in "buif":
        raise InputError(
            f"{name!r} has pixels of type {dtype}",
            "numbers are needed: bool, integer or float",
            "Convert the image first, for example numpy.abs() of complex data",
        )
    if 0 in image.shape:
        raise InputError(
            f"{name!r} has shape {tuple(image.shape)}: no pixels",
            "at least one pixel on every axis",
            "Check how the image was cropped or read",
        )
    return image


def _finest(image: Any, array: Any, axes: str) -> tuple[int, int]:
    """Rows and columns of the finest level, for an array that was chosen out of `image`."""
    shape = array.shape if hasattr(image, "dtype") else getattr(image[0], "shape", ())
    if len(shape) != len(axes):  # a list of planes, not of levels
        shape = array.shape
    return int(shape[axes.index("y")]), int(shape[axes.index("x")])


def resolve_axes(shape: tuple[int, ...], axes: str | None, rgb: bool | None, name: str) -> str:
    """Guess the axis letters of an array, or check those given; see :func:`as_planes`."""
    ndim = len(shape)
    if axes is None:
        if rgb is None:
            rgb = ndim >= 3 and shape[-1] in (3, 4) and shape[-2] >= _RGB_MIN_WIDTH
        spatial = ndim - bool(rgb)
        if not 2 <= spatial <= 4:
            raise InputError(
                f"{name!r} has {ndim} axes, shape {tuple(shape)}",
                "an image has two axes, a stack three, and colour comes last",
                "Index the other axes first, or name the axes with axes='...' (out of z t c y x s)",
            )
        axes = {2: "yx", 3: "zyx", 4: "tzyx"}[spatial] + ("s" if rgb else "")
    axes = axes.lower()
    if len(axes) != ndim or len(set(axes)) != ndim or not {"y", "x"} <= set(axes) <= set("ztcyxs"):
        raise InputError(
            f"axes={axes!r} for {name!r} of shape {tuple(shape)}",
            f"{ndim} different letters out of z t c y x s, with y and x among them",
            "Name every axis once, for example axes='zyx'",
        )
    if "s" in axes and shape[axes.index("s")] not in (3, 4):
        raise InputError(
            f"{name!r} has {shape[axes.index('s')]} colours",
            "RGB has 3 and RGBA 4",
            "Call the axis c and choose a channel, or pass rgb=False",
        )
    return axes


def _pick_channel(array: Any, axes: str, channel: int | Sequence[int] | None, name: str) -> tuple[Any, str]:
    if "c" not in axes:
        if channel is not None:
            raise InputError(
                f"channel={channel} for {name!r} with axes {axes.upper()}",
                "a channel axis C",
                "Leave channel out, or name the axes with axes='czyx' or the like",
            )
        return array, axes
    at, count = axes.index("c"), array.shape[axes.index("c")]
    if channel is None:
        if count > 1:
            raise InputError(
                f"{name!r} has {count} channels (axes {axes.upper()})",
                "one channel, or up to three as colours",
                f"Choose channel=0..{count - 1}, or for example channel=(0, 1)",
            )
        channel = 0
    chosen = (channel,) if isinstance(channel, int | np.integer) else tuple(channel)
    if not 1 <= len(chosen) <= 3 or any(not 0 <= int(c) < count for c in chosen):
        raise InputError(f"channel={channel} for {name!r}", f"one to three numbers in 0..{count - 1}", "Choose other channels")
    rest = axes.replace("c", "")
    picked = [array[(slice(None),) * at + (int(c),)] for c in chosen]
    if len(picked) == 1:
        return picked[0], rest
    if "s" in axes:
        raise InputError(
            f"{name!r} has both a colour and a channel axis ({axes.upper()})", "one of the two", "Choose a single channel"
        )
    picked += [picked[0] * 0] * (3 - len(picked))
    if isinstance(array, np.ndarray):
        return np.stack(picked, axis=-1), rest + "s"
    import dask.array

    return dask.array.stack(picked, axis=-1), rest + "s"


def _drop_single_axes(array: Any, axes: str) -> tuple[Any, str]:
    """Drop the length-1 stack axes that stand in the way of a single stack axis."""
    while sum(a in STACK_AXES for a in axes) > 1:
        single = [i for i, a in enumerate(axes) if a in STACK_AXES and array.shape[i] == 1]
        if not single:
            break
        array = array[(slice(None),) * single[0] + (0,)]
        axes = axes[: single[0]] + axes[single[0] + 1 :]
    return array, axes


def _per_axis(value: Any, default: Any, what: str) -> tuple[Any, Any, Any]:
    if value is None:
        return default, default, default
    if isinstance(value, str) or np.isscalar(value):
        value = (value, value, value)
    values = tuple(value)
    if len(values) == 2:
        return default, values[0], values[1]
    if len(values) != 3:
        raise InputError(f"{what}={value}", "two numbers (row, col) or three (plane, row, col)", f"Give {what} for each axis")
    return values[0], values[1], values[2]
