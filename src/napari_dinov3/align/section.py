"""One image as the matcher sees it: grey, reduced to a workable size, with its patch features."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.channels import FloatArray, grey, shrink, without_specks
from napari_dinov3.backbones.base import Backbone

WORKING_SIDE = 1024  # pixels on the long side; finer detail tells nothing more of where a section lies
STACK_SIDE = 640  # the same for the sections of a stack, each of which is compared several times
FEATURE_GRID = 64
SMALLEST_SIDE = 16


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """One image as the matcher sees it.

    Parameters
    ----------
    image : (rows, cols) float32
        Grey, reduced by `factor` for work; NaN where there is nothing.
    factor : int
        Full pixels a working pixel.
    shape : (2,) ints
        Full rows and columns.
    features : (rows, cols, dim) float32 or None
        Patch features, and `stride`: working pixels between patches.
    """

    image: FloatArray = field(repr=False)
    factor: int
    shape: tuple[int, int]
    features: FloatArray | None = field(default=None, repr=False)
    stride: float = 1.0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to align: too small, or without contrast."""
        return bool(self.lack)

    @property
    def lack(self) -> str:
        """What keeps the image from being aligned to anything; empty where nothing does."""
        rows, cols = self.image.shape
        finite = self.image[np.isfinite(self.image)]
        if min(rows, cols) < SMALLEST_SIDE:
            return f"is too small ({self.shape[0]} x {self.shape[1]} pixels; {SMALLEST_SIDE} a side needed)"
        if finite.size < SMALLEST_SIDE**2:
            return f"has too few pixels with a value ({finite.size}; {SMALLEST_SIDE**2} needed)"
        return "is of one brightness" if float(np.ptp(finite)) == 0.0 else ""


def chosen_network(backbone: str | Backbone | None, **options: Any) -> str | Backbone | None:
    """Build a named backbone with options of a network; where all are at their default it is left to be built by its name.

    Parameters
    ----------
    backbone : str, Backbone or None
        One that is built already stays as it is.
    **options
        ``weights``, ``device``, ``precision`` and ``source`` of
        :class:`~napari_dinov3.backbones.options.BackboneOptions`.

    Raises
    ------
    InputError
        If the backbone is no network and has none of these, or the weights are those of another one.
    """
    from napari_dinov3.backbones.options import BackboneOptions

    given = BackboneOptions(**options).given()
    if not given or not isinstance(backbone, str):
        return backbone
    from napari_dinov3.backbones.registry import load_backbone

    return load_backbone(backbone, **given)


def prepare_section(plane: npt.NDArray[Any], *, factor: int = 1, backbone: str | Backbone | None = "auto") -> Section:
    """Reduce a plane to what the matcher needs.

    Parameters
    ----------
    plane : (rows, cols) or (rows, cols, 3)
        Raw pixels.
    factor : int
        Full pixels a working pixel.
    backbone : str, Backbone or None
        Whose patch features to extract.
    """
    image = shrink(without_specks(grey(plane)), factor)
    section = Section(image, factor, (int(plane.shape[0]), int(plane.shape[1])))
    if backbone is None or section.empty:
        return section
    from napari_dinov3.backbones.registry import load_backbone
    from napari_dinov3.features.extract import extract
    from napari_dinov3.features.positional import for_matching

    model = load_backbone(backbone) if isinstance(backbone, str) else backbone
    reduce = max(1, round(max(image.shape) / (FEATURE_GRID * max(model.stride, 4))))
    small = shrink(image, reduce)
    if min(small.shape) < SMALLEST_SIDE:
        return section
    features = for_matching(extract(np.nan_to_num(small, nan=0.0), backbone=model), model)
    keep = max(1, int(np.ceil(max(features.grid) / FEATURE_GRID)))
    grid = _pool(features.plane(0), keep)
    return Section(image, factor, section.shape, grid, features.stride * reduce * keep)


def _pool(grid: FloatArray, factor: int) -> FloatArray:
    """Average features over blocks of patches, so that the grid stays small."""
    if factor == 1:
        return grid
    rows, cols = (n // factor for n in grid.shape[:2])
    blocks = grid[: rows * factor, : cols * factor].reshape(rows, factor, cols, factor, -1)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)
