"""Outlines of sets of pixels along the pixels' borders: exact, so that drawing them again gives the same pixels.

A pixel (row, col) covers row - 0.5 .. row + 0.5 here, so corners have half coordinates. Pixels that only touch at a corner
belong to different rings. Outer rings turn one way and holes the other (the sign of :func:`signed_area`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ring = npt.NDArray[np.float64]
_Corner = tuple[int, int]


def outline(pixels: npt.NDArray[np.int64]) -> list[Ring]:
    """Trace the outer rings of a set of pixels; holes are left out.

    Parameters
    ----------
    pixels : (n, 2) int64
        Row and column of each.

    Returns
    -------
    rings : list of (k, 2) float64
        Corners, the first not repeated.
    """
    return [ring for ring in trace(pixels) if signed_area(ring) > 0]


def trace(pixels: npt.NDArray[np.int64]) -> list[Ring]:
    """Trace every border of a set of pixels: outer rings with positive, holes with negative area.

    Parameters
    ----------
    pixels : (n, 2) int64
        Row and column of each.

    Returns
    -------
    rings : list of (k, 2) float64
        Corners where the border turns.
    """
    origin = pixels.min(axis=0) - 1
    mask = np.zeros(pixels.max(axis=0) - origin + 2, dtype=bool)
    mask[tuple((pixels - origin).T)] = True
    steps = _edges(mask)
    pending = dict.fromkeys((corner, heading) for corner, headings in steps.items() for heading in headings)
    rings = []
    while pending:
        start = (at, heading) = next(iter(pending))
        ring: list[_Corner] = []
        while not ring or (at, heading) != start:
            del pending[at, heading]
            ring.append(at)
            at = (at[0] + heading[0], at[1] + heading[1])
            # where two pixels touch at a corner, the right turn stays with the pixel
            heading = (heading[1], -heading[0]) if len(steps[at]) > 1 else steps[at][0]
        rings.append(_turns(np.array(ring, dtype=np.float64)) + origin - 0.5)
    return rings


def signed_area(ring: Ring) -> float:
    """Area inside a ring, in pixels; negative for a hole."""
    rows, cols = ring[:, 0], ring[:, 1]
    return float(np.sum(np.roll(rows, -1) * cols - rows * np.roll(cols, -1)) / 2)


def _edges(mask: npt.NDArray[np.bool_]) -> dict[_Corner, list[_Corner]]:
    """List the border steps from each corner; the set lies to the right of every step."""
    steps: dict[_Corner, list[_Corner]] = {}
    above = mask[1:-1, 1:-1] & ~mask[:-2, 1:-1]
    below = mask[1:-1, 1:-1] & ~mask[2:, 1:-1]
    left = mask[1:-1, 1:-1] & ~mask[1:-1, :-2]
    right = mask[1:-1, 1:-1] & ~mask[1:-1, 2:]
    # corner (r, c) is the upper left one of pixel (r, c)
    for borders, corner, heading in (
        (above, (1, 1), (0, 1)),
        (right, (1, 2), (1, 0)),
        (below, (2, 2), (0, -1)),
        (left, (2, 1), (-1, 0)),
    ):
        for row, col in np.argwhere(borders).tolist():
            steps.setdefault((row + corner[0], col + corner[1]), []).append(heading)
    return steps


def _turns(ring: Ring) -> Ring:
    """Leave out corners on a straight line."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    kept: Ring = ring[(before != after).any(axis=1)]
    return kept
