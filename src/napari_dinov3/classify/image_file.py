"""Files of image classifiers: plain arrays with a JSON header, see :mod:`~napari_dinov3.learn.array_file`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_dinov3.learn.array_file import FileKind, floats, read_arrays, write_arrays

if TYPE_CHECKING:
    from napari_dinov3.classify.images import ImageClassifier

CLASSIFIER = FileKind("napari-dinov3 image classifier", 1, "image classifier", "ImageClassifier.save()")
_ARRAYS = {"mean": 1, "scale": 1, "weights": 2, "bias": 1}


def save_classifier(classifier: ImageClassifier, path: Path, *, overwrite: bool = False) -> Path:
    """Write a fitted classifier.

    Parameters
    ----------
    classifier : ImageClassifier
        A fitted one.
    path : Path
        File to write; ``.npz`` is added where there is no suffix.
    overwrite : bool
        Replace a file that is there.

    Raises
    ------
    InputError
        Before it is fitted, or if the file is there and `overwrite` is not set.
    """
    fitted = classifier.fitted
    header = {"classes": list(fitted.classes), "made_by": dict(fitted.made_by), "settings": classifier.settings}
    return write_arrays(path, CLASSIFIER, header, {name: getattr(fitted, name) for name in _ARRAYS}, overwrite=overwrite)


def load_classifier(path: Path) -> ImageClassifier:
    """Read a classifier.

    Raises
    ------
    FileFormatError
        If there is no such file, or it is not a classifier, is damaged, or comes from a newer version.
    """
    from napari_dinov3.classify.images import FittedImages, ImageClassifier

    header, arrays = read_arrays(path, CLASSIFIER)
    try:
        classes = tuple(str(name) for name in header["classes"])
        parts = {name: floats(arrays[name], ndim) for name, ndim in _ARRAYS.items()}
        fitted = FittedImages(classes, **parts, made_by=dict(header["made_by"]))
        shapes = (fitted.mean.shape, fitted.scale.shape, fitted.bias.shape)
        if shapes != (fitted.weights.shape[:1],) * 2 + (fitted.weights.shape[1:],) or len(classes) != fitted.weights.shape[1]:
            raise ValueError("arrays of shapes that do not belong together")
        if len(set(classes)) < 2 or not (fitted.scale > 0).all():
            raise ValueError(f"classes {classes}")
        return ImageClassifier(**header["settings"]).restored(fitted)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CLASSIFIER.unusable(path, f"its content does not fit together ({error})") from error
