"""Probe files: one npz archive of plain arrays and a JSON header, never a pickle.

The header names the format, the head, the classes, the settings and the features the probe fits. A file is written beside
its place and renamed, so a crash leaves the old one. What is read is checked before it is used.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import FileFormatError, InputError
from napari_dinov3.segment.example_heads import PrototypeHead, TreeHead, TreeKind
from napari_dinov3.segment.fitted_probe import FittedProbe
from napari_dinov3.segment.heads import Head, KernelHead, LinearHead

if TYPE_CHECKING:
    from napari_dinov3.segment.probe import Probe

FORMAT = "napari-dinov3 probe"
VERSION = 1
_LARGEST = 1 << 30  # bytes unpacked; samples of 20,000 x 4,096 numbers stay under it
_SIGNATURE = ("backbone", "revision", "stride", "dim")

Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]


def save_probe(probe: Probe, path: Path, *, overwrite: bool = False) -> Path:
    """Write a fitted probe.

    Parameters
    ----------
    probe : Probe
        A fitted one.
    path : Path
        File to write; ``.npz`` is added where there is no suffix.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    path : Path
        Where it was written.

    Raises
    ------
    InputError
        Before :meth:`Probe.fit`, or if the file is there and `overwrite` is not set.
    """
    fitted = probe.fitted
    header = {
        "format": FORMAT,
        "version": VERSION,
        "head": probe.head,
        "fallback": fitted.head is None,
        "classes": [int(value) for value in fitted.classes],
        "signature": dict(fitted.signature),
        "settings": probe.settings,
    }
    arrays: dict[str, Any] = {"mean": fitted.mean, "scale": fitted.scale, "offset": fitted.offset}
    if fitted.head is not None:
        arrays |= {f"head.{name}": array for name, array in fitted.head.arrays().items()}
    path = path if path.suffix else path.with_suffix(".npz")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists", "a new file", "Choose another name, or pass overwrite=True")
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            np.savez_compressed(file, header=np.array(json.dumps(header)), **arrays)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def load_probe(path: Path) -> Probe:
    """Read a probe.

    Raises
    ------
    FileFormatError
        If there is no such file, or it is not a probe, is damaged, or comes from a newer version.
    """
    from napari_dinov3.segment.linear_probe import LinearProbe
    from napari_dinov3.segment.probe import Probe

    if not path.is_file():
        raise FileFormatError(f"There is no file {path}", "a probe file (.npz)", "Check the path")
    header, arrays = _read(path)
    try:
        classes = tuple(int(value) for value in header["classes"])
        signature = {key: header["signature"][key] for key in _SIGNATURE}
        settings = dict(header["settings"])
        if isinstance(settings["class_weight"], dict):  # JSON turns the keys into text
            settings["class_weight"] = {int(value): float(weight) for value, weight in settings["class_weight"].items()}
        mean, scale, offset = (_floats(arrays[name], 1) for name in ("mean", "scale", "offset"))
        head = None if header["fallback"] else _head(header["head"], arrays)
        fitted = FittedProbe(classes, mean, scale, head, offset, signature)
        _check(fitted)
        linear = header["head"] == "linear" and "landmarks" not in settings
        probe: Probe = LinearProbe(**settings) if linear else Probe(head=header["head"], **settings)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _not_a_probe(path, f"its content does not fit together ({error})") from error
    return probe.restored(fitted)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _LARGEST:
                raise _not_a_probe(path, f"it unpacks to more than {_LARGEST >> 20} MiB")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(str(arrays.pop("header")))
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError | FileFormatError | PermissionError | IsADirectoryError):
            raise
        raise _not_a_probe(path, f"it cannot be read ({error})") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise _not_a_probe(path, "its header does not say so")
    if header.get("version") != VERSION:
        raise FileFormatError(
            f"{path.name} is a probe file of version {header.get('version')}",
            f"version {VERSION}",
            "Open it with the version of napari-dinov3 that wrote it, or a newer one",
        )
    return header, arrays


def _head(name: str, arrays: Arrays) -> Head:
    part = {key.removeprefix("head."): array for key, array in arrays.items() if key.startswith("head.")}
    if name == "linear":
        return LinearHead(_floats(part["weights"], 2), _floats(part["bias"], 1))
    if name == "kernel":
        return KernelHead(
            _floats(part["landmarks"], 2), _floats(part["weights"], 2), _floats(part["bias"], 1), float(_floats(part["gamma"], 0))
        )
    if name == "prototypes":
        return PrototypeHead(_floats(part["prototypes"], 2))
    if name in ("forest", "boosting"):
        codes = part["codes"]
        if codes.dtype.kind not in "iu" or codes.ndim != 1:
            raise ValueError("class indices are not whole numbers")
        kind: TreeKind = "forest" if name == "forest" else "boosting"
        return TreeHead(
            kind,
            _floats(part["features"], 2),
            codes.astype(np.intp),
            _floats(part["weight"], 1).astype(np.float64),
            int(part["seed"]),
        )
    raise ValueError(f"unknown head {name!r}")


def _floats(array: npt.NDArray[Any], ndim: int) -> npt.NDArray[np.float32]:
    if array.ndim != ndim or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ValueError(f"an array of {array.ndim} axes and type {array.dtype} where {ndim} axes of finite numbers are due")
    return array.astype(np.float32)


def _check(fitted: FittedProbe) -> None:
    """Score one patch, so that shapes that do not fit show here and not in the middle of a stack."""
    dim, classes = int(fitted.signature["dim"]), len(fitted.classes)
    if list(fitted.classes) != sorted(set(fitted.classes)) or min(fitted.classes) < 0 or (classes == 1) != (fitted.head is None):
        raise ValueError(f"classes {fitted.classes}")
    if fitted.mean.shape != (dim,) or fitted.scale.shape != (dim,) or not (fitted.scale > 0).all():
        raise ValueError(f"mean and scale are not {dim} numbers")
    columns = fitted.scores(np.zeros((1, 1, dim), np.float32)).shape[-1]
    if columns != (classes if classes > 2 else 1):
        raise ValueError(f"{columns} scores for {classes} classes")


def _not_a_probe(path: Path, why: str) -> FileFormatError:
    return FileFormatError(
        f"{path.name} is not a usable probe file: {why}",
        "a file written by Probe.save()",
        "Choose another file, or train and save the probe again",
    )
