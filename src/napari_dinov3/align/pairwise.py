"""Align one image to another: coarse, then to a fraction of a pixel, or a refusal.

Coarse poses come from patch features and from reduced images (:mod:`~napari_dinov3.align.coarse`); the pixels refine them
level by level (:mod:`~napari_dinov3.align.refine`); a null test decides whether the result may be used
(:mod:`~napari_dinov3.align.quality`). The convention of :mod:`~napari_dinov3.align.transforms` holds: fixed to moving.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.channels import FAINT, Channels, FloatArray, comparable_channels, shrink
from napari_dinov3.align.coarse import (
    Candidate,
    angles_up_to,
    coarse_pose,
    feature_hints,
    thumbnail_factor,
)
from napari_dinov3.align.correlation import offset_scores
from napari_dinov3.align.deform import fit_coefficients, fit_field
from napari_dinov3.align.elastic import SplineField, control_shape
from napari_dinov3.align.pair_alignment import PairAlignment as PairAlignment
from napari_dinov3.align.pixel_size import CommonPixels, one_size
from napari_dinov3.align.quality import NO_MATCH, MatchQuality, match_quality
from napari_dinov3.align.refine import combined_agreement, overlay, polish, refine
from napari_dinov3.align.section import WORKING_SIDE, Section, chosen_network, prepare_section
from napari_dinov3.align.transforms import (
    LINEAR_MODELS,
    MIN_POINTS,
    MODELS,
    LinearModel,
    Model,
    check_model,
    corners,
    fit_matrix,
    linear_part,
    nearest,
    scaled,
)
from napari_dinov3.backbones.base import Backbone
from napari_dinov3.backbones.sources import Source
from napari_dinov3.errors import InputError
from napari_dinov3.geometry import Matrix, transform_points
from napari_dinov3.image import Planes, as_planes
from napari_dinov3.progress import Job, Progress, collect

_VOUCHING = 0.5  # agreement: freed, outlines of unrelated tissue reach 0.45, sections of one organ 0.6 and more
_GIVEN_UP = 0.005  # agreement: noise alone costs no more on the way to the most likely place
_ROUGHLY = 0.1  # pixels of a reduced image
_SAME_POSE = 0.01  # of the longer side
_NEARLY = 0.02  # pixels of the last step: the next one, and the polish, would be a tenth of it
_LANDMARK_CONTROLS = 8  # control points along the longer side of a field drawn through landmarks


Landmarks: TypeAlias = tuple[npt.ArrayLike, npt.ArrayLike]
LandmarkUse = Literal["start", "fit"]


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """What :func:`fit_sections` found, in full pixels."""

    matrix: Matrix
    match: MatchQuality
    field: SplineField | None = None


def align_pair(fixed: Any, moving: Any, *, model: Model = "affine", **options: Any) -> PairAlignment:
    """Align a moving image to a fixed one.

    Parameters
    ----------
    fixed, moving : (rows, cols) or (rows, cols, 3) array-like, or Planes of one plane
        Images, of any type and not necessarily of equal size or modality. Planes whose spacing differs are brought to pixels
        of one size first; `model` then holds in the world.
    model : {"translation", "rigid", "similarity", "affine", "elastic"}
        What may change.
    **options
        Of :func:`align_pair_steps`.

    Returns
    -------
    pair : PairAlignment
        ``.map_points``, ``.apply``, ``.quality``; check ``.refused`` before use.

    Examples
    --------
    >>> import numpy as np, napari_dinov3 as nd
    >>> fixed = nd.synthetic.em(planes=1, size=128).images[0]
    >>> moving = np.roll(fixed, (5, -3), (0, 1))
    >>> pair = nd.align_pair(fixed, moving, model="translation", backbone=None)
    >>> pair.map_points([[60, 60]]).round(1)
    array([[65., 57.]])
    """
    return collect(align_pair_steps(fixed, moving, model=model, **options))


def align_pair_steps(
    fixed: Any,
    moving: Any,
    *,
    model: Model = "affine",
    backbone: str | Backbone | None = "auto",
    rotation: float | None = None,
    landmarks: Landmarks | None = None,
    landmark_use: LandmarkUse = "start",
    weights: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    source: Source = "auto",
) -> Job[PairAlignment]:
    """Align a pair in steps; see :func:`align_pair`.

    Parameters
    ----------
    fixed, moving, model
        As there.
    backbone : str, Backbone or None
        Whose patch features propose poses; None for pixels alone.
    rotation : float, optional
        Largest rotation to look for, in degrees. By default up to 15, and all of 180 if nothing within 15 is accepted.
    landmarks : two (N, 2) arrays, optional
        The same places in the fixed and in the moving image, ``(row, col)`` in pixels.
    landmark_use : {"start", "fit"}
        ``"start"``: the pixels refine what the landmarks say. ``"fit"``: the landmarks alone decide; for modalities whose
        pixels cannot be compared. To only check a result with landmarks, see :meth:`PairAlignment.errors`.
    weights : path, optional
        Of a backbone that is a network and is named: file or folder in any of the three formats; by default they are looked for.
    device, precision, source
        Where and how precisely such a network runs, and where its weights are looked for; see
        :class:`~napari_dinov3.backbones.options.BackboneOptions`.

    Yields
    ------
    Progress

    Returns
    -------
    pair : PairAlignment
    """
    check_model(model, MODELS)
    if landmark_use not in ("start", "fit"):
        raise InputError(f"landmark_use={landmark_use!r}", "'start' or 'fit'", "Choose one of the two")
    backbone = chosen_network(backbone, weights=weights, device=device, precision=precision, source=source)
    planes = [_single(image, name) for image, name in ((fixed, "fixed image"), (moving, "moving image"))]
    options: dict[str, Any] = {"model": model, "backbone": backbone, "rotation": rotation, "landmark_use": landmark_use}
    if one_size(*planes):
        pair = yield from _fitted_steps(planes, landmarks=landmarks, **options)
    else:
        common = CommonPixels(*planes)
        marks = None if landmarks is None else common.landmarks(*landmarks)
        same = [_single(image, plane.name) for image, plane in zip((common.fixed, common.moving), planes, strict=True)]
        pair = common.in_own_pixels((yield from _fitted_steps(same, landmarks=marks, **options)))
    (_, *ours), (_, *theirs) = (plane.spacing for plane in planes)
    unit = planes[0].units[1], planes[0].units[2]
    return replace(pair, fixed_spacing=(ours[0], ours[1]), moving_spacing=(theirs[0], theirs[1]), units=unit)


def _fitted_steps(
    planes: Sequence[Planes],
    *,
    model: Model,
    backbone: str | Backbone | None,
    rotation: float | None,
    landmarks: Landmarks | None,
    landmark_use: LandmarkUse,
) -> Job[PairAlignment]:
    """Align two single planes in pixels of one size; options as in :func:`align_pair_steps`."""
    factor = thumbnail_factor(*(p.shape[1:] for p in planes), side=WORKING_SIDE)
    sections = []
    for step, plane in enumerate(planes):
        yield Progress(step, 4, f"Features of the {plane.name}")
        sections.append(prepare_section(plane.plane(0), factor=factor, backbone=backbone))
    yield Progress(2, 4, "Coarse pose and refinement")
    linear = linear_part(model)
    if landmarks is not None and landmark_use == "fit":
        return _from_landmarks(landmarks, model, sections)
    hint = None if landmarks is None else landmark_matrix(landmarks, model=linear)
    options: dict[str, Any] = {"model": linear, "rotation": rotation, "hint": hint, "vouch": True}
    fit = fit_sections(sections[0], sections[1], precise=model != "elastic", **options)
    if model == "elastic" and fit.match.accepted:
        yield Progress(3, 4, "Elastic deformation")
        fit = deformed(sections[0], sections[1], fit)
    yield Progress(4, 4, "Aligned")
    name = "" if backbone is None else (backbone if isinstance(backbone, str) else backbone.facts.name)
    return PairAlignment(
        matrix=fit.matrix,
        field=fit.field,
        model=model,
        fixed_shape=sections[0].shape,
        moving_shape=sections[1].shape,
        match=fit.match,
        reason=_refusal(fit.match, sections),
        backbone=name,
    )


def _refusal(match: MatchQuality, sections: Sequence[Section]) -> str:
    """Say why a pair is refused, the plainest reason first; empty when it is not."""
    for section, name in zip(sections, ("fixed", "moving"), strict=True):
        if section.lack:
            return f"These two do not match: the {name} image {section.lack}"
    return match.reason()


def fit_sections(
    fixed: Section,
    moving: Section,
    *,
    model: LinearModel,
    rotation: float | None = None,
    hint: Matrix | None = None,
    vouch: bool = False,
    precise: bool = True,
) -> Fit:
    """Fit a linear transform to two prepared sections.

    Parameters
    ----------
    fixed, moving : Section
        Of equal `factor`.
    model : {"translation", "rigid", "similarity", "affine"}
        What may change.
    rotation : float, optional
        As in :func:`align_pair_steps`.
    hint : (3, 3) float64, optional
        Where the moving section is expected, in full pixels. If the match there is accepted, nothing else is tried.
    vouch : bool
        Let an affine fit decide whether the two match where `model` fits too badly to say; its nearest `model` is the answer.
    precise : bool
        Go on to the precision that noise allows; not needed where :func:`deformed` follows, which does.

    Returns
    -------
    fit : Fit
        Fixed to moving, in full pixels.
    """
    if fixed.empty or moving.empty:
        return Fit(np.eye(3), NO_MATCH)
    hints = [] if hint is None else [scaled(hint, 1 / fixed.factor)]
    attempts: list[tuple[Sequence[float], list[Matrix]]] = [((), hints)] if hints else []
    near, wide = angles_up_to(rotation)
    attempts.append((near, hints + _feature_hints(fixed, moving)))
    if wide and model != "translation":
        attempts.append((wide, hints))
    best = Fit(np.eye(3), NO_MATCH)
    for angles, starts in attempts:
        coarse = coarse_pose(fixed.image, moving.image, model=model, angles=angles, hints=starts)
        fit = _refined(fixed, moving, coarse, model, precise=precise)
        if vouch and model != "affine" and not fit.match.accepted:
            fit = _vouched(fixed, moving, fit, model)
        if fit.match.z > best.match.z:
            best = fit
        if best.match.accepted:
            break
    return Fit(scaled(best.matrix, fixed.factor), best.match)


def _vouched(fixed: Section, moving: Section, fit: Fit, model: LinearModel) -> Fit:
    """Where a simple model fits too badly to convince, let an affine one say whether the two match at all.

    The pose is the nearest to the affine one; that of the simple model where it is about the same, since then it is more precise.
    """
    coarse = coarse_pose(fixed.image, moving.image, model="affine", angles=(), hints=[fit.matrix])
    free = _refined(fixed, moving, coarse, "affine")
    if not free.match.accepted or free.match.agreement < _VOUCHING:
        return fit
    shape = (fixed.image.shape[0], fixed.image.shape[1])
    near, points = nearest(free.matrix, model, shape), corners(shape)
    apart = np.abs(transform_points(near, points) - transform_points(fit.matrix, points)).max()
    return Fit(fit.matrix if apart < _SAME_POSE * max(shape) else near, free.match)


def landmark_matrix(landmarks: Landmarks, *, model: LinearModel) -> Matrix:
    """Fit the richest model that the number of landmarks allows, up to `model`."""
    fixed, moving = (np.asarray(points, np.float64).reshape(-1, 2) for points in landmarks)
    allowed = [m for m in LINEAR_MODELS[: LINEAR_MODELS.index(model) + 1] if len(fixed) >= MIN_POINTS[m]]
    return fit_matrix(fixed, moving, model=allowed[-1] if allowed else model)


def deformed(fixed: Section, moving: Section, fit: Fit) -> Fit:
    """Add an elastic displacement to a linear fit; kept only where the match stays beyond chance.

    Parameters
    ----------
    fixed, moving : Section
        Of equal `factor`.
    fit : Fit
        Affine, in full pixels; need not be precise.
    """
    matrix = scaled(fit.matrix, 1 / fixed.factor)
    field = fit_field(fixed.image, moving.image, matrix)
    match = match_quality(fixed.image, moving.image, matrix, field=field)
    target = comparable_channels(fixed.image)
    before, after = (_agreement(target, moving.image, matrix, bend) for bend in (None, field))
    if not match.accepted or after <= before:
        precise = _precise(target, fixed.image, moving.image, matrix, "affine", agreed=before)
        return Fit(scaled(precise, fixed.factor), fit.match)
    return Fit(fit.matrix, match, field.scaled(fixed.factor))


def _from_landmarks(landmarks: Landmarks, model: Model, sections: list[Section]) -> PairAlignment:
    fixed, moving = (np.asarray(points, np.float64).reshape(-1, 2) for points in landmarks)
    shape = sections[0].shape
    matrix = landmark_matrix(landmarks, model=linear_part(model))
    bend: SplineField | None = None
    if model == "elastic":
        spacing = max(shape) / _LANDMARK_CONTROLS
        left = moving - transform_points(matrix, fixed)
        control = control_shape(shape, spacing)
        bend = SplineField(fit_coefficients(fixed, left, np.ones(len(fixed)), control, spacing, stiffness=1e-2), spacing)
    sure = MatchQuality(z=np.inf, lead=np.inf, agreement=1.0, overlap=1.0)
    return PairAlignment(matrix=matrix, field=bend, model=model, fixed_shape=shape, moving_shape=sections[1].shape, match=sure)


def _refined(fixed: Section, moving: Section, coarse: Candidate, model: LinearModel, *, precise: bool = True) -> Fit:
    """Refine level by level; a level that makes the agreement worse is not taken."""
    matrix = coarse.matrix
    level = (thumbnail_factor(fixed.image.shape, moving.image.shape) + 1) // 2
    for factor in dict.fromkeys((level, 1)):
        target, image = comparable_channels(shrink(fixed.image, factor), floor=FAINT), shrink(moving.image, factor)
        start = scaled(matrix, 1 / factor)
        refined = refine(target, image, start, model=model, tolerance=_NEARLY if factor == 1 else _ROUGHLY)
        before, after = (_agreement(target, image, m) for m in (start, refined))
        if after >= before:
            matrix = scaled(refined, factor)
        agreed = max(before, after)
    if precise:
        matrix = _precise(target, fixed.image, moving.image, matrix, model, agreed=agreed)
    return Fit(matrix, match_quality(fixed.image, moving.image, matrix))


def _precise(
    target: Channels, fixed: FloatArray, moving: FloatArray, matrix: Matrix, model: LinearModel, *, agreed: float
) -> Matrix:
    """Take the last steps, unless the images agree less after them than before."""
    polished = polish(fixed, moving, matrix, model=model)
    return polished if _agreement(target, moving, polished) > agreed - _GIVEN_UP else matrix


def _agreement(target: Channels, image: FloatArray, matrix: Matrix, field: SplineField | None = None) -> float:
    return combined_agreement(overlay(target, image, matrix, field=field).agreement)


def _feature_hints(fixed: Section, moving: Section) -> list[Matrix]:
    if fixed.features is None or moving.features is None or fixed.stride != moving.stride:
        return []
    return feature_hints(offset_scores(fixed.features, moving.features), fixed.stride)


def _single(image: Any, name: str) -> Planes:
    planes = as_planes(image, name=name)
    if len(planes) != 1:
        raise InputError(
            f"The {name} has {len(planes)} planes", "a single plane", "Choose one plane, or use align_stack for a stack"
        )
    return planes
