"""Labels of patches from a mask of pixels: a patch is positive when any of its pixels is (max-pooling).

This is the rule of the reference experiments. A patch here is the ``stride`` x ``stride`` square of pixels about its centre;
where the image ends inside the last patch, the pixels that are there decide.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError


def patch_labels(mask: npt.ArrayLike, grid: tuple[int, int], stride: int) -> npt.NDArray[Any]:
    """Max-pool a mask or a labels image on the patch grid.

    Parameters
    ----------
    mask : (planes, H, W) or (H, W) bool or integer array-like
        Pixels. In a labels image the highest label in a patch wins.
    grid : (2,) ints
        Rows and columns of patches; they must cover the mask, the last ones possibly in part.
    stride : int
        Pixels a patch is wide, 1 or more.

    Returns
    -------
    labels : (planes, rows, cols) or (rows, cols), the mask's dtype
        One value a patch.

    Raises
    ------
    InputError
        If the mask is not bool or integer, has another number of axes, or the grid does not cover it.
    """
    pixels = np.asarray(mask)
    if pixels.ndim not in (2, 3) or pixels.dtype.kind not in "bui" or 0 in pixels.shape:
        raise InputError(
            f"A mask of shape {pixels.shape} and type {pixels.dtype}",
            "(planes, H, W) or (H, W), bool or integer labels, with at least one pixel",
            "Threshold or index the mask first",
        )
    needed = tuple(-(-length // stride) for length in pixels.shape[-2:]) if stride >= 1 else None
    if needed != tuple(grid):
        raise InputError(
            f"A grid of {tuple(grid)} patches of {stride} pixels for a mask of {pixels.shape[-2:]} pixels",
            f"a stride of 1 or more and a grid of {needed}" if needed else "a stride of 1 pixel or more",
            "Use the grid and stride of the features of the same image",
        )
    edges = [np.arange(count) * stride for count in grid]
    rows = np.maximum.reduceat(pixels, edges[0], axis=-2)
    return np.asarray(np.maximum.reduceat(rows, edges[1], axis=-1))
