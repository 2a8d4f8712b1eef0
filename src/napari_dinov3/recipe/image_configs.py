"""Configs of opening, embedding, viewing and writing images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from napari_dinov3.progress import Job, Progress
from napari_dinov3.recipe.task_config import TaskConfig

if TYPE_CHECKING:
    from napari_dinov3.backbones.options import BackboneOptions

_PART = ("channel", "level", "region")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadConfig(TaskConfig):
    """Options of :func:`napari_dinov3.read`."""

    task: ClassVar[str] = "read"
    output: ClassVar[str] = "image"
    paths: ClassVar[tuple[str, ...]] = ("path",)
    path: str
    series: int = 0
    dataset: str | None = None
    axes: str | None = None
    spacing: float | tuple[float, ...] | None = None
    units: str | tuple[str, ...] | None = None
    kind: Literal["image", "labels"] | None = None
    stack_axis: Literal["z", "t"] = "z"

    def steps(self, *inputs: Any) -> Job[Any]:
        """Open the file; pixels are read later, when asked for."""
        from napari_dinov3.io import read

        yield Progress(0, 1, f"Open {self.path}")
        return read(**self.options())

    def _expression(self, names: tuple[str, ...]) -> str:
        return self._call("nd.read", repr(self.path), skip=("path",))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractConfig(TaskConfig):
    """Options of :func:`napari_dinov3.extract`."""

    task: ClassVar[str] = "extract"
    takes: ClassVar[tuple[str, ...]] = ("image",)
    output: ClassVar[str] = "features"
    backbone: str = "auto"
    stride: int | None = None
    percentiles: tuple[float, float] = (0.5, 99.5)
    tile_size: int | None = None
    batch_size: int | None = None
    memory_gb: float = 2.0
    folder: str | None = None
    cache: str | None = None
    axes: str | None = None
    rgb: bool | None = None
    channel: int | tuple[int, ...] | None = None
    level: int = 0
    region: tuple[float, float, float, float] | None = None
    scale: Literal[1, 2, 4] | None = None
    layers: Literal["last", "four"] | tuple[int, ...] = "last"
    shifts: Literal[1, 2, 4] = 1
    flips: Literal["none", "horizontal", "all"] = "none"
    colours: Literal["own", "neighbours"] = "own"
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    weights: str | None = None
    source: Literal["auto", "folder", "cache", "mirror", "meta"] = "auto"

    @property
    def network(self) -> BackboneOptions:
        """What of these options is of the network alone."""
        from napari_dinov3.backbones.options import split_options

        return split_options(self.options())[0]

    def steps(self, *inputs: Any) -> Job[Any]:
        """Embed every plane."""
        from napari_dinov3.features.extract import extract_steps

        return (yield from extract_steps(*inputs, **self.options()))

    def _expression(self, names: tuple[str, ...]) -> str:
        return self._call("nd.extract", *names)


@dataclass(frozen=True, slots=True, kw_only=True)
class PcaConfig(TaskConfig):
    """Options of :meth:`napari_dinov3.FeatureMap.pca`."""

    task: ClassVar[str] = "pca"
    takes: ClassVar[tuple[str, ...]] = ("features",)
    output: ClassVar[str] = "colours"
    components: tuple[int, int, int] = (0, 1, 2)
    foreground: Literal["none", "smaller", "larger", "positive", "negative"] = "none"

    def steps(self, *inputs: Any) -> Job[Any]:
        """Colour the patches."""
        yield Progress(0, 1, "Colour by principal components")
        return inputs[0].pca(**self.options())

    def _expression(self, names: tuple[str, ...]) -> str:
        return self._call(f"{names[0]}.pca")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityConfig(TaskConfig):
    """Options of :meth:`napari_dinov3.FeatureMap.similarity`; coordinates are image pixels."""

    task: ClassVar[str] = "similarity"
    takes: ClassVar[tuple[str, ...]] = ("features",)
    output: ClassVar[str] = "heat"
    plane: int = 0
    row: float = 0.0
    col: float = 0.0

    def steps(self, *inputs: Any) -> Job[Any]:
        """Compare every patch with one."""
        yield Progress(0, 1, "Compare with the chosen patch")
        return inputs[0].similarity(**self.options())

    def _expression(self, names: tuple[str, ...]) -> str:
        return self._call(f"{names[0]}.similarity")


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteConfig(TaskConfig):
    """Options of :func:`napari_dinov3.write`; spacing, units and place come from the second input.

    Where that is an image of which only a part was worked on, `channel`, `level` and `region` say which.
    """

    task: ClassVar[str] = "write"
    takes: ClassVar[tuple[str, ...]] = ("labels", "image")
    output: ClassVar[str] = ""
    paths: ClassVar[tuple[str, ...]] = ("path",)
    path: str
    axes: str | None = None
    kind: Literal["image", "labels"] | None = None
    name: str | None = None
    channel_names: tuple[str, ...] = ()
    overwrite: bool = False
    channel: int | tuple[int, ...] | None = None
    level: int = 0
    region: tuple[float, float, float, float] | None = None

    def steps(self, *inputs: Any) -> Job[Any]:
        """Write a file, plane by plane."""
        from napari_dinov3.image import as_planes
        from napari_dinov3.io import write_steps

        data, like = inputs
        how = {name: value for name, value in self.options(changed_only=True).items() if name in _PART}
        options = {name: value for name, value in self.options().items() if name not in ("path", *_PART)}
        return (yield from write_steps(self.path, data, like=as_planes(like, **how) if how else like, **options))

    def _expression(self, names: tuple[str, ...]) -> str:
        changed = self.options(changed_only=True)
        how = "".join(f", {name}={value!r}" for name, value in changed.items() if name in _PART)
        like = f"nd.as_planes({names[1]}{how})" if how else names[1]
        return self._call("nd.write", repr(self.path), names[0], f"like={like}", skip=("path", *_PART))
