"""Shapes as outlines that can be bent: a rectangle or an ellipse that is moved elastically is neither any more."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["rectangle", "ellipse", "polygon", "path", "line"]
CLOSED = ("rectangle", "ellipse", "polygon")
_ELLIPSE_POINTS = 64
_EDGE = 8.0  # pixels between the points of a straight edge
_MOST_POINTS = 256  # along one edge


def outline(corners: npt.ArrayLike, kind: str) -> npt.NDArray[np.float64]:
    """Write a shape as a line of points close enough to be bent one by one.

    Parameters
    ----------
    corners : (N, ndim) array-like
        Of a rectangle or ellipse the four corners (of its box) in order, of anything else its points.
    kind : {"rectangle", "ellipse", "polygon", "path", "line"}
        What they are corners of.

    Returns
    -------
    points : (M, ndim) float64
        For a polygon (rectangle, ellipse, polygon) or for a path (path, line).
    """
    at = np.asarray(corners, np.float64)
    if kind == "ellipse":
        centre, down, right = at.mean(axis=0), (at[3] - at[0]) / 2, (at[1] - at[0]) / 2
        angle = np.linspace(0, 2 * np.pi, _ELLIPSE_POINTS, endpoint=False)[:, None]
        return np.asarray(centre + np.cos(angle) * right + np.sin(angle) * down)
    ends = np.roll(at, -1, axis=0) if kind in CLOSED else at[1:]
    edges = [_divided(first, last) for first, last in zip(at, ends, strict=kind in CLOSED)]
    return np.concatenate(edges if kind in CLOSED else [*edges, at[-1:]])


def _divided(first: npt.NDArray[np.float64], last: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Points from `first` on, without `last`."""
    count = int(np.clip(np.ceil(np.linalg.norm(last[-2:] - first[-2:]) / _EDGE), 1, _MOST_POINTS))
    return np.asarray(first + np.linspace(0, 1, count, endpoint=False)[:, None] * (last - first))
