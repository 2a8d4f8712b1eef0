"""Configs of alignment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from napari_dinov3.progress import Job, Progress
from napari_dinov3.recipe.task_config import PLANES, TaskConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignConfig(TaskConfig):
    """Options of :func:`napari_dinov3.align_stack`."""

    task: ClassVar[str] = "align"
    takes: ClassVar[tuple[str, ...]] = ("image",)
    output: ClassVar[str] = "alignment"
    model: Literal["translation", "rigid", "similarity", "affine", "elastic"] = "rigid"
    backbone: str | None = "auto"
    reach: tuple[int, ...] = (1, 2, 3)
    rotation: float | None = None
    drift: Literal["minimum", "first", "trend", "median", "mean"] = "minimum"
    anchors: tuple[int, ...] | None = None
    exclude: tuple[int, ...] = ()
    include: tuple[int, ...] = ()
    weights: str | None = None
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    source: Literal["auto", "folder", "cache", "mirror", "meta"] = "auto"
    axes: str | None = None
    rgb: bool | None = None
    channel: int | tuple[int, ...] | None = None
    level: int = 0
    region: tuple[float, float, float, float] | None = None

    def steps(self, *inputs: Any) -> Job[Any]:
        """Estimate one transform a plane."""
        from napari_dinov3.align.stack import align_stack_steps

        return (yield from align_stack_steps(*inputs, **self.options()))

    def _expression(self, names: tuple[str, ...]) -> str:
        return self._call("nd.align_stack", *names)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyConfig(TaskConfig):
    """Move the planes of an image by the transforms of an alignment."""

    task: ClassVar[str] = "apply"
    takes: ClassVar[tuple[str, ...]] = ("alignment", "image")
    output: ClassVar[str] = "aligned"
    order: int | None = None
    fill: float = 0.0
    channel: int | tuple[int, ...] | None = None
    level: int = 0
    region: tuple[float, float, float, float] | None = None

    def steps(self, *inputs: Any) -> Job[Any]:
        """Resample every plane; a lazy stack stays lazy."""
        from napari_dinov3.image import as_planes

        alignment, image = inputs
        yield Progress(0, 1, "Move the planes")
        planes = as_planes(image, channel=self.channel, level=self.level, region=self.region)
        return alignment.apply(planes.data, order=self.order, fill=self.fill)

    def _expression(self, names: tuple[str, ...]) -> str:
        changed = self.options(changed_only=True)
        how = "".join(f", {name}={value!r}" for name, value in changed.items() if name in PLANES)
        return self._call(f"{names[0]}.apply", f"nd.as_planes({names[1]}{how}).data", skip=PLANES)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairConfig(TaskConfig):
    """Options of :func:`napari_dinov3.align_pair`."""

    task: ClassVar[str] = "align-pair"
    takes: ClassVar[tuple[str, ...]] = ("fixed", "moving")
    output: ClassVar[str] = "pair"
    model: Literal["translation", "rigid", "similarity", "affine", "elastic"] = "affine"
    backbone: str | None = "auto"
    rotation: float | None = None
    landmarks: tuple[tuple[tuple[float, float], ...], tuple[tuple[float, float], ...]] | None = None
    landmark_use: Literal["start", "fit"] = "start"
    weights: str | None = None
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    source: Literal["auto", "folder", "cache", "mirror", "meta"] = "auto"

    def steps(self, *inputs: Any) -> Job[Any]:
        """Find how the second image lies on the first."""
        from napari_dinov3.align.pairwise import align_pair_steps

        return (yield from align_pair_steps(*inputs, **self.options()))

    def _expression(self, names: tuple[str, ...]) -> str:
        return self._call("nd.align_pair", *names)
