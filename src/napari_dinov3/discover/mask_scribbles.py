"""Turn a mask into scribbles: sure foreground and sure background, nothing along the outline."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BACKGROUND, FOREGROUND = 1, 2
_CORE = 0.5


def mask_to_scribbles(mask: npt.NDArray[np.bool_], *, margin: float) -> npt.NDArray[np.uint8]:
    """Label what lies well inside and well outside of a mask.

    Parameters
    ----------
    mask : (H, W) bool
        Of one plane.
    margin : float
        Pixels along outlines that stay unlabelled. A piece, of the mask or of the rest, that is thinner keeps its inner half.

    Returns
    -------
    scribbles : (H, W) uint8
        1 background, 2 foreground, 0 unlabelled; all 0 where the mask is empty or full.
    """
    scribbles = np.zeros(mask.shape, np.uint8)
    if mask.any() and not mask.all():
        scribbles[_core(~mask, margin)] = BACKGROUND
        scribbles[_core(mask, margin)] = FOREGROUND
    return scribbles


def _core(part: npt.NDArray[np.bool_], margin: float) -> npt.NDArray[np.bool_]:
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(part)
    pieces, count = ndimage.label(part)
    deepest = np.zeros(count + 1)
    np.maximum.at(deepest, pieces.ravel(), depth.ravel())
    core: npt.NDArray[np.bool_] = part & (depth > np.minimum(margin, _CORE * deepest)[pieces])
    return core
