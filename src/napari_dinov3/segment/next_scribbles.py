"""Where to paint next: the regions a probe is least sure of, apart from each other and from what is painted.

Conventions. Places are (plane, row, col) in pixels of the image, the middle of a square of `size` pixels. A single uncertain
pixel is noise of a border; the mean over a square finds regions where a stroke teaches something.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError

DEFAULT_SIZE = 48
_LEAST = 1e-3  # a region less uncertain than this needs no stroke


@dataclass(frozen=True, slots=True)
class UncertainPlace:
    """One region.

    Parameters
    ----------
    plane, row, col : int
        Its middle.
    uncertainty : float
        Mean over the region, 0..1.
    """

    plane: int
    row: int
    col: int
    uncertainty: float


def most_uncertain(
    uncertainty: Mapping[int, npt.NDArray[np.float32]],
    *,
    count: int = 10,
    size: int = DEFAULT_SIZE,
    painted: Mapping[int, npt.NDArray[np.bool_]] | None = None,
) -> tuple[UncertainPlace, ...]:
    """Find the regions where a stroke helps most.

    Parameters
    ----------
    uncertainty : mapping from plane to (H, W) float32
        0 where the probe is sure, 1 where two classes are equally likely (:meth:`Probe.uncertainty_plane`); NaN counts as 0.
    count : int
        Most regions to give.
    size : int
        Side of a region in pixels; regions of a plane lie at least this far apart.
    painted : mapping from plane to (H, W) bool, optional
        Pixels that carry a scribble already: they count as sure.

    Returns
    -------
    places : tuple of UncertainPlace
        The most uncertain first; fewer than `count` where the probe is sure everywhere else.

    Notes
    -----
    Box filter, then greedy choice of the largest mean with everything nearer than `size` left out: O(pixels) a region.
    """
    if count < 1 or size < 1:
        raise InputError(f"count={count}, size={size}", "at least one region of one pixel", "Use the defaults")
    from scipy.ndimage import uniform_filter

    found: list[UncertainPlace] = []
    for plane, values in uncertainty.items():
        clean = np.nan_to_num(np.asarray(values, np.float32), nan=0.0)
        if painted is not None and plane in painted:
            clean = np.where(painted[plane], np.float32(0), clean)
        means = uniform_filter(clean, size, mode="constant")
        for _ in range(count):
            row, col = np.unravel_index(int(means.argmax()), means.shape)
            if means[row, col] < _LEAST:
                break
            found.append(UncertainPlace(int(plane), int(row), int(col), float(means[row, col])))
            means[max(0, row - size + 1) : row + size, max(0, col - size + 1) : col + size] = 0
    found.sort(key=lambda place: -place.uncertainty)
    return tuple(found[:count])
