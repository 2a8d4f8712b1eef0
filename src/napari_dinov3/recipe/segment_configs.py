"""Configs of segmentation: probes on scribbles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from napari_dinov3.progress import Job, part_of
from napari_dinov3.recipe.task_config import TaskConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeConfig(TaskConfig):
    """Options of :class:`napari_dinov3.Probe`, trained on scribbles and applied to the same features."""

    task: ClassVar[str] = "probe"
    takes: ClassVar[tuple[str, ...]] = ("features", "scribbles")
    output: ClassVar[str] = "labels"
    head: Literal["kernel", "linear", "boosting", "forest", "prototypes"] = "kernel"
    C: float | None = None
    class_weight: Literal["balanced"] | None = "balanced"
    prior: Literal["estimated", "scribbles"] = "estimated"
    landmarks: int = 200
    max_samples: int = 20_000
    rng: int = 0

    def steps(self, *inputs: Any) -> Job[Any]:
        """Train, then label every pixel."""
        from napari_dinov3.segment.probe import Probe

        features, scribbles = inputs
        probe = yield from part_of(Probe(**self.options()).fit_steps(features, scribbles), start=0, span=50, total=100)
        return (yield from part_of(probe.predict_steps(features), start=50, span=50, total=100))

    def _expression(self, names: tuple[str, ...]) -> str:
        return f"{self._call('nd.Probe', f'head={self.head!r}', skip=('head',))}.fit({names[0]}, {names[1]}).predict({names[0]})"
