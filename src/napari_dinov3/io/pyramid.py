"""Coarser levels of a large plane, made while the plane passes by in bands: nothing but a band is ever in memory.

Each level has half the rows and columns of the one before, a last odd one left out; images are averaged, labels keep every other
id, for an average of ids is another id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

LARGE = 4096  # planes with a longer side than this get coarser levels
_COARSEST = 1024
BAND = 2048  # rows at a time; even, so that bands halve without overlap


def level_sizes(rows: int, cols: int) -> list[tuple[int, int]]:
    """List rows and columns of every level, the finest first; only that one for a plane that is not large."""
    sizes = [(rows, cols)]
    if max(rows, cols) <= LARGE:
        return sizes
    while max(sizes[-1]) > _COARSEST and min(sizes[-1]) > 1:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes


def halved(band: npt.NDArray[Any], *, labels: bool) -> npt.NDArray[Any]:
    """Halve rows and columns (the first two axes) in the type they have.

    Parameters
    ----------
    band : (rows, cols[, colours]) array
        Of any number type.
    labels : bool
        Whether the numbers are ids.
    """
    rows, cols = band.shape[0] // 2 * 2, band.shape[1] // 2 * 2
    if labels or band.dtype == bool:
        return band[:rows:2, :cols:2]
    wide = np.float64 if band.dtype.itemsize > 4 else np.float32
    corners = (band[row:rows:2, col:cols:2].astype(wide) for row in (0, 1) for col in (0, 1))
    total: Any = sum(corners)
    mean = total / 4
    half: npt.NDArray[Any] = (np.rint(mean) if band.dtype.kind in "iu" else mean).astype(band.dtype)
    return half


def bands(plane: Any, exact: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Read a plane band by band: the first row of each, and its pixels as they are to be stored."""
    for row in range(0, plane.shape[0], BAND):
        yield row, exact(np.ascontiguousarray(plane[row : row + BAND]))
