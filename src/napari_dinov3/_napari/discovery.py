"""TokenCut in a viewer: one solve, then masks, boxes and eigenvectors as layers that follow the settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3._napari.jobs import FeatureRequest, features_steps
from napari_dinov3._napari.layers import Placement
from napari_dinov3._napari.session import Session
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.image import Planes
from napari_dinov3.progress import Job, Progress, part_of
from napari_dinov3.recipe import TokenCutConfig
from napari_dinov3.segment.tokencut import TokenCut, tokencut_steps

MASKS_SHARE = 0.25  # of the memory budget; larger stacks of masks are made when looked at
MASK_FIELDS = ("bipartition", "side", "component", "opening", "closing", "fill_holes", "min_area", "invert", "refine", "click")


def mask_options(config: TokenCutConfig) -> dict[str, Any]:
    """Pick the options that need no new solve."""
    return {name: value for name, value in config.arguments.items() if name in MASK_FIELDS}


def cut_line(config: TokenCutConfig, axes: str) -> str:
    """Write the cut as Python. The split, the side, the pieces and the outlines are always named: their defaults depend on tau.

    Parameters
    ----------
    config : TokenCutConfig
        How the cut is made.
    axes : str
        Of the array called ``image``.
    """
    always = ("bipartition", "side", "component", "refine")
    named = {*config.options(changed_only=True), *always}
    options = {name: value for name, value in config.arguments.items() if name in named}
    words = [f"image=nd.as_planes(image, axes={axes!r})", *(f"{name}={value!r}" for name, value in options.items())]
    return f"cut = nd.tokencut(features, {', '.join(words)})"


def discover_steps(session: Session, request: FeatureRequest, config: TokenCutConfig) -> Job[tuple[FeatureMap, TokenCut, Any]]:
    """Extract features, solve the cut, make the masks.

    Returns
    -------
    features : FeatureMap
    cut : TokenCut
    masks : (planes, rows, cols) bool
        numpy, or lazy dask for a large stack.
    """
    features = yield from part_of(features_steps(session, request), start=0, span=40, total=100)
    solve = tokencut_steps(features, image=request.source.planes, **config.arguments)
    cut = yield from part_of(solve, start=40, span=50, total=100)
    masks = yield from part_of(masks_steps(cut, request.config.memory_gb), start=90, span=10, total=100)
    return features, cut, masks


def remask_steps(cut: TokenCut, image: Planes, config: TokenCutConfig, memory_gb: float) -> Job[tuple[TokenCut, Any]]:
    """Make other masks from a solved cut."""
    yield Progress(0, 100, "masks")
    changed = cut.with_masks(image=image, **mask_options(config))
    masks = yield from part_of(masks_steps(changed, memory_gb), start=50, span=50, total=100)
    return changed, masks


def masks_steps(cut: TokenCut, memory_gb: float) -> Job[Any]:
    """Bring masks to full size: in memory, or lazily where they are large."""
    height, width = cut.cut.image_shape
    if len(cut) * height * width > MASKS_SHARE * memory_gb * 1e9:
        import dask
        import dask.array

        yield Progress(1, 1, "masks are drawn when they are looked at")
        make = dask.delayed(cut.mask, pure=False)
        return dask.array.stack([dask.array.from_delayed(make(i), (height, width), bool) for i in range(len(cut))])
    masks = np.empty((len(cut), height, width), bool)
    for index in range(len(cut)):
        yield Progress(index, len(cut), f"mask of plane {index + 1} of {len(cut)}")
        masks[index] = cut.mask(index)
    return masks


def box_shapes(cut: TokenCut, placement: Placement) -> list[npt.NDArray[np.float64]]:
    """Write the boxes as corners in the layer's own coordinates, for a shapes layer.

    Returns
    -------
    corners : list of (4, ndim) float64
        One rectangle a box, around whole pixels.
    """
    shapes = []
    for plane, boxes in enumerate(cut.boxes):
        for row0, col0, row1, col1 in boxes:
            corners = np.zeros((4, placement.ndim))
            corners[:, -2:] = [(row0, col0), (row0, col1), (row1, col1), (row1, col0)]
            corners[:, -2:] -= 0.5
            if placement.stack is not None:
                corners[:, placement.stack] = plane
            shapes.append(corners)
    return shapes
