"""Alignment in a viewer: estimate, resample plane by plane, and carry other layers along."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_dinov3._napari.layers import Source
from napari_dinov3.align.drift import TEMPLATES
from napari_dinov3.align.links import Link, planned_links
from napari_dinov3.align.stack import StackAlignment, align_stack_steps, solve_stack
from napari_dinov3.align.template import align_to_template_steps
from napari_dinov3.errors import InputError
from napari_dinov3.image import Planes
from napari_dinov3.progress import Job, Progress, part_of
from napari_dinov3.recipe import AlignConfig
from napari_dinov3.wording import counted

_NAMED = 8
"""Planes that are named in a sentence."""


@dataclass(frozen=True, slots=True)
class SectionRow:
    """One line of the table of an alignment.

    Parameters
    ----------
    section : int
        Plane.
    row_shift, col_shift : float
        Pixels by which the centre of the plane was moved, positive down and right.
    rotation_deg : float
        Degrees by which it was turned, from the row axis towards the column axis.
    quality : float
        Standard deviations above wrong offsets.
    residual : float
        Pixels by which its links disagree with its pose; NaN without links.
    matched : bool
        Whether it is placed by its matches; its pose is interpolated where it is not.
    status : str
        Key of `STATUS`.
    """

    section: int
    row_shift: float
    col_shift: float
    rotation_deg: float
    quality: float
    residual: float
    matched: bool
    status: str

    @property
    def text(self) -> str:
        """Say all of it in words."""
        match = f"match {self.quality:.1f}, off by {self.residual:.2f} px" if self.matched else "pose between its neighbours'"
        moved = f"moved {self.row_shift:+.2f} px down, {self.col_shift:+.2f} px right, turned {self.rotation_deg:+.2f}°"
        return f"Plane {self.section} {STATUS[self.status]}; {match}; {moved}."


STATUS = {
    "ok": "matches its neighbours",
    "bad": "matches no neighbour",
    "out": "was left out by hand",
    "in": "was let in by hand",
}
"""What became of a section, and how that is said."""


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """What the panel keeps of a run: how each plane moves, what was aligned, and how.

    Parameters
    ----------
    alignment : StackAlignment
        Poses.
    source : Source
        The stack and its place.
    config : AlignConfig
        How.
    lines : tuple of str
        Python lines from the layer to ``alignment``.
    earlier : tuple of AlignConfig
        Settings before each edit of the table, the last edit last.
    loaded : bool
        Whether the links are of a file.
    """

    alignment: StackAlignment
    source: Source
    config: AlignConfig
    lines: tuple[str, ...]
    earlier: tuple[AlignConfig, ...] = ()
    loaded: bool = False


def place_of(source: Source) -> tuple[str, ...]:
    """Tell what two results must share if one may take the place of the other: layer, place, shape and colour."""
    placement, planes = source.placement, source.planes
    words = (placement.layer_id, placement.stack, placement.fixed, planes.shape, planes.rgb)
    return (
        *map(str, words),
        *(
            str(np.asarray(value).tolist())
            for name, value in placement.pixel_transform().items()
            if name not in ("units", "axis_labels")
        ),
    )


def links_key(source: Source, config: AlignConfig, version: Hashable) -> Hashable:
    """Tell what the links of a run depend on: the pixels, and how they are compared; not how poses are solved from them.

    Parameters
    ----------
    source : Source
        The stack.
    config : AlignConfig
        How.
    version : hashable
        State of the layer's data; see :meth:`napari_dinov3._napari.session.Session.version`.
    """
    network = config.weights, config.precision, config.source
    return place_of(source), version, config.model, config.backbone, network, config.rotation


def links_text(known: Mapping[tuple[int, int], Link], planes: int, reach: Iterable[int]) -> str:
    """Say how many links of a run are there already; empty where none is."""
    wanted = planned_links(planes, reach)
    there = sum(pair in known for pair in wanted)
    return f"{there} of {counted(len(wanted), 'link')} there already" if there else ""


def align_steps(
    planes: Planes, config: AlignConfig, *, known: MutableMapping[tuple[int, int], Link] | None = None
) -> Job[tuple[StackAlignment, Any]]:
    """Align a stack and resample it.

    Parameters
    ----------
    planes : Planes
        The stack.
    config : AlignConfig
        How.
    known : mutable mapping, optional
        Links that are there already; new ones are added at once, so that a cancelled run goes on from them.

    Returns
    -------
    alignment : StackAlignment
    aligned : (planes, rows, cols[, 3]) array
        numpy for a stack in memory, lazy dask otherwise.
    """
    if len(planes) < 2:
        raise InputError(f"{planes.name!r} has one plane", "a stack of two or more", "Choose a stack")
    alignment = yield from part_of(
        align_stack_steps(
            planes,
            model=config.model,
            backbone=config.backbone,
            weights=config.weights,
            device=config.device,
            precision=config.precision,
            source=config.source,
            reach=config.reach,
            rotation=config.rotation,
            drift=config.drift,
            anchors=config.anchors,
            exclude=config.exclude,
            include=config.include,
            known=known,
        ),
        start=0,
        span=80,
        total=100,
    )
    aligned = yield from part_of(resample_steps(alignment, planes), start=80, span=20, total=100)
    return alignment, aligned


def with_section(config: AlignConfig, section: int, *, use: bool | None) -> AlignConfig:
    """Leave one plane out, or let it in, whatever the null test says of it; None leaves it to the null test."""
    left_out, let_in = set(config.exclude) - {section}, set(config.include) - {section}
    if use is not None:
        (let_in if use else left_out).add(section)
    return replace(config, exclude=tuple(sorted(left_out)), include=tuple(sorted(let_in)))


def edited_steps(kept: Aligned, section: int, *, use: bool) -> Job[tuple[AlignConfig, StackAlignment, Any]]:
    """Leave a plane out, or let it in, and solve again; an edit that is taken back leaves nothing behind.

    Parameters
    ----------
    kept : Aligned
        The run.
    section : int
        Plane.
    use : bool
        Whether it is to be placed by its matches.

    Returns
    -------
    config : AlignConfig
        Settings that lead there: the null test decides alone where it comes to the same.
    alignment : StackAlignment
    aligned : array
    """
    for wanted in (None, use):
        config = with_section(kept.config, section, use=wanted)
        yield Progress(0, 100, "Solving for all poses")
        path = _solved(kept, config)
        if (section not in path.bad) == use:
            break
    path, aligned = yield from _finished_steps(kept, config, path)
    return config, path, aligned


def solve_again_steps(kept: Aligned, config: AlignConfig) -> Job[tuple[StackAlignment, Any]]:
    """Solve all poses again from the links of a run, without matching again, and resample.

    Parameters
    ----------
    kept : Aligned
        The run.
    config : AlignConfig
        Its settings, with other sections left out or let in.
    """
    yield Progress(0, 100, "Solving for all poses")
    return (yield from _finished_steps(kept, config, _solved(kept, config)))


def edited(kept: Aligned, config: AlignConfig, alignment: StackAlignment, *, earlier: tuple[AlignConfig, ...]) -> Aligned:
    """Give what is kept after an edit, with the Python lines that lead there from the layer."""
    planes = kept.source.planes
    axes = f"{planes.axes}s" if planes.rgb else None
    if not kept.loaded:
        lines = (*kept.lines[:-1], replace(config, axes=axes).to_python("image"))
        return replace(kept, alignment=alignment, config=config, lines=lines, earlier=earlier)
    again = next((at for at, line in enumerate(kept.lines) if line == _SOLVE_IMPORT), len(kept.lines))
    return replace(
        kept, alignment=alignment, config=config, lines=(*kept.lines[:again], *_solve_lines(config, axes)), earlier=earlier
    )


_SOLVE_IMPORT = "from napari_dinov3.align.stack import solve_stack"


def _solve_lines(config: AlignConfig, axes: str | None) -> list[str]:
    """Write how poses are solved again from links of a file."""
    options = config.options(changed_only=True)
    words = [f"{name}={options[name]!r}" for name in ("drift", "anchors", "exclude", "include") if name in options]
    lines = [
        _SOLVE_IMPORT,
        "planes = nd.as_planes(image)" if axes is None else f"planes = nd.as_planes(image, axes={axes!r})",
        f"alignment = solve_stack({', '.join(['alignment.links', 'planes', f'model={config.model!r}', *words])})",
    ]
    if config.drift not in TEMPLATES:
        return lines
    return [
        *lines,
        "from napari_dinov3.align.template import align_to_template_steps",
        "from napari_dinov3.progress import collect",
        f"alignment = collect(align_to_template_steps(planes, alignment, template={TEMPLATES[config.drift]!r}))",
    ]


def _solved(kept: Aligned, config: AlignConfig) -> StackAlignment:
    return solve_stack(
        kept.alignment.links,
        kept.source.planes,
        model=config.model,
        drift=config.drift,
        anchors=config.anchors,
        exclude=config.exclude,
        include=config.include,
    )


def _finished_steps(kept: Aligned, config: AlignConfig, path: StackAlignment) -> Job[tuple[StackAlignment, Any]]:
    """Align to a template where one is asked for, and resample."""
    planes = kept.source.planes
    if config.drift in TEMPLATES:
        job = align_to_template_steps(planes, path, template=TEMPLATES[config.drift])
        path = yield from part_of(job, start=0, span=60, total=100)
    aligned = yield from part_of(resample_steps(path, planes), start=60, span=40, total=100)
    return path, aligned


def resample_steps(alignment: StackAlignment, planes: Planes, *, labels: bool = False) -> Job[Any]:
    """Move the planes of a stack, or of a layer that lies on it.

    Parameters
    ----------
    alignment : StackAlignment
        Poses.
    planes : Planes
        Of the same shape as the stack that was aligned.
    labels : bool
        Whether the numbers are ids, whatever their type: each pixel then takes its nearest one, and no new ids come up.
    """
    import dask.array

    whole = planes.data if planes.lazy else dask.array.from_array(planes.data, chunks=(1, *planes.data.shape[1:]))
    lazy = alignment.apply(whole, order=0 if labels else None)
    if planes.lazy:
        yield Progress(1, 1, "planes are moved when they are looked at")
        return lazy
    moved = np.empty(planes.data.shape, planes.dtype)
    for index in range(len(planes)):
        yield Progress(index, len(planes), f"moving plane {index + 1} of {len(planes)}")
        moved[index] = lazy[index].compute(scheduler="synchronous")
    return moved


def section_table(alignment: StackAlignment, config: AlignConfig | None = None) -> list[SectionRow]:
    """List what was done to each plane, and with the settings also who decided on it.

    The transforms map the aligned frame to the section, so the content moved the other way: by their inverse.
    """
    centre = np.array([(side - 1) / 2 for side in alignment.shape] + [1.0])
    rows = []
    for section, matrix in enumerate(alignment.transforms):
        moved = np.linalg.inv(matrix)
        shift = (moved @ centre - centre)[:2]
        angle = np.degrees(np.arctan2(moved[1, 0], moved[0, 0]))
        quality, matched = float(alignment.quality[section]), section not in alignment.bad
        off = float(alignment.residuals[section])
        by_hand = config is not None and section in (config.include if matched else config.exclude)
        status = {(True, False): "ok", (False, False): "bad", (False, True): "out", (True, True): "in"}[matched, by_hand]
        rows.append(SectionRow(section, float(shift[0]), float(shift[1]), float(angle), quality, off, matched, status))
    return rows


def planes_text(sections: Iterable[int]) -> str:
    """Name planes, the first few of many."""
    names = [str(section) for section in sections]
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown


def verdict_text(rows: Iterable[SectionRow]) -> str:
    """Say how many planes of an alignment match, and name the others by what became of them."""
    rows = list(rows)
    words = [f"{sum(row.matched for row in rows)} of {counted(len(rows), 'plane')} placed by their matches"]
    for status, name in (("bad", "match no neighbour"), ("out", "left out by hand"), ("in", "let in by hand")):
        there = [row.section for row in rows if row.status == status]
        words += [f"{name}: {planes_text(there)}"] if there else []
    return "; ".join(words) + "."
