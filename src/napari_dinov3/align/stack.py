"""Align a whole stack: compare sections with several neighbours, find the bad ones, solve all poses at once.

Chaining neighbours adds up every small error and breaks at the first bad section; a graph of links over one to three
sections does neither. ``T_z`` maps the common, aligned frame to section ``z`` (pull-back), so that
``aligned[z][p] = images[z][T_z p]``, in pixels ``(row, col, 1)`` with centres at whole numbers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.coarse import thumbnail_factor
from napari_dinov3.align.links import DEFAULT_REACH, Link, components, planned_links
from napari_dinov3.align.pairwise import WORKING_SIDE, Section, fit_sections, prepare_section
from napari_dinov3.align.solve import centred, interpolated, solve_poses
from napari_dinov3.align.transforms import LINEAR_MODELS, LinearModel, check_model
from napari_dinov3.align.warp import interpolation_order, warp
from napari_dinov3.backbones.base import Backbone
from napari_dinov3.errors import InputError
from napari_dinov3.geometry import Matrix, transform_points
from napari_dinov3.image import Planes, as_planes
from napari_dinov3.progress import Job, Progress, collect

Drift = Literal["minimum", "first"]


@dataclass(frozen=True, slots=True, eq=False)
class StackAlignment:
    """Poses of all sections of a stack.

    Parameters
    ----------
    transforms : (planes, 3, 3) float64
        Aligned frame to section, in pixels ``(row, col, 1)``.
    quality : (planes,) float64
        Median score of a section's accepted links, in standard deviations above wrong offsets; 0 for bad sections.
    residuals : (planes,) float64
        Pixels (root mean square) by which a section's links disagree with its pose; NaN for bad sections.
    bad : tuple of int
        Sections that match none of their neighbours; their pose is interpolated.
    links : tuple of Link
        All comparisons, refused ones too.
    model : str
        What a section may do.
    shape : (2,) ints
        Rows and columns of a section, and of the aligned frame.
    spacing, units
        Of the stack, as in :class:`~napari_dinov3.image.Planes`.
    """

    transforms: npt.NDArray[np.float64] = field(repr=False)
    quality: npt.NDArray[np.float64] = field(repr=False)
    residuals: npt.NDArray[np.float64] = field(repr=False)
    bad: tuple[int, ...]
    links: tuple[Link, ...] = field(repr=False)
    model: LinearModel
    shape: tuple[int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    units: tuple[str, str, str] = ("pixel", "pixel", "pixel")

    def __len__(self) -> int:
        return len(self.transforms)

    def apply(self, images: Any, *, order: int | None = None, fill: float = 0) -> Any:
        """Resample a stack into the aligned frame, each plane once from the raw data.

        Parameters
        ----------
        images : (planes, rows, cols[, channels]) array-like
            The stack that was aligned, another channel of it, or its labels. numpy or dask.
        order : int, optional
            0 nearest (labels), 1 linear, 3 cubic; by default 0 for bool and 32/64-bit integers, else 3.
        fill : float
            Value where a section has nothing.

        Returns
        -------
        aligned : same shape and type
            numpy for numpy; lazy dask, one plane a chunk, for all else.
        """
        _check_stack_shape(tuple(images.shape), len(self), self.shape)
        order = interpolation_order(images.dtype, order)
        if isinstance(images, np.ndarray):
            return np.stack([
                warp(plane, matrix, order=order, fill=fill) for plane, matrix in zip(images, self.transforms, strict=True)
            ])
        import dask.array

        lazy = images if isinstance(images, dask.array.Array) else dask.array.from_array(images, chunks="auto")
        lazy = lazy.rechunk((1, *lazy.shape[1:]))
        return lazy.map_blocks(
            _warp_block, self.transforms, order=order, fill=fill, dtype=lazy.dtype, meta=np.empty((0,) * lazy.ndim, lazy.dtype)
        )

    def map_points(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Find where points drawn on the raw stack lie in the aligned one.

        Parameters
        ----------
        points : (N, 3) array-like
            ``(plane, row, col)`` in the raw stack; the nearest section's pose moves each.

        Returns
        -------
        points : (N, 3) float64
            ``(plane, row, col)`` in the aligned stack.
        """
        at = np.array(points, np.float64).reshape(-1, 3)
        sections = np.clip(np.rint(at[:, 0]).astype(int), 0, len(self) - 1)
        for z in np.unique(sections):
            chosen = sections == z
            at[chosen, 1:] = transform_points(np.linalg.inv(self.transforms[z]), at[chosen, 1:])
        return at

    def layer_affine(self, section: int) -> Matrix:
        """(3, 3) affine that shows one section, as a 2D layer, in the aligned frame's pixels.

        A napari layer has one affine, so a whole stack is shown resampled (:meth:`apply`); this is for single sections.
        """
        return np.asarray(np.linalg.inv(self.transforms[section]))


def align_stack(images: Any, *, model: LinearModel = "rigid", **options: Any) -> StackAlignment:
    """Align the sections of a stack to each other.

    Parameters
    ----------
    images : (planes, rows, cols[, 3]) array-like, or Planes
        numpy or dask; planes are read one at a time.
    model : {"translation", "rigid", "similarity", "affine"}
        What a section may do.
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
    model: LinearModel = "rigid",
    backbone: str | Backbone | None = "auto",
    reach: Iterable[int] = DEFAULT_REACH,
    rotation: float | None = None,
    drift: Drift = "minimum",
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
    drift : {"minimum", "first"}
        The common frame: in which all sections move least, or that of the first good section.
    **image_options
        Of :func:`napari_dinov3.as_planes` (``axes``, ``channel``, ``spacing`` ...).

    Yields
    ------
    Progress
        One event a section.

    Returns
    -------
    path : StackAlignment
    """
    check_model(model, LINEAR_MODELS)
    if drift not in ("minimum", "first"):
        raise InputError(f"drift={drift!r}", "'minimum' or 'first'", "Choose one of these")
    planes = as_planes(images, **image_options)
    links = yield from match_steps(planes, model=model, backbone=backbone, reach=reach, rotation=rotation)
    return solve_stack(links, planes, model=model, drift=drift)


def match_steps(
    planes: Planes,
    *,
    model: LinearModel,
    backbone: str | Backbone | None = "auto",
    reach: Iterable[int] = DEFAULT_REACH,
    rotation: float | None = None,
    known: Mapping[tuple[int, int], Link] | None = None,
) -> Job[tuple[Link, ...]]:
    """Compare every section with its neighbours.

    Parameters
    ----------
    planes : Planes
        The stack; as many sections as the longest reach are held at a time.
    model, backbone, reach, rotation
        As in :func:`align_stack_steps`.
    known : mapping, optional
        Links from an earlier run, by ``(first, second)``: they are not computed again.

    Returns
    -------
    links : tuple of Link
        Refused ones too.
    """
    if isinstance(backbone, str):
        from napari_dinov3.backbones.registry import load_backbone

        backbone = load_backbone(backbone)
    wanted = planned_links(len(planes), reach)
    known = known or {}
    factor = thumbnail_factor(planes.shape[1:], side=WORKING_SIDE)
    held: OrderedDict[int, Section] = OrderedDict()
    longest = max((b - a for a, b in wanted), default=0)
    found: dict[tuple[int, int], Link] = {}
    for z in range(len(planes)):
        yield Progress(z, len(planes), f"Section {z + 1} of {len(planes)}")
        pairs = [pair for pair in wanted if pair[1] == z]
        if any(pair not in known for pair in pairs) or not pairs:
            held[z] = prepare_section(planes.plane(z), factor=factor, backbone=backbone)
        for a, b in pairs:
            if (a, b) in known:
                found[a, b] = known[a, b]
                continue
            if a not in held:
                held[a] = prepare_section(planes.plane(a), factor=factor, backbone=backbone)
            fit = fit_sections(held[a], held[b], model=model, rotation=rotation, hint=_expected(found, a, b))
            found[a, b] = Link(a, b, fit.matrix, fit.match)
        for old in [k for k in held if k <= z - longest]:
            del held[old]
    yield Progress(len(planes), len(planes), "Solving for all poses")
    return tuple(found.values())


def solve_stack(
    links: Iterable[Link],
    planes: Planes,
    *,
    model: LinearModel,
    drift: Drift = "minimum",
    exclude: Iterable[int] = (),
) -> StackAlignment:
    """Solve for all poses from links already computed, as after an edit of the list of bad sections.

    Parameters
    ----------
    links : iterable of Link
        From :func:`match_steps` or :attr:`StackAlignment.links`.
    planes : Planes
        The stack (only its shape and spacing are used).
    model, drift
        As in :func:`align_stack_steps`.
    exclude : ints
        Sections to treat as bad whatever their links say.
    """
    links, count, shape = tuple(links), len(planes), planes.shape[1:]
    left_out = set(exclude)
    usable = [link for link in links if link.accepted and not {link.first, link.second} & left_out]
    part = components(count, usable)
    good = np.flatnonzero(part == 0)
    good = good[[int(g) not in left_out for g in good]]
    place = {int(z): i for i, z in enumerate(good)}
    inner = [
        Link(place[k.first], place[k.second], k.matrix, k.match) for k in usable if k.first in place and k.second in place
    ]
    solution = solve_poses(inner, len(good), model=model, shape=shape)
    transforms = np.tile(np.eye(3), (count, 1, 1))
    if len(good):
        transforms[good] = centred(solution.transforms, shape, model=model) if drift == "minimum" else solution.transforms
    missing = np.ones(count, bool)
    missing[good] = False
    if count == 1:
        missing[:] = False
    quality, residuals = np.zeros(count), np.full(count, np.nan)
    for z, i in place.items():
        mine = [k for k, link in enumerate(inner) if i in (link.first, link.second)]
        if mine:
            quality[z] = float(np.median([inner[k].match.z for k in mine]))
            residuals[z] = float(np.median(solution.residuals[mine]))
    return StackAlignment(
        transforms=interpolated(transforms, missing, shape, model=model), quality=quality, residuals=residuals,
        bad=tuple(int(z) for z in np.flatnonzero(missing)), links=links, model=model, shape=shape,
        spacing=planes.spacing, units=planes.units,
    )


def _expected(found: Mapping[tuple[int, int], Link], first: int, second: int) -> Matrix | None:
    """Chain accepted links to guess a longer one; the unmoved pose for neighbours."""
    if second - first == 1:
        return np.eye(3)
    for between in range(second - 1, first, -1):
        one, two = found.get((first, between)), found.get((between, second))
        if one is not None and two is not None and one.accepted and two.accepted:
            return np.asarray(two.matrix @ one.matrix)
    return None


def _warp_block(
    block: npt.NDArray[Any], transforms: npt.NDArray[np.float64], *, order: int, fill: float, block_info: Any = None
) -> npt.NDArray[Any]:
    z = block_info[0]["chunk-location"][0]
    return warp(block[0], transforms[z], order=order, fill=fill)[None]


def _check_stack_shape(shape: tuple[int, ...], planes: int, plane_shape: tuple[int, int]) -> None:
    if len(shape) not in (3, 4) or shape[:3] != (planes, *plane_shape):
        raise InputError(f"A stack of shape {shape}", f"({planes}, {plane_shape[0]}, {plane_shape[1]}[, channels])",
                         "Apply the alignment to a stack of the same size")
