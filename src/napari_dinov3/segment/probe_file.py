"""Probe files: one npz archive of plain arrays and a JSON header, never a pickle.

The header names the format, the head, the classes, the settings and the features the probe fits. A file is written beside
its place and renamed, so a crash leaves the old one. What is read is checked before it is used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_dinov3.learn.array_file import FileKind, floats, read_arrays, write_arrays
from napari_dinov3.segment.example_heads import PrototypeHead, TreeHead, TreeKind
from napari_dinov3.segment.fitted_probe import FittedProbe
from napari_dinov3.segment.heads import Head, KernelHead, LinearHead
from napari_dinov3.segment.probe_options import per_class_from_json

if TYPE_CHECKING:
    from napari_dinov3.segment.probe import Probe

PROBE = FileKind("napari-dinov3 probe", 2, "probe", "Probe.save()")
_LONGEST_NAME = 200
_SIGNATURE = ("backbone", "revision", "stride", "dim")
_LARGEST_LABEL = 1 << 64

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
        "head": probe.head,
        "fallback": fitted.head is None,
        "classes": [int(value) for value in fitted.classes],
        "signature": dict(fitted.signature),
        "settings": probe.settings,
        "report": dict(fitted.report),
        "class_names": {str(value): probe.class_names[value] for value in fitted.classes if value in probe.class_names},
    }
    arrays: dict[str, Any] = {"mean": fitted.mean, "scale": fitted.scale, "offset": fitted.offset, "decision": fitted.decision}
    if fitted.head is not None:
        arrays |= {f"head.{name}": array for name, array in fitted.head.arrays().items()}
    return write_arrays(path, PROBE, header, arrays, overwrite=overwrite)


def load_probe(path: Path) -> Probe:
    """Read a probe.

    Raises
    ------
    FileFormatError
        If there is no such file, or it is not a probe, is damaged, or comes from a newer version.
    """
    from napari_dinov3.segment.linear_probe import LinearProbe
    from napari_dinov3.segment.probe import Probe

    header, arrays = read_arrays(path, PROBE)
    try:
        classes = _classes(header["classes"])
        signature = _signature(header["signature"])
        settings = per_class_from_json(header["settings"])
        mean, scale, offset = (floats(arrays[name], 1) for name in ("mean", "scale", "offset"))
        head = None if header["fallback"] else _head(header["head"], arrays, str(settings.get("device", "auto")))
        decision = floats(arrays["decision"], 1)
        fitted = FittedProbe(classes, mean, scale, head, offset, signature, decision, dict(header["report"]))
        _check(fitted)
        linear = header["head"] == "linear" and "landmarks" not in settings
        names = _names(header.get("class_names", {}), classes)
        probe: Probe = LinearProbe(**settings) if linear else Probe(head=header["head"], **settings)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise PROBE.unusable(path, f"its content does not fit together ({error})") from error
    probe.class_names = names
    return probe.restored(fitted)


def _names(given: Mapping[str, str], classes: tuple[int, ...]) -> dict[int, str]:
    """Read the names of classes; files of earlier versions have none."""
    names = {int(value): name for value, name in given.items()}
    if not set(names) <= set(classes) or not all(isinstance(name, str) and len(name) <= _LONGEST_NAME for name in names.values()):
        raise ValueError(f"names {given} for classes {classes}")
    return names


def _classes(values: Any) -> tuple[int, ...]:
    if not all(isinstance(value, int) and 0 <= value < _LARGEST_LABEL for value in values):
        raise ValueError(f"label values {values}")
    return tuple(values)


def _signature(given: Mapping[str, Any]) -> dict[str, Any]:
    signature = {key: given[key] for key in _SIGNATURE}
    named = isinstance(signature["backbone"], str) and isinstance(signature["revision"], str)
    if not (named and isinstance(signature["dim"], int) and 0 < float(signature["stride"]) < math.inf):
        raise ValueError(f"features {signature}")
    return signature


def _head(name: str, arrays: Arrays, device: str) -> Head:
    part = {key.removeprefix("head."): array for key, array in arrays.items() if key.startswith("head.")}
    if name == "linear":
        return LinearHead(floats(part["weights"], 2), floats(part["bias"], 1))
    if name == "kernel":
        return KernelHead(
            floats(part["landmarks"], 2), floats(part["weights"], 2), floats(part["bias"], 1), float(floats(part["gamma"], 0))
        )
    if name == "prototypes":
        return PrototypeHead(floats(part["prototypes"], 2))
    if name in ("forest", "boosting"):
        codes = part["codes"]
        if codes.dtype.kind not in "iu" or codes.ndim != 1:
            raise ValueError("class indices are not whole numbers")
        kind: TreeKind = "forest" if name == "forest" else "boosting"
        return TreeHead(
            kind,
            floats(part["features"], 2),
            codes.astype(np.intp),
            floats(part["weight"], 1).astype(np.float64),
            int(part["seed"]),
        )
    if name == "decoder":
        from napari_dinov3.segment.decoder import DecoderHead

        return DecoderHead({key: floats(array, array.ndim) for key, array in part.items()}, device)
    raise ValueError(f"unknown head {name!r}")


def _check(fitted: FittedProbe) -> None:
    """Score one patch, so that shapes that do not fit show here and not in the middle of a stack."""
    dim, classes = int(fitted.signature["dim"]), len(fitted.classes)
    if list(fitted.classes) != sorted(set(fitted.classes)) or min(fitted.classes) < 0 or (classes == 1) != (fitted.head is None):
        raise ValueError(f"classes {fitted.classes}")
    if fitted.mean.shape != (dim,) or fitted.scale.shape != (dim,) or not (fitted.scale > 0).all():
        raise ValueError(f"mean and scale are not {dim} numbers")
    columns = fitted.scores(np.zeros((1, 1, dim), np.float32)).shape[-1]
    if columns != (classes if classes > 2 else 1) or fitted.offset.shape not in ((1,), (columns,)):
        raise ValueError(f"{columns} scores for {classes} classes")
    if fitted.decision.shape not in ((1,), (columns,)):
        raise ValueError(f"thresholds of {len(fitted.decision)} classes instead of {classes}")
