"""One frozen config per task: the keyword options of one public function, and how that task runs and reads as Python.

A config knows the names of its inputs and of its result, but no data. ``ExtractConfig(stride=4).to_python("image")`` is the
line ``features = nd.extract(image, stride=4)``; only options that differ from the defaults are written.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from napari_dinov3.errors import InputError
from napari_dinov3.progress import Job, Progress, part_of
from napari_dinov3.recipe.schema import check_value

_PLANES = ("axes", "rgb", "channel", "level")  # how the planes of an image are taken; options of as_planes


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskConfig:
    """Options of one task; the fields of a subclass mirror the keyword options of its function.

    Attributes
    ----------
    task : str
        Name in a recipe file.
    takes : tuple of str
        Usual names of what goes in, in the function's order; see `inputs`.
    output : str
        Usual name of the result; empty where there is none.
    """

    task: ClassVar[str] = ""
    takes: ClassVar[tuple[str, ...]] = ()
    output: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, annotation in _annotations(type(self)).items():
            value = check_value(getattr(self, name), annotation, f"{self.task}: {name}")
            object.__setattr__(self, name, value)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Usual names of what goes in with these options, in the function's order."""
        return self.takes

    def options(self, *, changed_only: bool = False) -> dict[str, Any]:
        """List the options by name.

        Parameters
        ----------
        changed_only : bool
            Leave out those that have their default value.
        """
        chosen = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not changed_only or field.default is dataclasses.MISSING or value != field.default:
                chosen[field.name] = value
        return chosen

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> TaskConfig:
        """Build a config from named options, such as those of a recipe file.

        Raises
        ------
        InputError
            For an unknown, missing or wrong option, naming it.
        """
        known = {field.name: field for field in dataclasses.fields(cls)}
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise InputError(
                f"{cls.task}: {', '.join(map(repr, unknown))} is not an option",
                f"options out of {', '.join(known) or 'none'}",
                "Remove it, or correct its name",
            )
        missing = [n for n, field in known.items() if field.default is dataclasses.MISSING and n not in options]
        if missing:
            raise InputError(f"{cls.task}: {', '.join(missing)} is missing", "a value for it", "Add this option")
        return cls(**options)

    def to_python(self, *inputs: str, output: str | None = None) -> str:
        """Write the task as a line of Python, with the package imported as ``nd``.

        Parameters
        ----------
        *inputs : str
            Expressions that take the place of the usual input names, in the same order.
        output : str, optional
            Name for the result; the usual one by default, nothing where empty.
        """
        names = (*inputs, *self.inputs[len(inputs) :])
        target = self.output if output is None else output
        return (f"{target} = " if target else "") + self._expression(names)

    def steps(self, *inputs: Any) -> Job[Any]:
        """Run the task on values in the order of `inputs`; yields progress, returns the result."""
        raise NotImplementedError

    def _expression(self, names: tuple[str, ...]) -> str:
        raise NotImplementedError

    def _call(self, function: str, *arguments: str, skip: tuple[str, ...] = ()) -> str:
        options = self.options(changed_only=True)
        words = [*arguments, *(f"{name}={value!r}" for name, value in options.items() if name not in skip)]
        return f"{function}({', '.join(words)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadConfig(TaskConfig):
    """Options of :func:`napari_dinov3.read`."""

    task: ClassVar[str] = "read"
    output: ClassVar[str] = "image"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCutConfig(TaskConfig):
    """Options of :func:`napari_dinov3.tokencut`, and how to take the planes of its image (`axes`, `rgb`, `channel`, `level`).

    None for `bipartition`, `side`, `component` and `refine` leaves the choice to the function, where it depends on `tau`.
    """

    task: ClassVar[str] = "tokencut"
    takes: ClassVar[tuple[str, ...]] = ("features",)
    output: ClassVar[str] = "cut"
    tau: float | Literal["auto"] = "auto"
    scaling: Literal["auto", "none", "standardize"] = "auto"
    weighting: Literal["binary", "cosine"] = "binary"
    epsilon: float = 1e-5
    vectors: int = 2
    max_patches: int | Literal["auto"] = "auto"
    memory_gb: float = 2.0
    stack: Literal["planes", "joint"] = "planes"
    bipartition: Literal["mean", "median", "gap", "otsu"] | None = None
    side: Literal["seed", "border", "bright", "dark", "click"] | None = None
    component: Literal["seed", "largest", "all"] | None = None
    opening: float = 0.0
    closing: float = 0.0
    fill_holes: bool = False
    min_area: int = 0
    invert: bool = False
    refine: float | None = None
    click: tuple[float, float] | None = None
    axes: str | None = None
    rgb: bool | None = None
    channel: int | tuple[int, ...] | None = None
    level: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The features, and the image too where brightness or edges decide."""
        refined = self.tau == "auto" if self.refine is None else self.refine > 0
        return ("features", "image") if self.side in ("bright", "dark") or refined else ("features",)

    @property
    def arguments(self) -> dict[str, Any]:
        """Options for the function itself; those left to it are left out."""
        return {name: value for name, value in self.options().items() if value is not None and name not in _PLANES}

    def steps(self, *inputs: Any) -> Job[Any]:
        """Cut every plane in two."""
        from napari_dinov3.image import as_planes
        from napari_dinov3.segment.tokencut import tokencut_steps

        features, *image = inputs
        how = {name: getattr(self, name) for name in _PLANES}
        return (yield from tokencut_steps(features, image=as_planes(image[0], **how) if image else None, **self.arguments))

    def _expression(self, names: tuple[str, ...]) -> str:
        how = "".join(f", {name}={value!r}" for name, value in self.options(changed_only=True).items() if name in _PLANES)
        images = (f"image=nd.as_planes({name}{how})" if how else f"image={name}" for name in names[1:])
        return self._call("nd.tokencut", names[0], *images, skip=_PLANES)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignConfig(TaskConfig):
    """Options of :func:`napari_dinov3.align_stack`."""

    task: ClassVar[str] = "align"
    takes: ClassVar[tuple[str, ...]] = ("image",)
    output: ClassVar[str] = "alignment"
    model: Literal["translation", "rigid", "similarity", "affine"] = "rigid"
    backbone: str | None = "auto"
    reach: tuple[int, ...] = (1, 2, 3)
    rotation: float | None = None
    drift: Literal["minimum", "first", "trend"] = "minimum"
    anchors: tuple[int, ...] | None = None
    exclude: tuple[int, ...] = ()
    axes: str | None = None
    rgb: bool | None = None
    channel: int | tuple[int, ...] | None = None
    level: int = 0

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

    def steps(self, *inputs: Any) -> Job[Any]:
        """Resample every plane; a lazy stack stays lazy."""
        from napari_dinov3.image import as_planes

        alignment, image = inputs
        yield Progress(0, 1, "Move the planes")
        return alignment.apply(as_planes(image).data, **self.options())

    def _expression(self, names: tuple[str, ...]) -> str:
        return self._call(f"{names[0]}.apply", f"nd.as_planes({names[1]}).data")


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteConfig(TaskConfig):
    """Options of :func:`napari_dinov3.write`; spacing and units come from the second input."""

    task: ClassVar[str] = "write"
    takes: ClassVar[tuple[str, ...]] = ("labels", "image")
    output: ClassVar[str] = ""
    path: str
    axes: str | None = None
    kind: Literal["image", "labels"] | None = None
    name: str | None = None
    channel_names: tuple[str, ...] = ()
    overwrite: bool = False

    def steps(self, *inputs: Any) -> Job[Any]:
        """Write a file, plane by plane."""
        from napari_dinov3.io import write_steps

        data, like = inputs
        options = {name: value for name, value in self.options().items() if name != "path"}
        return (yield from write_steps(self.path, data, like=like, **options))

    def _expression(self, names: tuple[str, ...]) -> str:
        return self._call("nd.write", repr(self.path), names[0], f"like={names[1]}", skip=("path",))


CONFIGS: dict[str, type[TaskConfig]] = {
    config.task: config
    for config in (
        ReadConfig,
        ExtractConfig,
        PcaConfig,
        SimilarityConfig,
        ProbeConfig,
        TokenCutConfig,
        AlignConfig,
        ApplyConfig,
        WriteConfig,
    )
}
"""Every config by its name in a recipe file."""


def _annotations(config: type[TaskConfig]) -> dict[str, Any]:
    hints = typing.get_type_hints(config)
    return {field.name: hints[field.name] for field in dataclasses.fields(config)}
