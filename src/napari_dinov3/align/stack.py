"""Align a whole stack: compare sections with several neighbours, find the bad ones, solve all poses at once.

Chaining neighbours adds up every small error and breaks at the first bad section; a graph of links over one to three
sections does neither. ``T_z`` maps the common, aligned frame to section ``z`` (pull-back), so that
``aligned[z][p] = images[z][T_z p]``, in pixels ``(row, col, 1)`` with centres at whole numbers.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.drift import DRIFTS, TEMPLATES, Drift, anchor_links, centred, keeping_trend
from napari_dinov3.align.links import DEFAULT_REACH, Link, components, consistent, doubtful, vouched
from napari_dinov3.align.matching import match_steps as match_steps
from napari_dinov3.align.section import chosen_network
from napari_dinov3.align.solve import Solution, interpolated, solve_poses
from napari_dinov3.align.stack_alignment import StackAlignment as StackAlignment
from napari_dinov3.align.stack_elastic import solve_fields
from napari_dinov3.align.transforms import LinearModel, Model, check_model, linear_part
from napari_dinov3.backbones.base import Backbone
from napari_dinov3.backbones.sources import Source
from napari_dinov3.errors import IllPosedWarning, InputError
from napari_dinov3.geometry import Matrix
from napari_dinov3.image import Planes, as_planes
from napari_dinov3.progress import Job, collect

_Numbers: TypeAlias = npt.NDArray[np.float64]
Anchors: TypeAlias = Iterable[int] | Mapping[int, npt.NDArray[np.float64]]


def align_stack(images: Any, *, model: Model = "rigid", **options: Any) -> StackAlignment:
    """Align the sections of a stack to each other.

    Parameters
    ----------
    images : (planes, rows, cols[, 3]) array-like, or Planes
        numpy or dask; planes are read one at a time.
    model : {"translation", "rigid", "similarity", "affine", "elastic"}
        What a section may do. Elastic: affine, and then a smooth displacement a section.
    **options
        Of :func:`align_stack_steps`.

    Returns
    -------
    path : StackAlignment
        ``.transforms``, ``.quality``, ``.bad``, ``.apply(images)``.

    Examples
    --------
    >>> import napari_dinov3 as nd
    >>> sample = nd.synthetic.em(planes=4, size=128, shifts=[[0, 0], [3, -2], [1, 4], [0, 2]], rng=0)
    >>> path = nd.align_stack(sample.images, model="translation", backbone=None, drift="first")
    >>> path.transforms[:, :2, 2].round()[1]
    array([ 3., -2.])
    """
    return collect(align_stack_steps(images, model=model, **options))


def align_stack_steps(
    images: Any,
    *,
    model: Model = "rigid",
    backbone: str | Backbone | None = "auto",
    reach: Iterable[int] = DEFAULT_REACH,
    rotation: float | None = None,
    drift: Drift = "minimum",
    anchors: Anchors | None = None,
    exclude: Iterable[int] = (),
    include: Iterable[int] = (),
    known: MutableMapping[tuple[int, int], Link] | None = None,
    weights: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    source: Source = "auto",
    **image_options: Any,
) -> Job[StackAlignment]:
    """Align a stack in steps; see :func:`align_stack`.

    Parameters
    ----------
    images, model
        As there.
    backbone : str, Backbone or None
        Whose patch features propose poses; None for pixels alone.
    reach : ints
        Distances at which sections are compared. Longer reaches cross bad sections and hold drift down.
    rotation : float, optional
        Largest rotation between neighbours to look for, in degrees. By default up to 15, and all of 180 where nothing within
        15 is accepted.
    drift : {"minimum", "first", "trend", "median", "mean"}
        The common frame: in which all sections move least; that of the first good section; or the first with slow movement
        along the stack (over 10 sections and more) left as it was. ``"median"`` and ``"mean"`` align every section once more,
        to the median of its neighbours or to the mean of all (for time series: what moves there is the animal, not anatomy).
    anchors : ints, or mapping of int to (3, 3) matrix, optional
        Sections that stay where they are, or have the given pose; they set the frame instead of `drift`.
    exclude : ints
        Sections to treat as bad.
    include : ints
        Sections to place by their best link even where the null test refused all of them.
    known : mutable mapping, optional
        Links by ``(first, second)``: those in it are not computed again and new ones are added, so that a cancelled run can be
        resumed with the same mapping.
    weights : path, optional
        Of a backbone that is a network and is named: file or folder in any of the three formats; by default they are looked for.
    device, precision, source
        Where and how precisely such a network runs, and where its weights are looked for; see
        :class:`~napari_dinov3.backbones.options.BackboneOptions`.
    **image_options
        Of :func:`napari_dinov3.as_planes` (``axes``, ``channel``, ``spacing`` ...).

    Yields
    ------
    Progress
        One event a section, and one a link.

    Returns
    -------
    path : StackAlignment
    """
    check_model(model)
    if drift not in DRIFTS:
        raise InputError(f"drift={drift!r}", f"one of {', '.join(DRIFTS)}", "Choose one of these")
    planes = as_planes(images, **image_options)
    backbone = chosen_network(backbone, weights=weights, device=device, precision=precision, source=source)
    links = yield from match_steps(planes, model=model, backbone=backbone, reach=reach, rotation=rotation, known=known)
    path = solve_stack(links, planes, model=model, drift=drift, anchors=anchors, exclude=exclude, include=include)
    if drift not in TEMPLATES:
        return path
    from napari_dinov3.align.template import align_to_template_steps

    return (yield from align_to_template_steps(planes, path, template=TEMPLATES[drift]))


def solve_stack(
    links: Iterable[Link],
    planes: Planes,
    *,
    model: Model,
    drift: Drift = "minimum",
    anchors: Anchors | None = None,
    exclude: Iterable[int] = (),
    include: Iterable[int] = (),
) -> StackAlignment:
    """Solve for all poses from links already computed, as after an edit of the list of bad sections.

    Parameters
    ----------
    links : iterable of Link
        From :func:`match_steps` or :attr:`StackAlignment.links`.
    planes : Planes
        The stack (only its shape and spacing are used).
    model, drift, anchors, exclude, include
        As in :func:`align_stack_steps`.
    """
    links, count, shape = tuple(links), len(planes), planes.shape[1:]
    trusted, include = vouched(links, include), set(include)
    left_out, linear = set(exclude) | (doubtful(links, count) - include), linear_part(model)
    usable = [link for link in trusted if link.accepted and not {link.first, link.second} & left_out]
    usable = list(compress(usable, consistent(usable, shape, roughly=True)))
    part = components(count, usable)
    good = np.array([z for z in np.flatnonzero(part == 0) if z not in left_out], dtype=np.int64)
    if len(good) == 1 < count - len(left_out):
        good = good[:0]  # not one pair matches: no section is better than another
        warnings.warn(
            "No section matches another, so all stay where they are: the stack is blank, noise, or of unrelated images.",
            IllPosedWarning,
            stacklevel=2,
        )
    missing = np.ones(count, bool)
    missing[good] = False
    transforms = np.tile(np.eye(3), (count, 1, 1))
    inner, solution = _solved(usable, good, _as_poses(anchors, count), linear, shape)
    if len(good):
        transforms[good] = solution.transforms
        if anchors is None and drift != "first":
            transforms[good] = centred(solution.transforms, shape, model=linear)
        if anchors is None and drift == "trend":
            transforms[good] = keeping_trend(transforms[good], shape, model=linear, positions=good.astype(np.float64))
    quality, residuals = _per_section(inner, solution, count)
    transforms = interpolated(transforms, missing, shape, model=linear)
    return StackAlignment(
        transforms=transforms,
        quality=quality,
        residuals=residuals,
        bad=tuple(int(z) for z in np.flatnonzero(missing)),
        links=links,
        model=model,
        shape=shape,
        spacing=planes.spacing,
        units=planes.units,
        fields=solve_fields(inner, transforms, ~missing, shape) if model == "elastic" else (),
    )


def _per_section(
    inner: Sequence[Link], solution: Solution, count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Score and residual of each section: the medians over its links; 0 and NaN where it has none."""
    quality, residuals = np.zeros(count), np.full(count, np.nan)
    for z in range(count):
        mine = [k for k, link in enumerate(inner) if z in (link.first, link.second)]
        if mine:
            quality[z] = float(np.median([inner[k].match.z for k in mine]))
            residuals[z] = float(np.median(solution.residuals[mine]))
    return quality, residuals


def _solved(
    usable: list[Link], good: npt.NDArray[np.int64], anchors: Mapping[int, Matrix], model: LinearModel, shape: tuple[int, int]
) -> tuple[list[Link], Solution]:
    """Solve the good sections; with anchors, node 0 is the aligned frame itself and takes no place in the result."""
    if not len(good):
        return [], Solution(np.empty((0, 3, 3)), np.empty(0), np.empty(0))
    extra = 1 if any(int(z) in anchors for z in good) else 0
    place = {int(z): i + extra for i, z in enumerate(good)}
    inner = [link for link in usable if link.first in place and link.second in place]
    nodes = [dataclasses.replace(k, first=place[k.first], second=place[k.second]) for k in inner]
    tied = anchor_links(anchors, place)
    solution = solve_poses([*nodes, *tied], len(good) + extra, model=model, shape=shape)
    return inner, Solution(solution.transforms[extra:], solution.residuals[: len(inner)], solution.trust[: len(inner)])


def _as_poses(anchors: Anchors | None, count: int) -> Mapping[int, Matrix]:
    if anchors is None:
        return {}
    poses = dict(anchors) if isinstance(anchors, Mapping) else {int(z): np.eye(3) for z in anchors}
    wrong = [z for z, pose in poses.items() if not 0 <= z < count or np.shape(pose) != (3, 3)]
    if wrong or not poses:
        raise InputError(
            f"anchors={sorted(poses)}",
            f"sections 0..{count - 1}, each with a (3, 3) matrix or none",
            "Name at least one section of the stack",
        )
    return {z: np.asarray(pose, np.float64) for z, pose in poses.items()}
