"""Where results of patches lie."""

from __future__ import annotations

from typing import Any

from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.image import Planes, as_planes


def on_patches(features: FeatureMap, data: Any) -> Planes:
    """Place one value or colour a patch over the image, at the coarser spacing of the patches.

    Parameters
    ----------
    features : FeatureMap
        Whose patches they are.
    data : (planes, rows, cols) or (planes, rows, cols, 3) array
        Values.
    """
    colour = "s" if data.ndim == 4 else ""
    depth, row, col = features.spacing
    return as_planes(
        data[0] if features.axes == "yx" else data,
        axes=features.axes + colour,
        units=features.units,
        spacing=(depth, row * features.stride, col * features.stride),
        world_from_pixel=features.world_from_patch,
    )
