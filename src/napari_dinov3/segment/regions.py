"""Regions of labelled pixels: what may stand on the two sides of a held-out test.

Neighbouring pixels of a stroke look alike, so a probe tested on pixels between those it was trained on seems better than it is.
A region is what hangs together of one class in one plane: strokes closer than two patches count as one. Paint that
covers much of a plane is cut along a grid of 4 x 4 tiles, so that dense masks can be held out in parts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.intp]

_NEAR = 2  # patches
_TILES = 4
FOLDS = 5


def label_regions(where: npt.NDArray[np.int64], codes: Ints, *, stride: float) -> Ints:
    """Tell the regions of labelled pixels apart.

    Parameters
    ----------
    where : (n, 4) ints
        Map, plane, row and column of each.
    codes : (n,) ints
        Class of each.
    stride : float
        Pixels between patches.

    Returns
    -------
    regions : (n,) ints
        Number of each pixel's region, from 0.
    """
    from scipy import ndimage

    regions = np.zeros((len(where), 3), np.intp)
    group = np.unique(np.column_stack([where[:, :2], codes]), axis=0, return_inverse=True)[1].ravel()
    for number in range(group.max() + 1):
        mine = np.flatnonzero(group == number)
        cells = (where[mine, 2:] // max(1, round(_NEAR * stride))).astype(np.intp)
        occupied = np.zeros(cells.max(axis=0) + 1, bool)
        occupied[cells[:, 0], cells[:, 1]] = True
        pieces = ndimage.label(occupied, structure=np.ones((3, 3)))[0][cells[:, 0], cells[:, 1]]
        regions[mine, 0], regions[mine, 1] = number, pieces
        regions[mine, 2] = _tiles(cells, pieces)
    return np.unique(regions, axis=0, return_inverse=True)[1].ravel().astype(np.intp)


def _tiles(cells: Ints, pieces: Ints) -> Ints:
    """Cut the pieces that reach over more than half of what is painted in a plane."""
    extent = np.ptp(cells, axis=0) + 1
    side = np.maximum(np.ceil(extent / _TILES), 1)
    tiles = np.zeros(len(cells), np.intp)
    for piece in np.unique(pieces):
        mine = pieces == piece
        if np.any(np.ptp(cells[mine], axis=0) + 1 > np.maximum(extent / 2, 2 * _TILES)):
            row, col = ((cells[mine] - cells.min(axis=0)) // side).astype(np.intp).T
            tiles[mine] = 1 + row * _TILES + col
    return tiles


def held_out(codes: Ints, regions: Ints, rng: np.random.Generator, *, folds: int = FOLDS) -> Ints | None:
    """Deal regions to folds, the same share of each class to each as far as its regions allow.

    Parameters
    ----------
    codes, regions : (n,) ints
        Class and region of each pixel.
    rng : numpy Generator
        Breaks ties.
    folds : int
        How many.

    Returns
    -------
    fold : (n,) ints or None
        In which fold each pixel is held out; None where a class has a single region, so that none can be held out.
    """
    fold = np.zeros(len(codes), np.intp)
    for code in np.unique(codes):
        mine = np.flatnonzero(codes == code)
        numbers, inverse, sizes = np.unique(regions[mine], return_inverse=True, return_counts=True)
        if len(numbers) < 2:
            return None
        filled, dealt = rng.random(folds), np.zeros(len(numbers), np.intp)  # below one pixel: which fold is filled first
        for region in np.lexsort((rng.random(len(numbers)), -sizes)):
            dealt[region] = filled.argmin()
            filled[dealt[region]] += sizes[region]
        fold[mine] = dealt[inverse.ravel()]
    return fold
