"""Classification of whole images from files or planes to a trained, tested and saved classifier, and its use on new images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_dinov3.classify.images import ImageClassifier, Pooling, Scaling
from napari_dinov3.errors import InputError
from napari_dinov3.evaluate.image_classification import ImageClassification, cross_validate_images_steps
from napari_dinov3.evaluate.plots import save_confusion, save_montage
from napari_dinov3.evaluate.tables import rows_to_csv
from napari_dinov3.image import as_planes
from napari_dinov3.io.atomic import write_text
from napari_dinov3.io.labelled_images import LabelledImage, list_images, read_image_set
from napari_dinov3.progress import Job, collect, part_of
from napari_dinov3.recipe.image_vectors import (
    Colour,
    ImageVectors,
    VectorConfig,
    config_of,
    embed_images_steps,
    embed_planes_steps,
)

MODEL = "model.npz"
MOST_MISTAKES = 48


@dataclass(frozen=True, slots=True, eq=False)
class ImageRun:
    """A classifier of images, and how well its like do on images they have not seen.

    Parameters
    ----------
    vectors : ImageVectors
        Of all images that could be read.
    result : ImageClassification
        Cross-validated.
    model : ImageClassifier
        Trained on all of them.
    within_file : tuple of str
        Classes with a single file, of which blocks of neighbouring planes were held out.
    """

    vectors: ImageVectors = field(repr=False)
    result: ImageClassification
    model: ImageClassifier = field(repr=False)
    within_file: tuple[str, ...] = ()

    def caution(self) -> str:
        """Say what the figures do not tell; empty where all is well."""
        if not self.within_file:
            return ""
        return (
            f"All planes of {', '.join(self.within_file)} are of one file: blocks of its neighbouring planes were held out. "
            "Images of another specimen may do worse."
        )

    def to_markdown(self) -> str:
        """Write the report, with the files that could not be read."""
        failed = [f"- {path}: {text}" for path, text in self.vectors.failed.items()]
        more = [self.caution(), *(["Not read:\n\n" + "\n".join(failed)] if failed else [])]
        return "\n\n".join([self.result.to_markdown(), *filter(None, more)])

    def mistakes(self) -> tuple[npt.NDArray[np.uint8], list[str]]:
        """Give small pictures of the surest mistakes, and what each shows: name, true and predicted class."""
        chosen = self.result.mistakes()[:MOST_MISTAKES]
        rows = self.result.prediction_rows()
        titles = [f"{rows[at]['image']}\n{rows[at]['class']} → {rows[at]['predicted']}" for at in chosen]
        return self.vectors.thumbnails[chosen], titles

    def save(self, folder: str | Path, *, overwrite: bool = False) -> tuple[Path, ...]:
        """Write model, tables and pictures.

        Parameters
        ----------
        folder : path
            Made if it is not there.
        overwrite : bool
            Whether files that exist may be replaced.

        Returns
        -------
        written : tuple of Path

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed; model and tables are written nevertheless.
        """
        out = Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        result = self.result
        texts = {
            "report.md": self.to_markdown() + "\n",
            "classes.csv": result.to_csv(),
            "confusion.csv": rows_to_csv(result.confusion_rows()),
            "predictions.csv": rows_to_csv(result.prediction_rows()),
        }
        written = [self.model.save(out / MODEL, overwrite=overwrite)]
        written += [write_text(out / name, text, overwrite=overwrite) for name, text in texts.items()]
        written.append(save_confusion(result.confusion, result.classes, out / "confusion.png", overwrite=overwrite))
        pictures, titles = self.mistakes()
        if len(pictures):
            written.append(save_montage(pictures, titles, out / "mistakes.png", overwrite=overwrite))
        return tuple(written)


@dataclass(frozen=True, slots=True, eq=False)
class ImagePredictions:
    """Classes of new images.

    Parameters
    ----------
    names : tuple of str
        Of the images that could be read.
    classes : tuple of str
        In the order of the columns.
    probabilities : (images, classes) float64
        Of each.
    failed : mapping of str to str
        What went wrong, by file.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: npt.NDArray[np.float64] = field(repr=False)
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """Likeliest class of each."""
        return [self.classes[at] for at in self.probabilities.argmax(axis=1)]

    def as_rows(self) -> list[dict[str, Any]]:
        """List one row an image: name, class and probabilities, and the reason where it could not be read."""
        rows: list[dict[str, Any]] = [
            {
                "image": name,
                "class": label,
                **{f"p_{c}": float(p) for c, p in zip(self.classes, chances, strict=True)},
                "error": "",
            }
            for name, label, chances in zip(self.names, self.labels, self.probabilities, strict=True)
        ]
        nothing = {f"p_{c}": None for c in self.classes}
        rows += [{"image": Path(path).name, "class": "", **nothing, "error": text} for path, text in self.failed.items()]
        return rows

    def to_csv(self) -> str:
        """Write the rows as comma-separated text."""
        return rows_to_csv(self.as_rows())


def classify_images(images: str | Path | Sequence[LabelledImage], **options: Any) -> ImageRun:
    """Learn classes of whole images, and measure how well on images held out.

    Parameters
    ----------
    images : path or sequence of LabelledImage
        A folder with a folder for each class, a table with the columns ``file`` and ``label`` (and perhaps ``plane`` and
        ``group``), or a list.
    **options
        Of :func:`classify_images_steps`.
    """
    return collect(classify_images_steps(images, **options))


def classify_images_steps(
    images: str | Path | Sequence[LabelledImage],
    *,
    backbone: str = "auto",
    stride: int | None = None,
    size: int = 512,
    pooling: Pooling = "auto",
    colour: Colour = "auto",
    channel: int | None = None,
    C: float = 1.0,
    class_weight: Literal["balanced"] | None = None,
    scaling: Scaling = "standardize",
    folds: int = 5,
    rng: int = 0,
) -> Job[ImageRun]:
    """Classify step by step; see :func:`classify_images`.

    Parameters
    ----------
    images
        As in :func:`classify_images`.
    backbone, stride, size, pooling, colour, channel
        As in :class:`~napari_dinov3.recipe.image_vectors.VectorConfig`.
    C, class_weight, scaling
        As in :class:`~napari_dinov3.classify.images.ImageClassifier`.
    folds : int
        Images of one group (subject folder, file) are held out together.
    rng : int
        Order in which groups are dealt to folds.

    Raises
    ------
    InputError
        For one class only, a class with a single group, or where no image can be read.
    """
    known = read_image_set(images) if isinstance(images, str | Path) else tuple(images)
    how = VectorConfig(backbone, stride, size, pooling, colour, channel)
    vectors = yield from part_of(embed_images_steps(known, how), start=0, span=90, total=100)
    like = ImageClassifier(C=C, class_weight=class_weight, scaling=scaling)
    images, within = _blocks_of_single_files(vectors.images, folds)
    job = _train_steps(replace(vectors, images=images), like, folds, rng)
    run = yield from part_of(job, start=90, span=10, total=100)
    return replace(run, within_file=within)


def classify_planes_steps(
    image: Any,
    labels: Mapping[int, str],
    *,
    backbone: str = "auto",
    stride: int | None = None,
    size: int = 512,
    pooling: Pooling = "auto",
    C: float = 1.0,
    class_weight: Literal["balanced"] | None = None,
    scaling: Scaling = "standardize",
    folds: int = 5,
) -> Job[tuple[ImageRun, ImagePredictions]]:
    """Learn classes of some planes of a stack, and give every plane a class.

    Parameters
    ----------
    image : array-like, Planes or opened file
        A stack.
    labels : mapping of int to str
        Class of each labelled plane.
    backbone, stride, size, pooling, C, class_weight, scaling
        As in :func:`classify_images_steps`.
    folds : int
        Blocks of neighbouring labelled planes of each class that are held out together.

    Returns
    -------
    run, predictions
        The classifier with its test, and the class of every plane.
    """
    planes = as_planes(image)
    outside = [plane for plane in labels if not 0 <= plane < len(planes)]
    if outside:
        raise InputError(f"Plane {outside[0]} of {planes.name!r}", f"0..{len(planes) - 1}", "Correct the labels")
    how = VectorConfig(backbone, stride, size, pooling)
    opened = [(LabelledImage(Path(planes.name), labels.get(plane, ""), plane), planes) for plane in range(len(planes))]
    every = yield from part_of(embed_planes_steps(opened, how), start=0, span=90, total=100)
    chosen = sorted(labels)
    groups = plane_groups(labels, folds)
    part = replace(
        every,
        vectors=every.vectors[chosen],
        images=tuple(replace(every.images[plane], group=groups[plane]) for plane in chosen),
        thumbnails=every.thumbnails[chosen],
    )
    like = ImageClassifier(C=C, class_weight=class_weight, scaling=scaling)
    run = yield from part_of(_train_steps(part, like, folds, 0), start=90, span=10, total=100)
    found = run.model.predict_proba(every.vectors, made_by=every.made_by)
    return run, ImagePredictions(tuple(every.names), run.model.classes_, found)


def classify_planes(image: Any, labels: Mapping[int, str], **options: Any) -> tuple[ImageRun, ImagePredictions]:
    """Learn classes of some planes of a stack, and give every plane a class; see :func:`classify_planes_steps`."""
    return collect(classify_planes_steps(image, labels, **options))


def plane_groups(labels: Mapping[int, str], folds: int) -> dict[int, str]:
    """Put neighbouring labelled planes of each class into blocks that are held out together."""
    groups: dict[int, str] = {}
    for label in dict.fromkeys(labels.values()):
        mine = sorted(plane for plane, one in labels.items() if one == label)
        for number, block in enumerate(np.array_split(mine, min(folds, len(mine)))):
            groups |= {int(plane): f"{label} {number}" for plane in block}
    return groups


def _blocks_of_single_files(images: Sequence[LabelledImage], folds: int) -> tuple[tuple[LabelledImage, ...], tuple[str, ...]]:
    """Hold out blocks of neighbouring planes of each class that has planes of one file only, and name these classes."""
    within: list[str] = []
    grouped = list(images)
    for label in dict.fromkeys(image.label for image in images):
        mine = {at: image for at, image in enumerate(images) if image.label == label}
        groups = {image.group or str(image.path) for image in mine.values()}
        planes = {image.plane: at for at, image in mine.items() if image.plane is not None}
        if len(planes) < 2 or groups != {str(image.path) for image in mine.values()} or len(groups) > 1:
            continue  # a group that somebody named is left as it is
        within.append(label)
        for plane, group in plane_groups(dict.fromkeys(planes, label), folds).items():
            grouped[planes[plane]] = replace(grouped[planes[plane]], group=group)
    return tuple(grouped), tuple(within)


def predict_images(model: str | Path | ImageClassifier, images: str | Path | Sequence[str | Path]) -> ImagePredictions:
    """Give new images the classes a classifier has learned; see :func:`predict_images_steps`."""
    return collect(predict_images_steps(model, images))


def predict_images_steps(model: str | Path | ImageClassifier, images: str | Path | Sequence[str | Path]) -> Job[ImagePredictions]:
    """Give new images the classes a classifier has learned.

    Parameters
    ----------
    model : path or ImageClassifier
        Trained by :func:`classify_images`.
    images : path or sequence of paths
        A folder (all images below it), a file, or a list of either. Every plane of a stack gets a class.

    Raises
    ------
    InputError
        If none of the images can be read; one that cannot is named in the result.
    """
    classifier = model if isinstance(model, ImageClassifier) else ImageClassifier.load(model)
    made_by = classifier.fitted.made_by
    if "backbone" not in made_by:
        raise InputError("The classifier does not say how its vectors were made", "one made by classify_images", "Train it again")
    given = [images] if isinstance(images, str | Path) else list(images)
    paths = [
        path for one in map(Path, given) for path in (list_images(one) if _is_folder(one) else [one.expanduser().absolute()])
    ]
    vectors = yield from embed_images_steps([LabelledImage(path, "") for path in paths], config_of(made_by))
    found = classifier.predict_proba(vectors.vectors, made_by=vectors.made_by)
    return ImagePredictions(tuple(vectors.names), classifier.classes_, found, vectors.failed)


def _is_folder(path: Path) -> bool:
    return path.expanduser().is_dir() and path.suffix.lower() != ".zarr"


def _train_steps(vectors: ImageVectors, like: ImageClassifier, folds: int, rng: int) -> Job[ImageRun]:
    test = cross_validate_images_steps(
        vectors.vectors, vectors.labels, groups=vectors.groups, names=vectors.names, classifier=like, folds=folds, rng=rng
    )
    result = yield from part_of(test, start=0, span=90, total=100)
    model = ImageClassifier(**like.settings).fit(vectors.vectors, vectors.labels, made_by=vectors.made_by)
    return ImageRun(vectors, result, model)
