"""Results of an alignment as layers of our own: the aligned image, layers carried along, a checkerboard, a grid; and blinking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from napari_dinov3._napari import results, script
from napari_dinov3._napari.align.apply import Moved, kind_of, look_of, move_lines
from napari_dinov3._napari.align.pair import AlignedPair
from napari_dinov3._napari.align.stack import Aligned, place_of
from napari_dinov3._napari.compat import unwrap
from napari_dinov3._napari.layers import Source, corner_worlds, free_name
from napari_dinov3._napari.provenance import provenance
from napari_dinov3.recipe import ApplyConfig

PANEL = "AlignPanel"


def frame_of(kept: Aligned | AlignedPair) -> Source:
    """Give the image in whose place results lie."""
    return kept.source if isinstance(kept, Aligned) else kept.fixed


def moving_of(kept: Aligned | AlignedPair) -> Source:
    """Give the image that was moved."""
    return kept.source if isinstance(kept, Aligned) else kept.moving


def with_present_names(kept: Aligned | AlignedPair, viewer: Any) -> Aligned | AlignedPair:
    """Follow layers that were renamed, so that what is said and written names them as they are called now."""
    names = {layer.unique_id: layer.name for layer in viewer.layers}
    fields = ("source",) if isinstance(kept, Aligned) else ("fixed", "moving")
    changes: dict[str, Any] = {}
    lines = kept.lines
    for field in fields:
        source: Source = getattr(kept, field)
        before, now = source.placement.name, names.get(source.placement.layer_id, source.placement.name)
        if now != before:
            changes[field] = Source(source.planes, replace(source.placement, name=now))
            lines = tuple(line.replace(f"viewer.layers[{before!r}]", f"viewer.layers[{now!r}]") for line in lines)
    return replace(kept, **changes, lines=lines) if changes else kept


def facts_of(kept: Aligned | AlignedPair, code: str) -> dict[str, Any]:
    """Write how a result was made."""
    source = moving_of(kept).placement.name
    if isinstance(kept, AlignedPair):
        pair = kept.pair
        facts: dict[str, Any] = {"fixed": kept.fixed.placement.name, "matrix": pair.matrix, "quality": _finite(pair.quality)}
    else:
        path = kept.alignment
        facts = {"transforms": path.transforms, "quality": path.quality, "bad": path.bad}
    return provenance("align", source=source, settings=kept.config.options(), script=code, **facts)


def result_lines(kept: Aligned | AlignedPair, like: Any) -> list[str]:
    """Write how the image itself is moved and added, from ``alignment`` or ``pair`` on."""
    frame, name = frame_of(kept), f"{moving_of(kept).placement.name} aligned"
    transform = frame.placement.pixel_transform()
    look = {} if like is None else {key: value for key, value in look_of(like).items() if key != "blending"}
    if isinstance(kept, AlignedPair):
        colours = ", axes='yxs'" if kept.moving.planes.rgb else ""
        moved = f"moved = pair.apply(nd.as_planes(moving{colours}).plane(0))[None]"
        return [moved, script.add_line("image", "moved", name=name, placement=frame.placement, transform=transform, **look)]
    look |= {"rgb": kept.source.planes.rgb}
    return [
        ApplyConfig().to_python(),
        script.add_line("image", "aligned", name=name, placement=frame.placement, transform=transform, **look),
    ]


def board_lines(kept: Aligned | AlignedPair) -> list[str]:
    """Write how a checkerboard is made and added, from ``alignment`` or ``pair`` on."""
    frame, pair = frame_of(kept), isinstance(kept, AlignedPair)
    function = "pair_board_steps" if pair else "neighbours_steps"
    inputs = f"alignment, {_planes_words(frame, 'image')}"
    if isinstance(kept, AlignedPair):
        inputs = f"{_planes_words(kept.fixed, 'fixed')}, {_planes_words(kept.moving, 'moving')}, pair"
    look: dict[str, Any] = {} if pair or not frame.planes.rgb else {"rgb": True}
    name, transform = f"{frame.placement.name} checkerboard", frame.placement.pixel_transform()
    return [
        f"from napari_dinov3._napari.align.views import {function}",
        "from napari_dinov3.progress import collect",
        f"mixed = collect({function}({inputs}))",
        script.add_line("image", "mixed", name=name, placement=frame.placement, transform=transform, **look),
    ]


def grid_lines(kept: Aligned | AlignedPair) -> list[str]:
    """Write how a grid that was carried along is drawn and added, from ``alignment`` or ``pair`` on."""
    placement = frame_of(kept).placement
    variable = "pair" if isinstance(kept, AlignedPair) else "alignment"
    add = script.add_whole_line(
        "vectors", "vectors", name=f"{placement.name} grid", transform=placement.pixel_transform(), vector_style="line"
    )
    return [
        "import numpy as np",
        "from napari_dinov3._napari.align.views import grid_steps",
        "from napari_dinov3.progress import collect",
        f"found = collect(grid_steps({variable}))",
        f"vectors = np.zeros((len(found), 2, {placement.ndim}))",
        f"vectors[:, :, {_grid_axes(frame_of(kept))}] = found",
        add,
    ]


def _grid_axes(frame: Source) -> list[int]:
    placement = frame.placement
    return [*([] if placement.stack is None else [placement.stack]), placement.ndim - 2, placement.ndim - 1]


def _planes_words(source: Source, variable: str) -> str:
    return f"nd.as_planes({variable}, axes={script.axes_of(source)!r})"


def moved_name(kept: Aligned | AlignedPair, layer: Any) -> str:
    """Name the copy of a layer that was carried along; of the aligned image itself, it is the whole of it."""
    whole = " (whole)" if layer.unique_id == moving_of(kept).placement.layer_id else ""
    return f"{layer.name} aligned{whole}"


def follow_lines(kept: Aligned | AlignedPair, layer: Any, moved: Moved | None = None) -> list[str]:
    """Write how another layer is carried along and added."""
    kind = kind_of(layer)
    place = moved.place if moved is not None else _place_of(kept, layer)
    look = {key: value for key, value in look_of(layer).items() if key in ("rgb", "colormap", "contrast_limits")}
    look |= {"multiscale": True} if getattr(layer, "multiscale", False) and isinstance(kept, Aligned) else {}
    expression = "moved"
    pixels = kind not in ("points", "shapes")
    if pixels and isinstance(kept, AlignedPair):
        for axis, _ in kept.fixed.placement.fixed:
            expression += f"[{':, ' * axis}None]"
    if pixels and isinstance(kept, Aligned) and kept.source.placement.window is not None:
        for axis, _ in kept.source.placement.fixed:
            expression += f"[{':, ' * axis}None]"
    line = script.add_whole_line(kind, expression, name=moved_name(kept, layer), transform=place, **look)
    if kind == "shapes":
        line = line[:-1] + ", shape_type=types)"
    return ["import numpy as np", *move_lines(layer, kept), line]


def show_aligned(viewer: Any, session: Any, kept: Aligned | AlignedPair, data: Any, like: Any, code: str) -> Any:
    """Show the aligned image, in the layer of the run before where that is still as it was made.

    Parameters
    ----------
    viewer, session
        Of the panel.
    kept : Aligned or AlignedPair
    data : (planes, rows, cols[, 3]) array
    like : napari layer
        The image that was moved; its colours are taken over.
    code : str
        Python that makes it again.
    """
    frame, metadata = frame_of(kept), facts_of(kept, code)
    placement, name = frame.placement, f"{moving_of(kept).placement.name} aligned"
    kind = "aligned" if isinstance(kept, Aligned) else f"pair {moving_of(kept).placement.layer_id}"
    owned = session.owned(PANEL, f"{kind} {placement.layer_id}")
    look = look_of(like) if like is not None else {"rgb": data.ndim == 4}
    return owned.show(
        placement.arrange(data),
        belongs_to=(*place_of(frame), str(data.ndim)),
        metadata=metadata,
        add=lambda: results.add_pixels(viewer, placement, data, kind="image", name=name, metadata=metadata, **look),
    )


def show_moved(viewer: Any, session: Any, kept: Aligned | AlignedPair, layer: Any, moved: Moved, code: str) -> Any:
    """Show a layer that was carried along."""
    metadata = facts_of(kept, code)
    owned = session.owned(PANEL, f"moved {layer.unique_id}")
    name = moved_name(kept, layer)

    def add() -> Any:
        function = getattr(viewer, f"add_{moved.kind}")
        return function(moved.data, name=free_name(viewer.layers, name), metadata=dict(metadata), **moved.place, **moved.look)

    place = tuple(str(np.asarray(value).tolist()) for key, value in moved.place.items() if key not in ("units", "axis_labels"))
    return owned.show(moved.data, belongs_to=(place, moved.kind, _shape(moved.data)), metadata=metadata, add=add)


def show_board(viewer: Any, session: Any, kept: Aligned | AlignedPair, data: Any) -> Any:
    """Show a checkerboard: of every plane with the next, or of the fixed image with the moved one."""
    frame, rgb = frame_of(kept), data.ndim == 4
    placement = frame.placement
    metadata = facts_of(kept, script.script_of([*kept.lines, *board_lines(kept)]))
    owned = session.owned(PANEL, f"board {placement.layer_id}")
    look: dict[str, Any] = {"rgb": True} if rgb else {}
    return owned.show(
        placement.arrange(data),
        belongs_to=(*place_of(frame), data.ndim),
        metadata=metadata,
        add=lambda: results.add_pixels(viewer, placement, data, name=f"{placement.name} checkerboard", metadata=metadata, **look),
    )


def show_grid(viewer: Any, session: Any, kept: Aligned | AlignedPair, vectors: Any) -> Any:
    """Show a grid that was carried along, over the aligned image."""
    placement, metadata = frame_of(kept).placement, facts_of(kept, script.script_of([*kept.lines, *grid_lines(kept)]))
    full = np.zeros((len(vectors), 2, placement.ndim))
    full[:, :, _grid_axes(frame_of(kept))] = vectors
    transform = placement.pixel_transform()
    owned = session.owned(PANEL, f"grid {placement.layer_id}")
    look: Mapping[str, Any] = {"edge_width": max(1.0, float(np.abs(vectors).max()) / 500), "edge_color": "#ffb020"}
    return owned.show(
        full,
        belongs_to=place_of(frame_of(kept)),
        metadata=metadata,
        add=lambda: viewer.add_vectors(
            full,
            name=free_name(viewer.layers, f"{placement.name} grid"),
            metadata=metadata,
            vector_style="line",
            **look,
            **transform,
        ),
    )


def plane_axis(viewer: Any, kept: Aligned) -> int:
    """Find the slider of the viewer that goes through the planes of a stack."""
    placement = kept.source.placement
    return (placement.stack or 0) + int(unwrap(viewer).dims.ndim) - placement.ndim


def show_plane(viewer: Any, kept: Aligned, section: int) -> None:
    """Move the slider of the planes onto one of them, wherever in the world the stack lies."""
    placement = kept.source.placement
    corner = corner_worlds(placement, np.array([[section, 0.0, 0.0]]))[0]
    unwrap(viewer).dims.set_point(plane_axis(viewer, kept), float(corner[(placement.stack or 0) - placement.ndim]))


class Blinker:
    """Show two things in turn: a plane and the next one, or a pair with and without the moved image.

    Parameters
    ----------
    viewer : napari viewer
    kept : Aligned or AlignedPair
    layer : napari layer or None
        The moved image of a pair.
    """

    def __init__(self, viewer: Any, kept: Aligned | AlignedPair, layer: Any) -> None:
        self._viewer, self._layer, self._on = unwrap(viewer), unwrap(layer), False
        self._axis: int | None = None
        if isinstance(kept, Aligned):
            axis = plane_axis(viewer, kept)
            steps = int(self._viewer.dims.nsteps[axis])
            self._axis, self._first = axis, min(int(self._viewer.dims.current_step[axis]), max(0, steps - 2))

    def flip(self) -> None:
        """Show the other one."""
        self._on = not self._on
        self._show(self._on)

    def stop(self) -> None:
        """Leave the viewer as it was."""
        self._show(False)

    def _show(self, second: bool) -> None:
        if self._axis is not None:
            self._viewer.dims.set_current_step(self._axis, self._first + int(second))
        elif self._layer in self._viewer.layers:
            self._layer.visible = not second


def _place_of(kept: Aligned | AlignedPair, layer: Any) -> dict[str, Any]:
    if isinstance(kept, AlignedPair):
        return kept.fixed.placement.pixel_transform()
    if kept.source.placement.window is not None and kind_of(layer) in ("image", "labels"):
        return kept.source.placement.pixel_transform()
    names = ("scale", "translate", "rotate", "shear", "units", "axis_labels")
    return {name: getattr(layer, name) for name in names} | {"affine": layer.affine.affine_matrix}


def _shape(data: Any) -> Any:
    return tuple(data.shape) if hasattr(data, "shape") else len(data)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
