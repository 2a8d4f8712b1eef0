"""SNEMI3D: a TIFF stack of serial-section EM and one of neuron ids, ``train-input.tif`` and ``train-labels.tif``.

ISBI 2012 (``train-volume.tif``) and AC3/AC4 (``AC4_inputs.tif``) have the same form. The files state no pixel size; that of
SNEMI3D, 30 x 6 x 6 nm, is given to stacks of its name and size.

References
----------
Arganda-Carreras et al. 2013, SNEMI3D challenge; Kasthuri et al. 2015, Cell, doi:10.1016/j.cell.2015.06.054.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.layouts.layout import Layout

_IMAGE = re.compile(r"(?P<stem>.+)[-_](inputs?|volume|raw)\.tiff?", re.IGNORECASE)
_LABELS = re.compile(r"(?P<stem>.+)[-_]labels?\.tiff?", re.IGNORECASE)
SNEMI3D_SHAPE = (100, 1024, 1024)


def _pairs(folder: Path) -> list[tuple[Path, Path | None]]:
    """Stacks of images, each with its labels where they are there; nothing unless one stack has some."""
    if not folder.is_dir():
        return []
    names = [name for name in os.listdir(folder) if name.lower().endswith((".tif", ".tiff"))]
    if not any(_LABELS.fullmatch(name) for name in names):
        return []
    tiffs = [folder / name for name in sorted(names)]
    labels = {found["stem"].lower(): p for p in tiffs if (found := _LABELS.fullmatch(p.name))}
    images = [(found["stem"].lower(), p) for p in tiffs if (found := _IMAGE.fullmatch(p.name))]
    pairs = [(p, labels.get(stem)) for stem, p in images]
    known = {p for pair in pairs for p in pair}
    return pairs if any(label for _, label in pairs) and all(p in known for p in tiffs) else []


def _read(folder: Path) -> tuple[ImageFile, ...]:
    from napari_dinov3.io.tiff import read_tiff

    out: list[ImageFile] = []
    for image_path, labels_path in _pairs(folder):
        image = _calibrated(read_tiff(image_path))
        out.append(replace(image, name=image_path.stem))
        if labels_path is not None:
            labels = read_tiff(labels_path)
            if labels.shape == image.shape:
                labels = replace(labels, spacing=image.spacing, units=image.units, axes=image.axes)
            out.append(replace(labels, name=labels_path.stem, kind="labels"))
    return tuple(out)


def _calibrated(image: ImageFile) -> ImageFile:
    named = re.match(r"(train|test)-input", image.path.name, re.IGNORECASE)
    if named and image.shape == SNEMI3D_SHAPE and set(image.units) == {"pixel"}:
        return replace(image, spacing=(30.0, 6.0, 6.0), units=("nanometer",) * 3)
    return image


LAYOUT = Layout("SNEMI3D", lambda path: bool(_pairs(path)), _read)
