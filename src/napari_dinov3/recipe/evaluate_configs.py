"""Configs of measuring, of comparing, and of work on many files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from napari_dinov3.progress import Job
from napari_dinov3.recipe.task_config import TaskConfig

_PLANES = ("axes", "rgb", "channel", "level")  # labels are of the whole image, so no region


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig(TaskConfig):
    """Options of :func:`napari_dinov3.evaluate.evaluate_segmentation`."""

    task: ClassVar[str] = "evaluate"
    takes: ClassVar[tuple[str, ...]] = ("labels", "reference")
    output: ClassVar[str] = "scores"
    tolerance: float = 2.0
    spacing: tuple[float, float] | None = None
    unit: str = "pixel"
    ignore_label: int | Literal["auto"] | None = "auto"
    pairing: Literal["same", "overlap"] = "same"

    def steps(self, *inputs: Any) -> Job[Any]:
        """Measure plane by plane."""
        from napari_dinov3.evaluate.segmentation import evaluate_segmentation_steps

        return (yield from evaluate_segmentation_steps(*inputs, **self.options()))

    def _expression(self, names: tuple[str, ...]) -> str:
        return self._call("nd.evaluate.evaluate_segmentation", *names)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateObjectsConfig(TaskConfig):
    """Options of :func:`napari_dinov3.evaluate.object_scores`."""

    task: ClassVar[str] = "evaluate_objects"
    takes: ClassVar[tuple[str, ...]] = ("reference", "labels")
    output: ClassVar[str] = "scores"
    across: Literal["planes", "stack"] = "planes"

    def steps(self, *inputs: Any) -> Job[Any]:
        """Compare plane by plane, or the stack as a whole."""
        from napari_dinov3.evaluate.object_metrics import object_scores_steps

        return (yield from object_scores_steps(*inputs, **self.options()))

    def _expression(self, names: tuple[str, ...]) -> str:
        return self._call("nd.evaluate.object_scores", *names)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig(TaskConfig):
    """Options of :func:`napari_dinov3.evaluate.compare_backbones`."""

    task: ClassVar[str] = "compare"
    takes: ClassVar[tuple[str, ...]] = ("image", "scribbles")
    output: ClassVar[str] = "comparison"
    backbones: tuple[str, ...] = ("filter-bank",)
    heads: tuple[Literal["kernel", "linear", "boosting", "forest", "prototypes"], ...] = ("linear", "kernel")
    strides: tuple[int | None, ...] = (None,)
    folds: int = 5
    max_planes: int = 20
    memory_gb: float = 2.0
    axes: str | None = None
    rgb: bool | None = None
    channel: int | tuple[int, ...] | None = None
    level: int = 0

    def steps(self, *inputs: Any) -> Job[Any]:
        """Embed the labelled planes with each backbone, and cross-validate each head."""
        from napari_dinov3.evaluate.backbones import compare_backbones_steps
        from napari_dinov3.image import as_planes

        image, labels = inputs
        how = {name: getattr(self, name) for name in _PLANES}
        options = {name: value for name, value in self.options().items() if name not in _PLANES}
        return (yield from compare_backbones_steps(as_planes(image, **how), labels, **options))

    def _expression(self, names: tuple[str, ...]) -> str:
        return self._call("nd.evaluate.compare_backbones", *names)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyImagesConfig(TaskConfig):
    """Options of :func:`napari_dinov3.classify_images`."""

    task: ClassVar[str] = "classify_images"
    output: ClassVar[str] = "classes"
    paths: ClassVar[tuple[str, ...]] = ("images",)
    images: str
    backbone: str = "auto"
    stride: int | None = None
    size: int = 512
    pooling: Literal["auto", "cls", "cls+mean", "mean", "mean+std"] = "auto"
    colour: Literal["auto", "grey", "rgb"] = "auto"
    channel: int | None = None
    C: float = 1.0
    class_weight: Literal["balanced"] | None = None
    scaling: Literal["standardize", "none"] = "standardize"
    folds: int = 5
    rng: int = 0

    def steps(self, *inputs: Any) -> Job[Any]:
        """Embed, cross-validate and train."""
        from napari_dinov3.recipe.image_run import classify_images_steps

        return (yield from classify_images_steps(**self.options()))

    def _expression(self, names: tuple[str, ...]) -> str:
        return self._call("nd.classify_images", repr(self.images), skip=("images",))


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictImagesConfig(TaskConfig):
    """Options of :func:`napari_dinov3.predict_images`."""

    task: ClassVar[str] = "predict_images"
    output: ClassVar[str] = "predictions"
    paths: ClassVar[tuple[str, ...]] = ("model", "images")
    model: str
    images: tuple[str, ...]

    def steps(self, *inputs: Any) -> Job[Any]:
        """Embed new images as those of the model, and classify them."""
        from napari_dinov3.recipe.image_run import predict_images_steps

        return (yield from predict_images_steps(self.model, self.images))

    def _expression(self, names: tuple[str, ...]) -> str:
        return f"nd.predict_images({self.model!r}, {list(self.images)!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyProbeConfig(TaskConfig):
    """Options of :func:`napari_dinov3.apply_probe`."""

    task: ClassVar[str] = "apply_probe"
    output: ClassVar[str] = "batch"
    paths: ClassVar[tuple[str, ...]] = ("probe", "images", "folder")
    probe: str
    images: tuple[str, ...]
    folder: str
    probabilities: bool = False
    ending: Literal[".ome.tif", ".zarr"] = ".ome.tif"
    channel: int | None = None
    level: int = 0
    memory_gb: float = 2.0

    def steps(self, *inputs: Any) -> Job[Any]:
        """Label every file."""
        from napari_dinov3.recipe.batch import apply_probe_steps

        return (yield from apply_probe_steps(**self.options()))

    def _expression(self, names: tuple[str, ...]) -> str:
        places = (repr(self.probe), repr(list(self.images)), repr(self.folder))
        return self._call("nd.apply_probe", *places, skip=("probe", "images", "folder"))
