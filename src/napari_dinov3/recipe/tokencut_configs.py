"""Configs of discovery without labels: TokenCut, repeated cuts and clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from napari_dinov3.progress import Job
from napari_dinov3.recipe.task_config import PLANES, TaskConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class _GraphConfig(TaskConfig):
    """Options of the graph of patches."""

    takes: ClassVar[tuple[str, ...]] = ("features",)
    tau: float | Literal["auto"] = "auto"
    scaling: Literal["auto", "none", "standardize"] = "auto"
    weighting: Literal["binary", "cosine"] = "binary"
    epsilon: float = 1e-5
    max_patches: int | Literal["auto"] = "auto"
    memory_gb: float = 2.0
    window: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _MaskConfig(_GraphConfig):
    """Options of masks out of its eigenvectors."""

    opening: float = 0.0
    closing: float = 0.0
    fill_holes: bool = False
    min_area: int = 0
    invert: bool = False
    click: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCutConfig(_MaskConfig):
    """Options of :func:`napari_dinov3.tokencut`, and how to take the planes of its image.

    Those are `axes`, `rgb`, `channel`, `level` and `region`. None for `bipartition`, `side`, `component` and `refine` leaves the
    choice to the function, where it depends on `tau`.
    """

    task: ClassVar[str] = "tokencut"
    output: ClassVar[str] = "cut"
    vectors: int = 2
    stack: Literal["planes", "matched", "joint"] = "planes"
    bipartition: Literal["mean", "median", "gap", "otsu"] | None = None
    side: Literal["seed", "border", "bright", "dark", "click"] | None = None
    component: Literal["seed", "largest", "all"] | None = None
    refine: float | None = None
    axes: str | None = None
    rgb: bool | None = None
    channel: int | tuple[int, ...] | None = None
    level: int = 0
    region: tuple[float, float, float, float] | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The features, and the image too where brightness or edges decide."""
        refined = self.tau == "auto" if self.refine is None else self.refine > 0
        return ("features", "image") if self.side in ("bright", "dark") or refined else ("features",)

    @property
    def arguments(self) -> dict[str, Any]:
        """Options for the function itself; those left to it are left out."""
        return {name: value for name, value in self.options().items() if value is not None and name not in PLANES}

    def steps(self, *inputs: Any) -> Job[Any]:
        """Cut every plane in two."""
        from napari_dinov3.discover.tokencut import tokencut_steps
        from napari_dinov3.image import as_planes

        features, *image = inputs
        how = {name: getattr(self, name) for name in PLANES}
        return (yield from tokencut_steps(features, image=as_planes(image[0], **how) if image else None, **self.arguments))

    def _expression(self, names: tuple[str, ...]) -> str:
        how = "".join(f", {name}={value!r}" for name, value in self.options(changed_only=True).items() if name in PLANES)
        images = (f"image=nd.as_planes({name}{how})" if how else f"image={name}" for name in names[1:])
        return self._call("nd.tokencut", names[0], *images, skip=PLANES)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskCutConfig(_MaskConfig):
    """Options of :func:`napari_dinov3.maskcut`: objects one after the other by repeated cuts."""

    task: ClassVar[str] = "maskcut"
    output: ClassVar[str] = "objects"
    rounds: int = 3
    least_share: float = 0.01
    vectors: int = 2
    stack: Literal["planes", "matched", "joint"] = "joint"
    bipartition: Literal["mean", "median", "gap", "otsu"] = "mean"
    side: Literal["seed", "border", "click"] = "seed"
    component: Literal["seed", "largest", "all"] = "seed"

    def steps(self, *inputs: Any) -> Job[Any]:
        """Find objects one after the other."""
        from napari_dinov3.discover.many import maskcut_steps

        return (yield from maskcut_steps(inputs[0], **self.options()))

    def _expression(self, names: tuple[str, ...]) -> str:
        return self._call("nd.maskcut", names[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class ClustersConfig(_GraphConfig):
    """Options of :func:`napari_dinov3.spectral_clusters`: all patches divided into clusters."""

    task: ClassVar[str] = "clusters"
    output: ClassVar[str] = "objects"
    clusters: int | Literal["auto"] = "auto"
    most: int = 10
    rng: int = 0
    stack: Literal["planes", "joint"] = "joint"

    def steps(self, *inputs: Any) -> Job[Any]:
        """Divide all patches."""
        from napari_dinov3.discover.many import spectral_clusters_steps

        return (yield from spectral_clusters_steps(inputs[0], **self.options()))

    def _expression(self, names: tuple[str, ...]) -> str:
        return self._call("nd.spectral_clusters", names[0])
