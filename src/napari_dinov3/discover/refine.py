"""Pull the outline of a mask to the edges of the image.

A mask made of patches is right to within a patch or the reach of its features. A guided filter replaces it by what follows
the image's own edges; see :mod:`napari_dinov3.features.guided_filter`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.features.guided_filter import SMOOTHNESS, guide_for, guided

BoolArray = npt.NDArray[np.bool_]

RADIUS = 32.0
_SPECK = 20  # pixels; smaller pieces are noise of the image, which the filter follows too
_ROUNDS = 2  # the first round brings the outline near an edge, the second lets it settle there


def refine_mask(mask: BoolArray, plane: npt.NDArray[Any], *, radius: float, smoothness: float = SMOOTHNESS) -> BoolArray:
    """Refine a mask on its image.

    Parameters
    ----------
    mask : (H, W) bool
        Mask to refine.
    plane : (H, W) or (H, W, channels) array
        The image. Colours, and intensities, are first reduced to the one direction that best tells the mask from the rest.
    radius : float
        Half the side of the filter's windows in pixels: how far the outline may move.
    smoothness : float
        Contrast inside a window, in standard deviations of the plane, below which the image does not move the outline.

    Returns
    -------
    refined : (H, W) bool
        Unchanged where the mask is empty or full. Pieces of fewer than 20 pixels are dropped.
    """
    if mask.shape != plane.shape[:2]:
        raise InputError(
            f"A mask of shape {mask.shape} on an image of shape {plane.shape[:2]}",
            "the same rows and columns",
            "Pass the image the features were extracted from",
        )
    if not mask.any() or mask.all():
        return mask
    pixels = np.nan_to_num(np.asarray(plane, np.float32))
    for _ in range(_ROUNDS):
        if mask.any() and not mask.all():
            mask = guided(mask, guide_for(mask, pixels), radius=radius, smoothness=smoothness) > 0.5
    return _without_specks(mask)


def _without_specks(mask: BoolArray) -> BoolArray:
    from scipy import ndimage

    labels, _ = ndimage.label(mask)
    large = np.bincount(labels.ravel()) >= _SPECK
    large[0] = False
    kept: BoolArray = large[labels]
    return kept
