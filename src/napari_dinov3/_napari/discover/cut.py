"""TokenCut in a viewer: one solve, then masks, boxes and eigenvectors as layers that follow the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from napari_dinov3._napari import script
from napari_dinov3._napari.jobs import FeatureRequest, features_steps
from napari_dinov3._napari.layers import Placement
from napari_dinov3._napari.session import Session
from napari_dinov3.discover.cut import SolvedPlanes
from napari_dinov3.discover.similarities import Similarities, similarities
from napari_dinov3.discover.tokencut import TokenCut, tokencut_steps
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.image import Planes
from napari_dinov3.progress import Job, Progress, part_of
from napari_dinov3.recipe import TokenCutConfig
from napari_dinov3.wording import counted

MASKS_SHARE = 0.25  # of the memory budget; larger stacks of masks are made when looked at
MASK_FIELDS = ("bipartition", "side", "component", "opening", "closing", "fill_holes", "min_area", "invert", "refine", "click")


@dataclass(slots=True, eq=False)
class Discovery:
    """A solved cut and what it was made from; it outlives the panel.

    Parameters
    ----------
    request : FeatureRequest
        The image and the features.
    config : TokenCutConfig
        Of the cut, and of the masks that are shown.
    features : FeatureMap
        What was cut.
    cut : TokenCut
        With the masks that are shown.
    lines : list of str
        Python that makes the features.
    similar : Similarities
        How alike its patches are.
    extras : dict
        Python that makes what else was asked for: boxes, scribbles, objects and so on, in that order.
    """

    request: FeatureRequest
    config: TokenCutConfig
    features: FeatureMap
    cut: TokenCut
    lines: list[str]
    similar: Similarities
    extras: dict[str, list[str]] = field(default_factory=dict)

    @property
    def script(self) -> str:
        """Python that makes the masks that are shown."""
        source = self.request.source
        return script.script_of([*self.lines, cut_line(self.config, script.axes_of(source)), masks_line(source.placement)])

    def masked_by(self, masks: Mapping[str, Any]) -> TokenCutConfig:
        """Give the settings of this cut with other masks."""
        return replace(self.config, **masks)


def masks_line(placement: Placement) -> str:
    """Write how masks are added."""
    return script.add_line(
        "labels",
        "cut.masks.astype('uint8')",
        name=f"{placement.name} discovered",
        placement=placement,
        transform=placement.pixel_transform(),
    )


def clear_text(cut: TokenCut) -> str:
    """Say where the cut is clear, as the end of a sentence; of a single image whose cut is not, other sentences say why."""
    decided = int(cut.clear.sum())
    if len(cut) == 1:
        return "; the cut is clear" if decided else ""
    return f"; the cut is clear in {decided} of {counted(len(cut), 'plane')}"


def unclear_text(cut: TokenCut) -> str:
    """Say where nothing stands out, although the cut is well posed; empty where there is nothing to say."""
    count = int((cut.well_posed & ~cut.clear).sum())
    if not count:
        return ""
    where = "" if len(cut) == 1 else f" in {counted(count, 'plane')}"
    return f"Nothing stands out{where}: the patches are spread as in noise of the same texture."


def side_text(cut: TokenCut) -> str:
    """Say where the border did not tell which side is the object; empty where there is nothing to say.

    Where nothing stands out there is no object, and its side is nobody's question.
    """
    guessed = int((cut.clear & ~cut.surrounded).sum()) if cut.options.side == "border" else 0
    if not guessed:
        return ""
    where = "Both" if len(cut) == 1 else f"In {guessed} of {counted(len(cut), 'plane')} both"
    return f"{where} sides reach the border, so which one is the object is a guess: Invert turns it."


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


Discovered = tuple[FeatureMap, TokenCut, Any, Similarities]


def discover_steps(session: Session, request: FeatureRequest, config: TokenCutConfig, solved: SolvedPlanes) -> Job[Discovered]:
    """Extract features, solve the cut, make the masks.

    Parameters
    ----------
    session : Session
        Where features are cached.
    request : FeatureRequest
        The image and the features.
    config : TokenCutConfig
        Of the cut and the masks.
    solved : SolvedPlanes
        What a cancelled run has solved; planes that are finished are added.

    Returns
    -------
    features : FeatureMap
    cut : TokenCut
    masks : (planes, rows, cols) bool
        numpy, or lazy dask for a large stack.
    similar : Similarities
        How alike the patches are.
    """
    features = yield from part_of(features_steps(session, request), start=0, span=40, total=100)
    solve = tokencut_steps(features, image=request.source.planes, resume=solved, **config.arguments)
    cut = yield from part_of(solve, start=40, span=50, total=100)
    masks = yield from part_of(masks_steps(cut, request.config.memory_gb), start=90, span=10, total=100)
    return features, cut, masks, similarities(features, scaling=config.scaling)


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
