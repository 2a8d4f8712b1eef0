"""Configs of segmentation: probes on scribbles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from napari_dinov3.progress import Job, part_of
from napari_dinov3.recipe.task_config import PLANES, TaskConfig

PerClass: TypeAlias = tuple[tuple[int, float], ...]
"""Label values with a number for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeConfig(TaskConfig):
    """Options of :class:`napari_dinov3.Probe`, trained on scribbles and applied to the same features.

    Weights and thresholds of classes are pairs of label value and number; a mapping is taken too. Where `refine` is above 0 the
    image goes in as well, and `axes`, `rgb`, `channel` and `level` say how its planes are taken.
    """

    task: ClassVar[str] = "probe"
    takes: ClassVar[tuple[str, ...]] = ("features", "scribbles")
    output: ClassVar[str] = "labels"
    head: Literal["kernel", "linear", "boosting", "forest", "prototypes", "decoder"] = "kernel"
    C: float | Literal["cv"] | None = None
    class_weight: Literal["balanced"] | PerClass | None = "balanced"
    prior: Literal["estimated", "scribbles"] = "estimated"
    thresholds: PerClass | None = None
    landmarks: int = 200
    max_samples: int = 20_000
    smooth_z: float = 0.0
    refine: float = 0.0
    median: int = 0
    loss: Literal["cross-entropy", "dice"] = "cross-entropy"
    epochs: int = 60
    device: str = "auto"
    rng: int = 0
    axes: str | None = None
    rgb: bool | None = None
    channel: int | tuple[int, ...] | None = None
    level: int = 0
    region: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("class_weight", "thresholds"):
            value = getattr(self, name)
            if isinstance(value, Mapping):  # JSON turns label values into text
                pairs = tuple((int(key) if str(key).isdecimal() else key, number) for key, number in value.items())
                object.__setattr__(self, name, pairs)
        TaskConfig.__post_init__(self)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Features and scribbles, and the image too where its edges decide."""
        return (*self.takes, "image") if self.refine > 0 else self.takes

    @property
    def arguments(self) -> dict[str, Any]:
        """Options for :class:`napari_dinov3.Probe` itself."""
        return _for_probe(self.options())

    def steps(self, *inputs: Any) -> Job[Any]:
        """Train, then label every pixel."""
        from napari_dinov3.image import as_planes
        from napari_dinov3.segment.probe import Probe

        features, scribbles, *image = inputs
        how = {name: getattr(self, name) for name in PLANES}
        planes = as_planes(image[0], **how) if image else None
        painted = painted_on(features, scribbles, region=self.region)
        probe = yield from part_of(Probe(**self.arguments).fit_steps(features, painted), start=0, span=50, total=100)
        return (yield from part_of(probe.predict_steps(features, image=planes), start=50, span=50, total=100))

    def fit_expression(self, features: str = "features", scribbles: str = "scribbles") -> str:
        """Write the training alone as Python."""
        words = [f"head={self.head!r}"]
        changed = _for_probe(self.options(changed_only=True))
        words += [f"{name}={value!r}" for name, value in changed.items() if name != "head"]
        return f"nd.Probe({', '.join(words)}).fit({features}, {scribbles})"

    def predict_arguments(self, features: str = "features", image: str = "image") -> str:
        """Write the arguments of ``predict`` as Python: the features, and the image where its edges decide."""
        if self.refine == 0:
            return features
        changed = self.options(changed_only=True)
        how = "".join(f", {name}={value!r}" for name, value in changed.items() if name in PLANES)
        return f"{features}, image=nd.as_planes({image}{how})" if how else f"{features}, image={image}"

    def _expression(self, names: tuple[str, ...]) -> str:
        return f"{self.fit_expression(*names[:2])}.predict({self.predict_arguments(names[0], *names[2:])})"


def painted_on(features: Any, scribbles: Any, *, region: tuple[float, float, float, float] | None = None) -> Any:
    """Bring an opened file of scribbles to the pixels that features are of; nothing else of it is read.

    Parameters
    ----------
    features : FeatureMap
        Of a level or a region of an image.
    scribbles : ImageFile or array
        Of that part, or of the whole image at its finest level: then the part is cut out, and of a coarser level every pixel
        takes the scribble at its centre. Arrays are given back as they are.
    region : (4,) floats, optional
        First row, first column, end row and end column of the part, in pixels of the finest level.
    """
    from napari_dinov3.image import HasPlanes

    if not isinstance(scribbles, HasPlanes):
        return scribbles
    planes = scribbles.planes()
    if planes.shape[1:] == features.image_shape:
        return planes.data
    part = planes if region is None else planes.cropped(region)
    if any(have < wanted for have, wanted in zip(part.shape[1:], features.image_shape, strict=True)):
        return planes.data  # which the probe refuses with both sizes
    rows, cols = (
        ((np.arange(wanted) + 0.5) * have / wanted).astype(int)
        for have, wanted in zip(part.shape[1:], features.image_shape, strict=True)
    )
    return part.data[:, rows][:, :, cols]


def _for_probe(options: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not an option of the probe, and write pairs as mappings."""
    chosen = {name: value for name, value in options.items() if name not in PLANES}
    return {name: _as_mapping(value) if name in ("class_weight", "thresholds") else value for name, value in chosen.items()}


def _as_mapping(value: Any) -> Any:
    return (dict(value) or None) if isinstance(value, tuple) else value
