"""Neurofinder: a calcium movie of one TIFF a frame, and the cells in it as lists of pixels.

``images/image00000.tiff`` ..., ``regions/regions.json`` (``[{"coordinates": [[row, col], ...]}, ...]``) and ``info.json`` (rate
and pixel size). Regions open as labels, where a later one covers an earlier one, and as outlines, where they overlap; the mean
and the local correlation come along and are computed when they are first shown.

References
----------
CodeNeuro 2016, https://github.com/codeneuro/neurofinder
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import FileFormatError
from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.layouts.layout import Layout
from napari_dinov3.io.outlines import outline
from napari_dinov3.io.projections import Projections
from napari_dinov3.io.text import read_json
from napari_dinov3.io.units import PIXEL, usable_spacing
from napari_dinov3.io.vectors import VectorFile


def _claims(path: Path) -> bool:
    if not path.is_dir() or not (path / "images").is_dir():
        return False
    return (path / "regions" / "regions.json").is_file() or (
        (path / "info.json").is_file() and path.name.startswith("neurofinder")
    )


def _read(folder: Path) -> tuple[ImageFile | VectorFile, ...]:
    from napari_dinov3.io.slices import read_folder

    movie = replace(read_folder(folder / "images", stack_axis="t"), name=folder.name, path=folder)
    movie = _calibrated(movie, folder / "info.json")
    flat: dict[str, Any] = {"axes": "yx", "spacing": movie.spacing[-2:], "units": movie.units[-2:], "path": folder}
    out: list[ImageFile | VectorFile] = [movie]
    if movie.axes == "tyx":
        views = Projections(movie.data)
        for which, what in enumerate(("mean", "local correlation")):
            facts = MappingProxyType({"format": "Neurofinder", "view": what, "hidden": True})
            out.append(ImageFile(levels=(views.lazy(which),), name=f"{folder.name} {what}", facts=facts, **flat))
    if (folder / "regions" / "regions.json").is_file():
        masks = read_regions(folder / "regions" / "regions.json", movie.shape[-2:] if not movie.rgb else movie.shape[1:3])
        out += _regions(masks, movie.shape[1:3], folder, flat)
    return tuple(out)


def read_regions(path: Path, shape: tuple[int, ...]) -> list[npt.NDArray[np.int64]]:
    """Read the pixels of each region.

    Returns
    -------
    regions : list of (k, 2) int64
        Row and column of each pixel.

    Raises
    ------
    FileFormatError
        If it is no list of regions, or one lies outside the image.
    """
    content = read_json(path)
    regions = []
    for number, entry in enumerate(content if isinstance(content, list) else []):
        try:
            pixels = np.asarray(entry["coordinates"], dtype=np.float64)
        except (TypeError, KeyError, ValueError):
            pixels = np.empty((0, 0))
        right = pixels.ndim == 2 and pixels.shape[1] == 2 and len(pixels) > 0 and np.isfinite(pixels).all()
        if not right or pixels.min() < 0 or (pixels >= shape).any():
            raise FileFormatError(
                f"Region {number} of {path.name} is no list of pixels within {shape[0]} x {shape[1]}",
                '{"coordinates": [[row, col], ...]}',
                "Check that the regions belong to these images",
            )
        regions.append(pixels.astype(np.int64))
    if not isinstance(content, list):
        raise FileFormatError(
            f"{path.name} holds no list of regions", '[{"coordinates": [[row, col], ...]}, ...]', "Copy it again"
        )
    return regions


def _regions(
    masks: list[npt.NDArray[np.int64]], shape: tuple[int, ...], folder: Path, flat: dict[str, Any]
) -> tuple[ImageFile | VectorFile, ...]:
    labels = np.zeros(shape, dtype=np.uint16 if len(masks) < 2**16 else np.uint32)
    outlines, ids = [], []
    for number, pixels in enumerate(masks, start=1):
        labels[pixels[:, 0], pixels[:, 1]] = number
        rings = outline(pixels)
        outlines += rings
        ids += [number] * len(rings)
    facts = MappingProxyType({"format": "Neurofinder", "regions": len(masks)})
    drawn = MappingProxyType({**facts, "hidden": True})
    return (
        ImageFile(levels=(labels,), name=f"{folder.name} regions", kind="labels", facts=facts, **flat),
        VectorFile("shapes", outlines, name=f"{folder.name} outlines", columns={"id": ids}, facts=drawn, **flat),
    )


def _calibrated(movie: ImageFile, info: Path) -> ImageFile:
    stated = read_json(info) if info.is_file() else {}
    stated = stated if isinstance(stated, dict) else {}
    rate, density = usable_spacing(stated.get("rate-hz")), usable_spacing(stated.get("pixels-per-micron"))
    spacing, units = list(movie.spacing), list(movie.units)
    if rate:
        spacing[0], units[0] = 1 / rate, "second"
    if density and units[-1] == PIXEL:
        spacing[-2:], units[-2:] = [1 / density] * 2, ["micrometer"] * 2
    facts = {**movie.facts, "format": "Neurofinder", **{k: v for k, v in stated.items() if isinstance(v, str | int | float)}}
    return replace(movie, spacing=tuple(spacing), units=tuple(units), facts=MappingProxyType(facts))


LAYOUT = Layout("Neurofinder", _claims, _read)
