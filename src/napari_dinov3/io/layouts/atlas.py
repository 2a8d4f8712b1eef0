"""The Allen mouse brain atlas (CCF) and BrainGlobe atlases: a template, an annotation of region ids, their names and colours.

Allen: ``annotation_25.nrrd`` with a template beside it, and an ontology such as ``1.json`` (structure graph) or
``structure_tree_safe_2017.csv``. BrainGlobe: a folder with ``annotation.tiff``, ``reference.tiff``, ``structures.json`` and
``metadata.json``. Ids are never rounded.

References
----------
Wang et al. 2020, Cell, doi:10.1016/j.cell.2020.04.007; Claudi et al. 2020, JOSS, doi:10.21105/joss.02668.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.layouts.layout import Layout
from napari_dinov3.io.legend import find_legend, read_legend
from napari_dinov3.io.text import read_json
from napari_dinov3.io.units import usable_spacing

_ALLEN = re.compile(r"(annotation|average_template|ara_nissl)_(\d+)(?:um)?\.nrrd", re.IGNORECASE)
_BRAINGLOBE = ("annotation.tiff", "reference.tiff", "structures.json", "metadata.json")


def _allen_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if _ALLEN.fullmatch(path.name) else []
    files = [path / name for name in os.listdir(path) if _ALLEN.fullmatch(name)] if path.is_dir() else []
    annotated = {match[2] for p in files if (match := _ALLEN.fullmatch(p.name)) and match[1].lower() == "annotation"}
    finest = min(annotated, key=int, default=None)
    chosen = [p for p in files if (match := _ALLEN.fullmatch(p.name)) and match[2] == finest]
    return sorted(chosen, key=lambda p: (p.name.lower().startswith("annotation"), p.name))


def _claims(path: Path) -> bool:
    return bool(_allen_files(path)) or (path.is_dir() and all((path / name).is_file() for name in _BRAINGLOBE))


def _read(path: Path) -> tuple[ImageFile, ...]:
    allen = _allen_files(path)
    return tuple(_read_allen(p) for p in allen) if allen else _read_brainglobe(path)


def _read_allen(path: Path) -> ImageFile:
    from napari_dinov3.io.nrrd import read_nrrd

    image = read_nrrd(path)
    match = _ALLEN.fullmatch(path.name)
    size = float(match[2]) if match else 0.0
    if set(image.units) == {"pixel"} and all(abs(step - size) < 1e-6 * size for step in image.spacing):
        image = replace(image, units=("micrometer",) * len(image.units))  # the files leave their unit out
    return _with_legend(image, find_legend(path.parent)) if match and match[1].lower() == "annotation" else image


def _read_brainglobe(folder: Path) -> tuple[ImageFile, ...]:
    from napari_dinov3.io.tiff import read_tiff

    stated = read_json(folder / "metadata.json")
    sizes = [usable_spacing(value) for value in stated.get("resolution", ())] if isinstance(stated, dict) else []
    out = []
    for name in ("reference.tiff", "annotation.tiff"):
        image = replace(read_tiff(folder / name), name=f"{folder.name} {name.split('.')[0]}")
        if len(sizes) == len(image.space) and None not in sizes:
            spacing = tuple(float(s) for s in sizes if s is not None)
            image = replace(image, spacing=spacing, units=("micrometer",) * len(spacing), placement=None)
        out.append(_with_legend(image, folder / "structures.json") if name.startswith("annotation") else image)
    return tuple(out)


def _with_legend(image: ImageFile, legend: Path | None) -> ImageFile:
    names = {} if legend is None else read_legend(legend)
    return replace(image, kind="labels" if image.dtype.kind in "iu" else image.kind, legend=names)


LAYOUT = Layout("brain atlas", _claims, _read)
