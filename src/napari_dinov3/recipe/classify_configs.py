"""Configs of objects and of classification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from napari_dinov3.progress import Job
from napari_dinov3.recipe.task_config import PLANES, TaskConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectsConfig(TaskConfig):
    """Options of :func:`napari_dinov3.objects_from_labels`."""

    task: ClassVar[str] = "objects"
    takes: ClassVar[tuple[str, ...]] = ("labels",)
    output: ClassVar[str] = "objects"
    method: Literal["components", "watershed"] = "components"
    across: Literal["planes", "stack"] = "planes"
    classes: tuple[int, ...] | None = None
    threshold: float = 0.5
    connectivity: Literal["faces", "corners"] = "faces"
    landscape: Literal["distance", "probability"] = "distance"
    seeds: Literal["h-maxima", "peaks"] = "h-maxima"
    depth: float | None = None
    min_distance: int = 5
    min_size: float = 0.0
    max_size: float | None = None
    size_unit: Literal["pixel", "world"] = "pixel"
    fill_holes: float | Literal["all"] = 0.0
    clear_border: Literal["none", "sides", "all"] = "none"
    axes: str | None = None
    rgb: bool | None = None
    channel: int | None = None
    level: int = 0

    def steps(self, *inputs: Any) -> Job[Any]:
        """Make objects of classes or of a probability."""
        from napari_dinov3.objects.instances import objects_from_labels_steps

        return (yield from objects_from_labels_steps(*inputs, **self.options()))

    def _expression(self, names: tuple[str, ...]) -> str:
        return self._call("nd.objects_from_labels", *names)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureConfig(TaskConfig):
    """Options of :func:`napari_dinov3.measure_objects`.

    `intensity` says whether an image goes in, `probability` whether the probability that the objects were made of does.
    """

    task: ClassVar[str] = "measure"
    takes: ClassVar[tuple[str, ...]] = ("objects",)
    output: ClassVar[str] = "table"
    intensity: bool = True
    probability: bool = False
    axes: str | None = None
    rgb: bool | None = None
    channel: int | tuple[int, ...] | None = None
    level: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The objects, and what they are measured in."""
        return ("objects", *(("image",) if self.intensity else ()), *(("labels",) if self.probability else ()))

    def steps(self, *inputs: Any) -> Job[Any]:
        """Measure every object."""
        from napari_dinov3.objects.table import measure_objects_steps

        given = dict(zip(self.inputs, inputs, strict=True))
        how = {name: value for name, value in self.options().items() if name in PLANES}
        return (yield from measure_objects_steps(given["objects"], given.get("image"), probability=given.get("labels"), **how))

    def _expression(self, names: tuple[str, ...]) -> str:
        given = dict(zip(self.inputs, names, strict=True))
        images = (given["image"],) if self.intensity else ()
        soft = (f"probability={given['labels']}",) if self.probability else ()
        return self._call("nd.measure_objects", given["objects"], *images, *soft, skip=("intensity", "probability"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyObjectsConfig(TaskConfig):
    """Options of :func:`napari_dinov3.classify_objects`; examples and names are pairs, the classifier is a file."""

    task: ClassVar[str] = "classify_objects"
    takes: ClassVar[tuple[str, ...]] = ("features", "objects")
    output: ClassVar[str] = "object_classes"
    examples: tuple[tuple[int, int], ...] = ()
    classifier: str | None = None
    head: Literal["auto", "logistic", "prototypes"] = "auto"
    C: float = 10.0
    names: tuple[tuple[int, str], ...] = ()

    def steps(self, *inputs: Any) -> Job[Any]:
        """Classify every object."""
        from napari_dinov3.objects.classifier import classify_objects_steps

        return (yield from classify_objects_steps(*inputs, **self.options()))

    def _expression(self, names: tuple[str, ...]) -> str:
        return self._call("nd.classify_objects", *names)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintClassesConfig(TaskConfig):
    """Make a labels image of the classes of objects: :func:`napari_dinov3.paint_classes`."""

    task: ClassVar[str] = "paint_classes"
    takes: ClassVar[tuple[str, ...]] = ("object_classes", "objects")
    output: ClassVar[str] = "class_labels"

    def steps(self, *inputs: Any) -> Job[Any]:
        """Give every object the number of its class."""
        from napari_dinov3.objects.classifier import paint_classes_steps

        return (yield from paint_classes_steps(*inputs))

    def _expression(self, names: tuple[str, ...]) -> str:
        return self._call("nd.paint_classes", *names)
