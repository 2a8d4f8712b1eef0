"""Look at an alignment: sections across the stack before and after, neighbours as a checkerboard, a grid that is bent along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.channels import grey
from napari_dinov3.align.pair_alignment import PairAlignment
from napari_dinov3.align.stack_alignment import StackAlignment
from napari_dinov3.geometry import transform_points
from napari_dinov3.image import Planes
from napari_dinov3.progress import Job, Progress

SQUARES = 8  # along the longer side of a checkerboard
_LINES = 12  # of a grid, along the longer side
_PIECES = 36  # of a grid line
_MOST_PIECES = 400_000  # of a whole grid; long stacks get a coarser one
_SHOWN_PLANES = 600


@dataclass(frozen=True, slots=True, eq=False)
class Strips:
    """A row of the stack, plane over plane, before and after.

    Parameters
    ----------
    before, after : (planes, cols) uint8
        At one brightness.
    row : int
        Which row.
    depth : float
        Height of a plane over the width of a pixel, in the world.
    """

    before: npt.NDArray[np.uint8]
    after: npt.NDArray[np.uint8]
    row: int
    depth: float


def strip_steps(planes: Planes, alignment: StackAlignment, row: int) -> Job[Strips]:
    """Cut a stack along a row, before and after; planes are read one at a time, and one row of each is interpolated (linearly).

    Parameters
    ----------
    planes : Planes
        The stack as it was.
    alignment : StackAlignment
    row : int
        Of the aligned frame.
    """
    from scipy import ndimage

    cols = planes.shape[2]
    line = np.stack([np.full(cols, row), np.arange(cols)], axis=1).astype(np.float64)
    step = max(1, -(-len(planes) // _SHOWN_PLANES))
    chosen = range(0, len(planes), step)
    before, after = (np.zeros((len(chosen), cols), np.float32) for _ in range(2))
    for done, z in enumerate(chosen):
        yield Progress(done, len(chosen), f"plane {z + 1} of {len(planes)}")
        plane = _luminance(planes.plane(z))
        before[done] = plane[min(row, len(plane) - 1)]
        at = transform_points(alignment.transforms[z], line)
        bend = alignment.field_of(z)
        at = at if bend is None else at + bend.at(line)
        after[done] = ndimage.map_coordinates(plane, at.T, order=1, mode="constant", cval=0)
    depth = planes.spacing[0] * step / planes.spacing[2]
    shown = _one_brightness(before, after)
    return Strips(shown[0], shown[1], row, depth)


def squares(shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Mark every other square of an image."""
    side = max(1, max(shape) // SQUARES)
    row, col = np.arange(shape[0])[:, None] // side, np.arange(shape[1])[None, :] // side
    return np.asarray((row + col) % 2 == 0)


def neighbours_steps(alignment: StackAlignment, planes: Planes) -> Job[Any]:
    """Mix every plane of an aligned stack with the next one, in squares; the last one stays as it is.

    Parameters
    ----------
    alignment : StackAlignment
    planes : Planes
        The stack as it was; a lazy one gives a lazy result.
    """
    import dask.array

    whole = planes.data if planes.lazy else dask.array.from_array(planes.data, chunks=(1, *planes.data.shape[1:]))
    aligned = alignment.apply(whole)
    mask = squares(alignment.shape)
    mask = mask[..., None] if planes.rgb else mask
    mixed = dask.array.where(mask, aligned, dask.array.concatenate([aligned[1:], aligned[-1:]]))
    if planes.lazy:
        return mixed
    out = np.empty(mixed.shape, mixed.dtype)
    for z in range(len(planes)):
        yield Progress(z, len(planes), f"planes {z} and {z + 1}")
        out[z] = mixed[z].compute(scheduler="synchronous")
    return out


def pair_board_steps(fixed: Planes, moving: Planes, pair: PairAlignment) -> Job[npt.NDArray[np.float32]]:
    """Mix a fixed image with the moved one, in squares, each at its own brightness: their ranges may have nothing in common."""
    yield Progress(0, 1, "Checkerboard")
    first, second = (grey(image) for image in (fixed.plane(0), pair.apply(moving.plane(0))))
    mixed = np.where(squares((first.shape[0], first.shape[1])), first, second)
    return np.nan_to_num(mixed)[None].astype(np.float32)


def grid_steps(alignment: StackAlignment | PairAlignment) -> Job[npt.NDArray[np.float64]]:
    """Draw a straight grid on what was moved and carry it along; see :func:`grid_vectors` and :func:`pair_grid`."""
    yield Progress(0, 1, "Grid")
    return pair_grid(alignment) if isinstance(alignment, PairAlignment) else grid_vectors(alignment)


def grid_vectors(alignment: StackAlignment) -> npt.NDArray[np.float64]:
    """Draw a straight grid on every raw section and carry it along: what is bent was bent by the alignment.

    Returns
    -------
    vectors : (N, 2, 3) float64
        Start and direction of each piece, ``(plane, row, col)`` of the aligned stack in pixels, as napari's vectors.
    """
    starts, ends = _grid(alignment.shape, len(alignment))
    out = []
    for z in range(len(alignment)):
        first, last = (alignment.map_points(np.insert(points, 0, z, axis=1)) for points in (starts, ends))
        out.append(np.stack([first, last - first], axis=1))
    return np.concatenate(out)


def pair_grid(pair: PairAlignment) -> npt.NDArray[np.float64]:
    """Draw a straight grid on the moving image and carry it along, in pixels of the fixed image: ``(N, 2, 2)``."""
    starts, ends = _grid(pair.moving_shape, 1)
    first, last = pair.map_back(starts), pair.map_back(ends)
    return np.stack([first, last - first], axis=1)


def _grid(shape: tuple[int, int], sections: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    step = max(shape) / _LINES
    pieces = int(np.clip(_MOST_PIECES / (sections * 2 * _LINES), 4, _PIECES))
    rows, cols = (np.arange(step / 2, side, step) for side in shape)
    along_row, along_col = (np.linspace(0, side - 1, pieces + 1) for side in shape)
    flat = np.stack(np.meshgrid(rows, along_col, indexing="ij"), axis=-1)
    upright = np.stack(np.meshgrid(cols, along_row, indexing="ij"), axis=-1)[..., ::-1]
    starts, ends = ([lines[:, part].reshape(-1, 2) for lines in (flat, upright)] for part in (slice(None, -1), slice(1, None)))
    return np.concatenate(starts), np.concatenate(ends)


def _luminance(plane: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    if plane.ndim == 3:
        return np.asarray(plane[..., :3].mean(axis=-1), np.float32)
    return np.asarray(plane, np.float32)


def _one_brightness(*images: npt.NDArray[np.float32]) -> list[npt.NDArray[np.uint8]]:
    """Show all at the range of the first."""
    finite = images[0][np.isfinite(images[0])]
    low, high = (float(v) for v in np.percentile(finite, (0.5, 99.5))) if finite.size else (0.0, 1.0)
    scale = 255 / (high - low) if high > low else 0.0
    return [np.clip((np.nan_to_num(image, nan=low) - low) * scale, 0, 255).astype(np.uint8) for image in images]
