"""From lists of image files to one vector each, for the classification of whole images.

Files are opened one at a time and read plane by plane. Each plane is normalised by its own intensity window and shrunk so that
its longer side is at most `size` pixels: images of different sizes take the same time, and give vectors of one length. A file
that cannot be read is named and left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_dinov3.backbones.base import Backbone
from napari_dinov3.backbones.registry import backbone_facts, choose_backbone, load_backbone, readiness
from napari_dinov3.classify.images import Pooling, pool_planes, resolve_pooling
from napari_dinov3.errors import InputError, MissingDependencyError
from napari_dinov3.features.extract import extract_steps
from napari_dinov3.image import Planes
from napari_dinov3.io import read
from napari_dinov3.io.labelled_images import LabelledImage
from napari_dinov3.normalize import grey_of_colour
from napari_dinov3.progress import Job, Progress, collect
from napari_dinov3.wording import counted

FloatArray = npt.NDArray[np.float32]
Colour = Literal["auto", "grey", "rgb"]
COARSE_STRIDE = 8
THUMBNAIL = 96
_TICKS = 100


@dataclass(frozen=True, slots=True)
class VectorConfig:
    """How an image becomes a vector.

    Parameters
    ----------
    backbone : str
        Registry name or ``"auto"``.
    stride : int, optional
        Pixels between patch centres; 8 for the filter bank, the network's own for others.
    size : int
        Longest side in pixels; larger images are shrunk to it, smaller ones stay as they are.
    pooling : {"auto", "cls", "cls+mean", "mean", "mean+std"}
        See :func:`~napari_dinov3.classify.images.pool_planes`.
    colour : {"auto", "grey", "rgb"}
        ``"auto"``: colours where every image has them, else grey (Rec. 601).
    channel : int, optional
        Which channel, where an image has several.
    """

    backbone: str = "auto"
    stride: int | None = None
    size: int = 512
    pooling: Pooling = "auto"
    colour: Colour = "auto"
    channel: int | None = None

    def __post_init__(self) -> None:
        if self.size < 16:
            raise InputError(f"size={self.size}", "16 pixels or more", "Choose for example 512")
        if self.colour not in ("auto", "grey", "rgb"):
            raise InputError(f"colour={self.colour!r}", "'auto', 'grey' or 'rgb'", "Choose one of these")


@dataclass(frozen=True, slots=True, eq=False)
class ImageVectors:
    """One vector an image.

    Parameters
    ----------
    vectors : (images, n) float32
        In the order of `images`.
    images : tuple of LabelledImage
        One plane each; those that could be read.
    thumbnails : (images, 96, 96[, 3]) uint8
        Small pictures, fitted into a square.
    failed : mapping of str to str
        What went wrong, by file.
    made_by : mapping
        How the vectors were made: what a classifier compares.
    """

    vectors: FloatArray = field(repr=False)
    images: tuple[LabelledImage, ...]
    thumbnails: npt.NDArray[np.uint8] = field(repr=False)
    failed: Mapping[str, str]
    made_by: Mapping[str, Any]

    @property
    def labels(self) -> list[str]:
        """Class of each image."""
        return [image.label for image in self.images]

    @property
    def groups(self) -> list[str]:
        """What each image stays together with."""
        return [image.group or str(image.path) for image in self.images]

    @property
    def names(self) -> list[str]:
        """Name of each image: the file, with as much of its folders as tells it apart, and the plane."""
        return unique_names(self.images)


def embed_images_steps(images: Sequence[LabelledImage], config: VectorConfig | None = None) -> Job[ImageVectors]:
    """Open, shrink and embed every image.

    Parameters
    ----------
    images : sequence of LabelledImage
        Those without a plane count with every plane they have.
    config : VectorConfig, optional
        How.

    Yields
    ------
    progress : Progress
        After each plane.

    Raises
    ------
    InputError
        If the backbone is not ready, or no image could be read; then the first reason is named.
    """
    config = config or VectorConfig()
    failed: dict[str, str] = {}
    chosen: list[LabelledImage] = []
    colours: list[bool] = []
    for number, image in enumerate(images):
        yield Progress(number, 10 * len(images), f"opening {image.name}")
        try:
            planes = read(image.path).planes(channel=config.channel)  # let go of again: thousands cannot be open at once
            wanted = range(len(planes)) if image.plane is None else [_checked(image.plane, planes)]
            flat = planes.is_2d and image.plane is None
            chosen += [image if flat else replace(image, plane=plane) for plane in wanted]
            colours.append(planes.rgb)
        except MissingDependencyError:
            raise
        except (InputError, OSError, ValueError) as error:
            failed[str(image.path)] = _reason(error)
    reopened = _Reopened(config.channel)
    pairs = [(image, partial(reopened, image.path)) for image in chosen]
    job = _embed_steps(pairs, config, colours, failed, skip_bad=True)
    while True:
        try:
            event = next(job)
        except StopIteration as stop:
            result: ImageVectors = stop.value
            return result
        yield Progress(_TICKS + round(9 * _TICKS * event.fraction), 10 * _TICKS, event.message)


class _Reopened:
    """Open a file, keeping the last one for its other planes."""

    def __init__(self, channel: int | None) -> None:
        self._channel = channel
        self._last: tuple[Path, Planes] | None = None

    def __call__(self, path: Path) -> Planes:
        if self._last is None or self._last[0] != path:
            self._last = None  # closes it before the next is opened
            self._last = path, read(path).planes(channel=self._channel)
        return self._last[1]


def embed_planes_steps(opened: Sequence[tuple[LabelledImage, Planes]], config: VectorConfig) -> Job[ImageVectors]:
    """Embed planes of images that are open, such as those of one stack whose planes have classes.

    Parameters
    ----------
    opened : sequence of (LabelledImage, Planes)
        Each with the plane that is meant (0 where it says none).
    config : VectorConfig
        How.
    """
    pairs = [(image, partial(_same, planes)) for image, planes in opened]
    return (yield from _embed_steps(pairs, config, [planes.rgb for _, planes in opened], {}, skip_bad=False))


def _same(planes: Planes) -> Planes:
    return planes


def _embed_steps(
    pairs: Sequence[tuple[LabelledImage, Callable[[], Planes]]],
    config: VectorConfig,
    colours: Sequence[bool],
    failed: Mapping[str, str],
    *,
    skip_bad: bool,
) -> Job[ImageVectors]:
    """Embed one plane after the other; name one that cannot be read and go on, or end there."""
    problems = dict(failed)
    if not pairs:
        raise InputError(
            f"None of {counted(len(problems), 'image')} could be read; {_first(problems)}",
            "images that can be opened",
            "Check the files",
        )
    rgb = config.colour == "rgb" or (config.colour == "auto" and all(colours))
    model = _model(config)
    vectors, kept, thumbnails, pooling = [], [], [], config.pooling
    for number, (image, planes_of) in enumerate(pairs):
        yield Progress(number, len(pairs), f"embedding {image.name}, {number + 1} of {len(pairs)}")
        try:
            picture = fit_side(coloured(planes_of().plane(image.plane or 0), rgb=rgb), config.size)
            if not np.isfinite(picture).any():
                raise InputError(f"{image.name} holds no finite pixel", "an image", "Check the file")
            features = collect(
                extract_steps(picture, backbone=model, axes="yxs" if rgb else "yx")
            )  # short: no progress of its own
            pooling = resolve_pooling(config.pooling, has_cls=features.cls is not None)
            vectors.append(pool_planes(features, pooling=pooling)[0])
            thumbnails.append(thumbnail(picture))
            kept.append(image)
        except MissingDependencyError:
            raise
        except (InputError, OSError, ValueError) as error:
            if not skip_bad:
                raise
            problems[str(image.path)] = _reason(error)
    if not kept:
        raise InputError(f"None of the images could be read; {_first(problems)}", "images that can be read", "Check the files")
    made_by = {
        **asdict(config), "backbone": model.facts.name, "revision": model.revision, "stride": model.stride,
        "pooling": pooling, "colour": "rgb" if rgb else "grey",
    }  # fmt: skip
    return ImageVectors(np.stack(vectors), tuple(kept), np.stack(thumbnails), problems, made_by)


def config_of(made_by: Mapping[str, Any]) -> VectorConfig:
    """Give the settings that make vectors as those a classifier learned from."""
    names = ("backbone", "stride", "size", "pooling", "colour", "channel")
    return VectorConfig(**{name: made_by[name] for name in names})


def coloured(plane: npt.NDArray[Any], *, rgb: bool) -> FloatArray:
    """Bring a plane to grey or to three colours, float32."""
    picture = np.asarray(plane, np.float32)
    if picture.ndim == 3 and not rgb:
        return np.asarray(grey_of_colour(picture), np.float32)
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 and rgb else picture


def fit_side(picture: FloatArray, longest: int) -> FloatArray:
    """Shrink a picture, smoothed against aliasing, until its longer side has at most `longest` pixels."""
    from skimage.transform import resize

    factor = longest / max(picture.shape[:2])
    if factor >= 1:
        return picture
    shape = tuple(max(1, round(side * factor)) for side in picture.shape[:2]) + picture.shape[2:]
    return np.asarray(resize(picture, shape, order=1, anti_aliasing=True, preserve_range=True), np.float32)


def thumbnail(picture: FloatArray) -> npt.NDArray[np.uint8]:
    """Make a small square picture of 8 bits: the 0.5th to the 99.5th percentile, in the middle of black."""
    small = fit_side(np.nan_to_num(picture), THUMBNAIL)
    low, high = np.percentile(small, (0.5, 99.5))
    scaled = np.clip((small - low) / max(high - low, 1e-9), 0, 1) * 255
    out = np.zeros((THUMBNAIL, THUMBNAIL, *picture.shape[2:]), np.uint8)
    top, left = (THUMBNAIL - small.shape[0]) // 2, (THUMBNAIL - small.shape[1]) // 2
    out[top : top + small.shape[0], left : left + small.shape[1]] = scaled
    return out


def unique_names(images: Sequence[LabelledImage]) -> list[str]:
    """Name images by file, with their folder where two files have the same name."""
    paths: dict[str, set[Path]] = {}
    for image in images:
        paths.setdefault(image.path.name, set()).add(image.path)
    return [image.name if len(paths[image.path.name]) == 1 else f"{image.path.parent.name}/{image.name}" for image in images]


def _model(config: VectorConfig) -> Backbone:
    name, _ = choose_backbone(config.backbone)
    state = readiness(name)
    if not state.ready:
        raise InputError(f"Backbone {name!r} is not ready: {state.message}", "a backbone that is", "Choose another backbone")
    facts = backbone_facts(name)
    stride = config.stride
    if stride is None and COARSE_STRIDE in facts.strides and facts.kind == "filter-bank":
        stride = COARSE_STRIDE
    return load_backbone(name, stride=stride)


def _checked(plane: int, planes: Planes) -> int:
    if not 0 <= plane < len(planes):
        raise InputError(f"Plane {plane} of {planes.name!r}", f"0..{len(planes) - 1}", "Correct the table")
    return plane


def _reason(error: Exception) -> str:
    return error.problem if isinstance(error, InputError) else str(error) or type(error).__name__


def _first(problems: Mapping[str, str]) -> str:
    return "; ".join(f"{Path(path).name}: {text}" for path, text in list(problems.items())[:1])
