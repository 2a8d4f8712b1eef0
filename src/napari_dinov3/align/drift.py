"""The common frame: what the links leave open, and how the user wants it.

Links say how sections lie on each other, not where the whole lies, and small errors of one sign bend a long stack. Four
answers: move all sections as little as possible (default), keep the first where it is, hold chosen sections at known poses
(anchors), or take away only the jitter and keep the slow trend, which in curved tissue is anatomy and not drift.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.links import Link
from napari_dinov3.align.quality import MatchQuality
from napari_dinov3.align.transforms import LinearModel, fit_matrix, nearest, point_grid
from napari_dinov3.geometry import Matrix, transform_points

Drift = Literal["minimum", "first", "trend", "median", "mean"]
DRIFTS: tuple[Drift, ...] = get_args(Drift)
TEMPLATES: dict[str, Literal["mean", "median"]] = {"mean": "mean", "median": "median"}
TREND_SECTIONS = 10.0
_CERTAIN = 1e6


def centred(transforms: npt.NDArray[np.float64], shape: tuple[int, int], *, model: LinearModel) -> npt.NDArray[np.float64]:
    """Choose the common frame in which the sections move least.

    Parameters
    ----------
    transforms : (N, 3, 3) float64
        Common frame to section.
    shape : (2,) ints
        Rows and columns.
    model : {"translation", "rigid", "similarity", "affine"}
        Of the sections; the frame itself is only shifted and turned, so that nothing changes in size.

    Returns
    -------
    transforms : (N, 3, 3) float64
        The same, seen from the new frame.
    """
    points = point_grid(shape, max(1.0, min(shape) / 4))
    back = np.concatenate([transform_points(np.linalg.inv(t), points) for t in transforms])
    freedom: LinearModel = "translation" if model == "translation" else "rigid"
    return np.asarray(transforms @ fit_matrix(np.tile(points, (len(transforms), 1)), back, model=freedom))


def keeping_trend(
    transforms: npt.NDArray[np.float64],
    shape: tuple[int, int],
    *,
    model: LinearModel,
    positions: npt.NDArray[np.float64] | None = None,
    width: float = TREND_SECTIONS,
) -> npt.NDArray[np.float64]:
    """Correct the jitter between sections only; slow movement along the stack stays as it was.

    Parameters
    ----------
    transforms : (N, 3, 3) float64
        Common frame to section.
    shape : (2,) ints
        Rows and columns.
    model : {"translation", "rigid", "similarity", "affine"}
        Of the sections.
    positions : (N,) float64, optional
        Index of each section in the stack; consecutive by default.
    width : float
        Sections (standard deviation of a Gaussian) over which movement counts as trend.
    """
    at = np.arange(len(transforms), dtype=np.float64) if positions is None else positions
    near = np.exp(-0.5 * ((at[:, None] - at[None, :]) / width) ** 2)
    # A local straight line, not a local mean: a mean pulls a steady movement towards the middle at both ends.
    out = np.empty_like(transforms)
    for z in range(len(transforms)):
        design = np.stack([np.ones_like(at), at - at[z]], axis=1)
        weighted = design * near[z][:, None]
        level = np.linalg.lstsq(weighted.T @ design, weighted.T @ transforms.reshape(-1, 9), rcond=None)[0][0]
        out[z] = transforms[z] @ np.linalg.inv(nearest(level.reshape(3, 3), model, shape))
    return out


def anchor_links(anchors: Mapping[int, Matrix], place: Mapping[int, int]) -> list[Link]:
    """Tie sections to known poses.

    Parameters
    ----------
    anchors : mapping of int to (3, 3) float64
        Section index to its pose, aligned frame to section.
    place : mapping of int to int
        Section index to node; node 0 is the aligned frame itself.

    Returns
    -------
    links : list of Link
        From node 0, beyond doubt.
    """
    sure = MatchQuality(z=np.inf, lead=np.inf, agreement=1.0, overlap=1.0)
    return [Link(0, place[z], np.asarray(pose, np.float64), sure, strength=_CERTAIN) for z, pose in anchors.items() if z in place]
