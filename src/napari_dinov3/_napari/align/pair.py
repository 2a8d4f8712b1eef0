"""Two layers on top of each other: read them, start from landmarks or from where they lie, move one, and say how far off it is.

The layers may differ in modality, size and pixel size. Everything is in pixels of their own; the result lies where the fixed
layer lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3._napari.compat import unwrap
from napari_dinov3._napari.layers import Source, plane_at, read_layer, world_from_index
from napari_dinov3.align.pair_alignment import PairAlignment
from napari_dinov3.align.transforms import corners
from napari_dinov3.errors import InputError
from napari_dinov3.geometry import affine, transform_points
from napari_dinov3.progress import Job, Progress, part_of
from napari_dinov3.recipe import PairConfig
from napari_dinov3.wording import counted

Points2 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class AlignedPair:
    """What the panel keeps of a pair.

    Parameters
    ----------
    pair : PairAlignment
        How the moving layer lies on the fixed one.
    fixed, moving : Source
        One plane of each layer, and its place.
    config : PairConfig
        How.
    lines : tuple of str
        Python lines from the layers to ``pair``.
    """

    pair: PairAlignment
    fixed: Source
    moving: Source
    config: PairConfig
    lines: tuple[str, ...]


def one_plane(layer: Any, point: Sequence[float], *, level: int = 0, region: Sequence[float] | None = None) -> Source:
    """Read the plane of a layer that the sliders stand at.

    Parameters
    ----------
    layer : napari Image or Labels
    point : floats
        World position of the sliders.
    level, region
        As in :func:`~napari_dinov3._napari.layers.read_layer`.
    """
    source = read_layer(layer, point=point, level=level, region=region)
    planes, placement = source.planes, source.placement
    if placement.stack is None:
        return source
    index = plane_at(source, point)
    fixed = tuple(sorted((*placement.fixed, (placement.stack, index))))
    matrix = planes.world_from_pixel @ affine((1, 1, 1), (index, 0, 0))
    single = replace(planes, data=planes.data[index : index + 1], axes="yx", world_from_pixel=matrix)
    return Source(single, replace(placement, axes="yx", stack=None, fixed=fixed))


def in_one_unit(fixed: Source, moving: Source) -> Source:
    """Give the moving image its pixel size in the unit of the fixed one; the same size where either has none."""
    ours, theirs = fixed.placement.units[-1], moving.placement.units[-1]
    if str(ours) == str(theirs):
        return moving
    spacing = moving.planes.spacing
    try:
        factor = float((1 * theirs).to(ours).magnitude)
        spacing = (spacing[0] * factor, spacing[1] * factor, spacing[2] * factor)
    except Exception:  # pint raises its own kinds for units that cannot be compared: pixels, or a text
        spacing = fixed.planes.spacing
    return Source(replace(moving.planes, spacing=spacing, units=fixed.planes.units), moving.placement)


def world_from_data(layer: Any) -> npt.NDArray[np.float64]:
    """(ndim + 1, ndim + 1): the full transform of any layer."""
    ndim = int(layer.ndim)
    matrix = np.eye(ndim + 1)
    matrix[:-1, -1] = layer.data_to_world(np.zeros(ndim))
    for axis in range(ndim):
        matrix[:-1, axis] = np.asarray(layer.data_to_world(np.eye(ndim)[axis])) - matrix[:-1, -1]
    return matrix


def points_in(points: npt.ArrayLike, matrix: npt.NDArray[np.float64], source: Source) -> Points2:
    """Find where points of another layer lie in the pixels of an image.

    Parameters
    ----------
    points : (N, ndim) array-like
        In that layer's own coordinates.
    matrix : (ndim + 1, ndim + 1) float64
        Of that layer, to the world.
    source : Source
        The image.

    Returns
    -------
    points : (N, 2) float64
        ``(row, col)``.
    """
    world = transform_points(matrix, points)
    missing = source.placement.ndim - world.shape[1]
    if missing > 0:
        world = np.concatenate([np.zeros((len(world), missing)), world], axis=1)
    back = np.asarray(np.linalg.inv(world_from_index(source.placement)), np.float64)
    return transform_points(back, world[:, -source.placement.ndim :])[:, -2:]


def landmarks_of(layers: tuple[Any, Any], fixed: Source, moving: Source) -> tuple[Points2, Points2]:
    """Read landmarks: the first point of one layer is the same place as the first of the other, and so on.

    Parameters
    ----------
    layers : two napari Points layers
        On the fixed and on the moving image.
    fixed, moving : Source
        The images.

    Raises
    ------
    InputError
        If they do not hold equally many points, or none.
    """
    counts = [len(layer.data) for layer in layers]
    if counts[0] != counts[1] or not counts[0]:
        names = [unwrap(layer).name for layer in layers]
        raise InputError(
            f"{names[0]!r} holds {counted(counts[0], 'point')} and {names[1]!r} {counts[1]}",
            "as many on the moving image as on the fixed one, in the same order, and at least one",
            "Add or remove points",
        )
    first, second = (
        points_in(layer.data, world_from_data(layer), source) for layer, source in zip(layers, (fixed, moving), strict=True)
    )
    return first, second


def from_places(fixed: Source, moving: Source) -> tuple[Points2, Points2]:
    """Make landmarks of where the layers lie now: the corners of the fixed image, in either."""
    ours = corners((fixed.planes.shape[1], fixed.planes.shape[2]))
    index = np.zeros((4, fixed.placement.ndim))
    for axis, at in fixed.placement.fixed:
        index[:, axis] = at
    index[:, -2:] = ours
    return ours, points_in(index, world_from_index(fixed.placement), moving)


def as_option(landmarks: tuple[Points2, Points2]) -> Any:
    """Write landmarks as plain numbers, for a config."""
    return tuple(tuple((round(float(r), 4), round(float(c), 4)) for r, c in points) for points in landmarks)


def pair_steps(fixed: Source, moving: Source, config: PairConfig) -> Job[tuple[PairAlignment, Any]]:
    """Align a pair and resample the moving image.

    Returns
    -------
    pair : PairAlignment
    moved : (1, rows, cols[, 3]) array or None
        None where the pair is refused.
    """
    pair = yield from part_of(config.steps(fixed.planes, moving.planes), start=0, span=90, total=100)
    if pair.refused:
        return pair, None
    yield Progress(90, 100, "Moving the image")
    return pair, pair.apply(moving.planes.plane(0))[None]


def moved_steps(pair: PairAlignment, moving: Source) -> Job[Any]:
    """Resample the moving image: ``(1, rows, cols[, 3])``."""
    yield Progress(0, 1, "Moving the image")
    return pair.apply(moving.planes.plane(0))[None]


def pair_text(kept: AlignedPair) -> str:
    """Say how well a pair matches."""
    match = kept.pair.match
    if not np.isfinite(match.z):
        return "The landmarks alone decided; the pixels were not compared."
    return (
        f"Score {match.z:.1f} (accepted from 6.5), {match.lead:.1f} times the best wrong offset (from 1.4); correlation "
        f"{match.agreement:.2f} over {match.overlap:.0%} of the fixed image."
    )


def landmark_text(kept: AlignedPair, landmarks: tuple[Points2, Points2]) -> str:
    """Say how far landmarks lie off, in pixels of the moving image and in its world.

    Parameters
    ----------
    kept : AlignedPair
    landmarks : two (N, 2) arrays
        In pixels of either image.
    """
    ours, theirs = landmarks
    step = np.asarray(kept.moving.planes.spacing[1:])
    unit = str(kept.moving.planes.units[-1])
    off = kept.pair.map_points(ours) - theirs
    pixels, world = np.linalg.norm(off, axis=1), np.linalg.norm(off * step, axis=1)
    parts = [
        f"{name} {_at(pixels, q):.2f} px ({_at(world, q):.3g} {unit})"
        for name, q in (("median", 50), ("90 %", 90), ("worst", 100))
    ]
    fitted = " It was fitted to landmarks, so this says how well they can be fitted." if kept.config.landmark_use == "fit" else ""
    return f"{len(ours)} landmarks, distance left: {', '.join(parts)}.{fitted}"


def _at(values: npt.NDArray[Any], percent: float) -> float:
    return float(np.percentile(values, percent))
