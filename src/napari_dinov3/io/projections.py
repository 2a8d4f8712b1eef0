"""Two views of a movie that show its cells: the mean, and how much each pixel goes along with its neighbours in time.

Both come from one pass over evenly spaced frames, made when a pixel of either is first asked for; memory is that of a few
frames. Local correlation is the mean Pearson correlation of a pixel's time course with those of its eight neighbours.

References
----------
Smith & Häusser 2010, Nature Neuroscience, doi:10.1038/nn.2620.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # the other four are the same pairs seen from the other side


def project(movie: Any, *, frames: int = 300) -> tuple[FloatArray, FloatArray]:
    """Average a movie, and correlate each pixel with its neighbours.

    Parameters
    ----------
    movie : (frames, rows, cols) array-like
        numpy or dask; read one frame at a time.
    frames : int
        How many, evenly spaced, are looked at.

    Returns
    -------
    mean, correlation : (rows, cols) float32
        Correlation is -1..1, and 0 where a pixel never changes.
    """
    count, rows, cols = movie.shape
    chosen = np.unique(np.linspace(0, count - 1, min(count, frames)).round().astype(int))
    first = np.asarray(movie[int(chosen[0])], dtype=np.float64)  # taken off, so that squares stay small
    total, squares = np.zeros((rows, cols)), np.zeros((rows, cols))
    products = np.zeros((len(_NEIGHBOURS), rows, cols))
    for index in chosen:
        frame = np.asarray(movie[int(index)], dtype=np.float64) - first
        total += frame
        squares += frame * frame
        for at, (row, col) in enumerate(_NEIGHBOURS):
            here, there = _pair(frame, row, col)
            _pair(products[at], row, col)[0][...] += here * there
    mean = total / len(chosen)
    spread = np.sqrt(np.maximum(squares / len(chosen) - mean * mean, 0))
    summed, counted = np.zeros((rows, cols)), np.zeros((rows, cols))
    for at, (row, col) in enumerate(_NEIGHBOURS):
        (m0, m1), (s0, s1) = _pair(mean, row, col), _pair(spread, row, col)
        covariance = _pair(products[at], row, col)[0] / len(chosen) - m0 * m1
        still = s0 * s1 <= 1e-12
        value = np.where(still, 0, covariance / np.where(still, 1, s0 * s1))
        for target, what in ((summed, value), (counted, 1.0)):
            for side in _pair(target, row, col):
                side += what
    return (mean + first).astype(np.float32), (summed / np.maximum(counted, 1)).astype(np.float32)


def _pair(image: npt.NDArray[Any], row: int, col: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Two views of an image: every pixel that has a neighbour at this offset, and that neighbour."""
    rows, cols = image.shape
    here = image[: rows - row, max(0, -col) : cols - max(0, col)]
    return here, image[row:, max(0, col) : cols - max(0, -col)]


class Projections:
    """The projections of a movie as lazy arrays; the first look at either makes both."""

    def __init__(self, movie: Any, *, frames: int = 300) -> None:
        self._movie, self._frames = movie, frames
        self._lock = threading.Lock()
        self._made: tuple[FloatArray, FloatArray] | None = None

    def lazy(self, which: int) -> Any:
        """See one of them as a dask array.

        Parameters
        ----------
        which : int
            0 the mean, 1 the local correlation.
        """
        import dask
        import dask.array

        return dask.array.from_delayed(dask.delayed(self._make, pure=True)(which), self._movie.shape[1:], np.float32)

    def _make(self, which: int) -> FloatArray:
        with self._lock:
            if self._made is None:
                self._made = project(self._movie, frames=self._frames)
        return self._made[which]
