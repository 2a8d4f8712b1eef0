"""Files of image classifiers: one npz archive of plain arrays and a JSON header, never a pickle; checked before it is used."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinov3.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from napari_dinov3.classify.images import ImageClassifier

FORMAT = "napari-dinov3 image classifier"
VERSION = 1
_LARGEST = 1 << 28  # bytes unpacked; 1,000 classes on 8,192 numbers are 33 MB
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
    path = path if path.suffix else path.with_suffix(".npz")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists", "a new file", "Choose another name, or pass overwrite=True")
    header = {
        "format": FORMAT,
        "version": VERSION,
        "classes": list(fitted.classes),
        "made_by": dict(fitted.made_by),
        "settings": classifier.settings,
    }
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            arrays: dict[str, Any] = {name: getattr(fitted, name) for name in _ARRAYS}
            np.savez_compressed(file, header=np.array(json.dumps(header)), **arrays)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def load_classifier(path: Path) -> ImageClassifier:
    """Read a classifier.

    Raises
    ------
    FileFormatError
        If there is no such file, or it is not a classifier, is damaged, or comes from a newer version.
    """
    from napari_dinov3.classify.images import FittedImages, ImageClassifier

    if not path.is_file():
        raise FileFormatError(f"There is no file {path}", "an image classifier (.npz)", "Check the path")
    header, arrays = _read(path)
    try:
        classes = tuple(str(name) for name in header["classes"])
        parts = {name: _floats(arrays[name], ndim) for name, ndim in _ARRAYS.items()}
        fitted = FittedImages(classes, **parts, made_by=dict(header["made_by"]))
        shapes = (fitted.mean.shape, fitted.scale.shape, fitted.bias.shape)
        if shapes != (fitted.weights.shape[:1],) * 2 + (fitted.weights.shape[1:],) or len(classes) != fitted.weights.shape[1]:
            raise ValueError("arrays of shapes that do not belong together")
        if len(set(classes)) < 2 or not (fitted.scale > 0).all():
            raise ValueError(f"classes {classes}")
        return ImageClassifier(**header["settings"]).restored(fitted)
    except (KeyError, TypeError, ValueError) as error:
        raise _not_one(path, f"its content does not fit together ({error})") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _LARGEST:
                raise _not_one(path, f"it unpacks to more than {_LARGEST >> 20} MiB")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(str(arrays.pop("header")))
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise _not_one(path, f"it cannot be read ({error})") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise _not_one(path, "its header does not say so")
    if header.get("version") != VERSION:
        raise FileFormatError(
            f"{path.name} is an image classifier of version {header.get('version')}",
            f"version {VERSION}",
            "Open it with the version of napari-dinov3 that wrote it, or a newer one",
        )
    return header, arrays


def _floats(array: Any, ndim: int) -> Any:
    if array.ndim != ndim or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ValueError(f"an array of {array.ndim} axes and type {array.dtype} where {ndim} axes of finite numbers are due")
    return array.astype(np.float32)


def _not_one(path: Path, why: str) -> FileFormatError:
    return FileFormatError(
        f"{path.name} is not a usable image classifier: {why}",
        "a file written by ImageClassifier.save()",
        "Choose another file, or train and save the classifier again",
    )
