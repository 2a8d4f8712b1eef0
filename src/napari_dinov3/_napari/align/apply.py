"""Carry other layers along with a stack or with the moving image of a pair: all channels and levels, labels, points, shapes.

Every pixel is interpolated once, from the raw data; layers in memory are moved plane by plane, all others when they are looked
at. A layer may be finer or coarser than what was aligned, by a whole factor; it must cover the same place in the world.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3._napari.align.pair import AlignedPair, one_plane, world_from_data
from napari_dinov3._napari.align.stack import Aligned
from napari_dinov3._napari.companion import read_companion
from napari_dinov3._napari.compat import unwrap
from napari_dinov3._napari.layers import Source, corner_worlds, read_layer, world_from_index
from napari_dinov3.align.outlines import CLOSED, outline
from napari_dinov3.align.pair_alignment import PairAlignment
from napari_dinov3.align.stack_alignment import StackAlignment
from napari_dinov3.errors import InputError
from napari_dinov3.geometry import transform_points
from napari_dinov3.progress import Job, Progress

KINDS = ("Image", "Labels", "Points", "Shapes")


@dataclass(frozen=True, slots=True, eq=False)
class Moved:
    """A layer that was carried along, not yet in the viewer.

    Parameters
    ----------
    kind : str
        ``"image"``, ``"labels"``, ``"points"`` or ``"shapes"``.
    data : object
        As ``viewer.add_*`` takes it.
    place : dict
        Keywords that put it where it belongs.
    look : dict
        Further keywords, such as colours.
    """

    kind: str
    data: Any
    place: dict[str, Any]
    look: dict[str, Any]


def kind_of(layer: Any) -> str:
    """Name the type of a layer in small letters."""
    return type(unwrap(layer)).__name__.lower()


def check_fits(layer: Any, kept: Aligned | AlignedPair) -> None:
    """Refuse a layer that cannot be carried along.

    Raises
    ------
    InputError
        If it has other planes, covers another place, or its points lie on no plane.
    """
    source = kept.source if isinstance(kept, Aligned) else kept.moving
    if kind_of(layer) in ("points", "shapes"):
        _used_axes(layer, source)
    else:
        _source_of(layer, source)


def move_steps(layer: Any, kept: Aligned | AlignedPair) -> Job[Moved]:
    """Carry a layer along; see :func:`check_fits` for what is refused.

    Parameters
    ----------
    layer : napari Image, Labels, Points or Shapes
    kept : Aligned or AlignedPair

    Returns
    -------
    moved : Moved
    """
    yield Progress(0, 1, f"Moving {layer.name}")
    kind = kind_of(layer)
    if kind in ("points", "shapes"):
        return _moved_vectors(layer, kept, kind)
    look = look_of(layer)
    if isinstance(kept, AlignedPair):
        source = _source_of(layer, kept.moving)
        pair = fitted_pair(kept.pair, (source.planes.shape[1], source.planes.shape[2]))
        data = pair.apply(source.planes.plane(0), order=0 if kind == "labels" else None)
        placement = kept.fixed.placement
        return Moved(kind, placement.arrange(data[None]), placement.pixel_transform(), look)
    source = _source_of(layer, kept.source)
    along = source.placement.stack
    if kept.source.placement.window is not None or along is None:
        lazy = _whole(source.planes.data)
        data = yield from _held(kept.alignment.apply(lazy, order=0 if kind == "labels" else None), source.planes.lazy)
        return Moved(kind, source.placement.arrange(data), source.placement.pixel_transform(), look)
    levels = layer.data if layer.multiscale else [layer.data]
    out = []
    for level in levels:
        lazy = _each(kept.alignment, _whole(level), along, int(layer.ndim), order=0 if kind == "labels" else None)
        out.append((yield from _held(lazy, not isinstance(level, np.ndarray))))
    place = _own_place(layer)
    return Moved(kind, out if layer.multiscale else out[0], place, look | ({"multiscale": True} if layer.multiscale else {}))


def move_lines(layer: Any, kept: Aligned | AlignedPair) -> list[str]:
    """Write the move as Python, from ``alignment`` or ``pair`` on; the result is called ``moved``."""
    kind, ours = kind_of(layer), "alignment" if isinstance(kept, Aligned) else "pair"
    name = f"viewer.layers[{layer.name!r}]"
    if kind in ("points", "shapes"):
        return _vector_lines(layer, kept, kind, name)
    order = ", order=0" if kind == "labels" else ""
    if isinstance(kept, AlignedPair):
        source = _source_of(layer, kept.moving)
        index = ", ".join(str(dict(source.placement.fixed).get(axis, ":")) for axis in range(source.placement.ndim))
        level = "[0]" if layer.multiscale else ""
        colours = "[..., :3]" if getattr(layer, "rgb", False) else ""
        return [f"moved = {ours}.apply(np.asarray({name}.data{level}[{index}]){colours}{order})"]
    source = _source_of(layer, kept.source)
    if kept.source.placement.window is not None or source.placement.stack is None:
        words = ", ".join(_index_words(source))
        return [f"moved = alignment.apply({name}.data[{words}]{order})"]
    if layer.ndim == 3 and not layer.multiscale:
        return [f"moved = alignment.apply({name}.data{order})"]
    return _each_lines(name, source.placement.stack, int(layer.ndim), order)


def look_of(layer: Any) -> dict[str, Any]:
    """Read the keywords that make a copy look like its original."""
    kind = kind_of(layer)
    if kind == "image":
        if layer.rgb:
            return {"rgb": True}
        return {"colormap": layer.colormap.name, "contrast_limits": tuple(layer.contrast_limits), "blending": layer.blending}
    if kind == "points":
        return {"size": np.array(layer.size), "face_color": np.array(layer.face_color), "symbol": np.array(layer.symbol)}
    if kind == "shapes":
        return {"edge_color": np.array(layer.edge_color), "face_color": np.array(layer.face_color)}
    return {}


def fitted_pair(pair: PairAlignment, shape: tuple[int, int]) -> PairAlignment:
    """Carry a pair to another pyramid level of its moving image."""
    if shape == pair.moving_shape:
        return pair
    step = np.divide(shape, pair.moving_shape)
    up = np.diag([*step, 1.0])
    up[:2, 2] = (step - 1) / 2
    bend = None if pair.field is None else replace(pair.field, coefficients=pair.field.coefficients * step[:, None, None])
    return replace(pair, matrix=up @ pair.matrix, field=bend, moving_shape=shape)


def _source_of(layer: Any, image: Source) -> Source:
    """Read a layer as what was aligned, at its own resolution, refusing one that covers another place."""
    point = corner_worlds(image.placement, np.zeros((1, 3)))[0].tolist()
    if image.placement.stack is None:
        source = one_plane(layer, point)
    elif image.placement.window is not None:
        return read_companion(layer, image)
    else:
        missing = image.placement.ndim - int(layer.ndim)
        at = image.placement.stack - missing
        source = read_layer(layer, point=point, stack_axis=at if 0 <= at < int(layer.ndim) - 2 else None)
    count, rows, cols = source.planes.shape
    planes, *size = image.planes.shape
    ratio = rows / size[0]
    step = max(1, round(ratio)) if ratio >= 1 else 1 / max(1, round(1 / ratio))
    if count != planes or any(abs(n - step * m) >= max(step, 1) for n, m in zip((rows, cols), size, strict=True)):
        raise InputError(
            f"Layer {layer.name!r} has shape {source.planes.shape}",
            f"{image.planes.shape}, as {image.placement.name!r}, or a whole multiple of its rows and columns",
            "Choose another layer",
        )
    off = _edges_off(source, image)
    if off > max(0.5, 1 / step - 0.5):  # a reduced level covers up to one of its pixels more
        raise InputError(
            f"Layer {layer.name!r} lies up to {off:.4g} pixels away from {image.placement.name!r}",
            "a layer in the same place: scale, translate, rotate and affine of the image",
            "Copy the image's transform to it, or choose another layer",
        )
    return source


def _edges_off(source: Source, image: Source) -> float:
    """How far the outer edges of two layers lie apart at most, in pixels of the image."""
    ends = [
        np.array([(z, r, c) for z in (0, p - 1) for r in (-0.5, n - 0.5) for c in (-0.5, m - 0.5)])
        for p, n, m in (source.planes.shape, image.planes.shape)
    ]
    shared = min(source.placement.ndim, image.placement.ndim)
    gap = corner_worlds(source.placement, ends[0])[:, -shared:] - corner_worlds(image.placement, ends[1])[:, -shared:]
    linear = world_from_index(image.placement)[-1 - shared : -1, -1 - shared : -1]
    off = np.abs(gap @ np.linalg.inv(linear).T)
    return float(off.max() if source.placement.stack is not None else off[:, -2:].max())


def _whole(data: Any) -> Any:
    import dask.array

    if isinstance(data, dask.array.Array):
        return data
    if isinstance(data, np.ndarray):
        return dask.array.from_array(data, chunks=(*(1,) * (data.ndim - 2), *data.shape[-2:]))
    return dask.array.from_array(data, chunks="auto")


def _each(alignment: StackAlignment, data: Any, along: int, ndim: int, *, order: int | None) -> Any:
    """Move every volume of a layer with further axes, such as channels."""
    import dask.array

    def volumes(part: Any, left: int) -> Any:
        if not left:
            return alignment.apply(part, order=order)
        return dask.array.stack([volumes(part[i], left - 1) for i in range(part.shape[0])])

    at = ndim - 3
    return dask.array.moveaxis(volumes(dask.array.moveaxis(data, along, at), at), at, along)


def _held(lazy: Any, keep: bool) -> Job[Any]:
    """Compute a lazy result plane by plane, unless it is to stay lazy."""
    if keep:
        return lazy
    out = np.empty(lazy.shape, lazy.dtype)
    blocks = list(_blocks(lazy))
    for done, block in enumerate(blocks):
        yield Progress(done, len(blocks), f"moving plane {done + 1} of {len(blocks)}")
        out[block] = lazy[block].compute(scheduler="synchronous")
    return out


def _blocks(lazy: Any) -> Iterator[tuple[slice, ...]]:
    from dask.array.core import slices_from_chunks

    yield from slices_from_chunks(lazy.chunks)


def _index_words(source: Source) -> list[str]:
    index = dict(source.placement.fixed)
    words = [str(index[axis]) if axis in index else ":" for axis in range(source.placement.ndim)]
    if source.placement.window is not None:
        words[-2:] = [f"{part.start}:{part.stop}" for part in source.placement.window]
    return words


def _each_lines(name: str, along: int, ndim: int, order: str) -> list[str]:
    """Write the move of a layer with levels or further axes; numpy's functions keep dask lazy."""
    at = ndim - 3
    level = (
        "carried(level, 0)"
        if along == at == 0
        else f"np.moveaxis(carried(np.moveaxis(level, {along}, {at}), {at}), {at}, {along})"
    )
    return [
        f"levels = {name}.data if {name}.multiscale else [{name}.data]",
        "def carried(part, extra):",
        "    if extra:",
        "        return np.stack([carried(part[i], extra - 1) for i in range(part.shape[0])])",
        f"    return alignment.apply(part{order})",
        "",
        f"moved = [{level} for level in levels]",
        f"moved = moved if {name}.multiscale else moved[0]",
    ]


def _used_axes(layer: Any, source: Source) -> list[int]:
    """Axes of a layer of points that are plane, row and column."""
    placement = source.placement
    missing = placement.ndim - int(layer.ndim)
    used = [*([] if placement.stack is None else [placement.stack]), placement.ndim - 2, placement.ndim - 1]
    if any(axis < missing for axis in used):
        raise InputError(
            f"Layer {layer.name!r} has {layer.ndim} axes, so its points lie on no plane",
            f"{placement.ndim} axes, as layer {placement.name!r}",
            "Draw them in a layer that is made while the stack is shown",
        )
    return [axis - missing for axis in used]


def _pixel_matrix(layer: Any, source: Source) -> npt.NDArray[np.float64]:
    """(ndim + 1, ndim + 1): coordinates of a layer to indices of the image, on the axes that both have."""
    ndim = int(layer.ndim)
    ours = world_from_index(source.placement)
    extra = ndim - source.placement.ndim
    if extra > 0:
        wide = np.eye(ndim + 1)
        wide[extra:, extra:] = ours
        ours = wide
    ours = ours[-ndim - 1 :, -ndim - 1 :]
    return np.asarray(np.linalg.inv(ours) @ world_from_data(layer), np.float64)


def _moved_vectors(layer: Any, kept: Aligned | AlignedPair, kind: str) -> Moved:
    source = kept.source if isinstance(kept, Aligned) else kept.moving
    used, there = _used_axes(layer, source), _pixel_matrix(layer, source)
    back = np.asarray(np.linalg.inv(there), np.float64)

    def carried(points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        at = transform_points(there, np.reshape(points, (-1, int(layer.ndim))))
        if isinstance(kept, AlignedPair):
            out = np.zeros((len(at), kept.fixed.placement.ndim))
            out[:, -2:] = kept.pair.map_back(at[:, used])
            return out
        at[:, used] = kept.alignment.map_points(at[:, used])
        return transform_points(back, at)

    place = kept.fixed.placement.pixel_transform() if isinstance(kept, AlignedPair) else _own_place(layer)
    look = look_of(layer)
    if kind == "points":
        return Moved(kind, carried(layer.data), place, look)
    shapes = [carried(outline(shape, how)) for shape, how in zip(layer.data, layer.shape_type, strict=True)]
    types = ["polygon" if how in CLOSED else "path" for how in layer.shape_type]
    return Moved(kind, shapes, place, look | {"shape_type": types})


def _own_place(layer: Any) -> dict[str, Any]:
    names = ("scale", "translate", "rotate", "shear", "units", "axis_labels")
    return {name: getattr(layer, name) for name in names} | {"affine": layer.affine.affine_matrix}


def _vector_lines(layer: Any, kept: Aligned | AlignedPair, kind: str, name: str) -> list[str]:
    source = kept.source if isinstance(kept, Aligned) else kept.moving
    used, there = _used_axes(layer, source), _pixel_matrix(layer, source)
    lines = [
        "from napari_dinov3.align.outlines import CLOSED, outline",
        "from napari_dinov3.geometry import transform_points",
        "",
        f"pixel_from_data = np.array({there.tolist()})",
        "def carried(points):",
        "    at = transform_points(pixel_from_data, points)",
    ]
    if isinstance(kept, AlignedPair):
        ndim = kept.fixed.placement.ndim
        lines += [f"    return np.pad(pair.map_back(at[:, {used}]), ((0, 0), ({ndim - 2}, 0)))", ""]
    else:
        lines += [
            f"    at[:, {used}] = alignment.map_points(at[:, {used}])",
            "    return transform_points(np.linalg.inv(pixel_from_data), at)",
            "",
        ]
    if kind == "points":
        return [*lines, f"moved = carried({name}.data)"]
    return [
        *lines,
        f"shapes = {name}",
        "moved = [carried(outline(shape, how)) for shape, how in zip(shapes.data, shapes.shape_type)]",
        "types = ['polygon' if how in CLOSED else 'path' for how in shapes.shape_type]",
    ]
