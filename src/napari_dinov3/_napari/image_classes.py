"""Classes of whole images in a viewer: planes with class names, pictures of mistakes as layers, and the same as Python."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3._napari import script
from napari_dinov3._napari.layers import Placement, Source, free_name
from napari_dinov3._napari.provenance import provenance
from napari_dinov3.errors import InputError
from napari_dinov3.evaluate.image_classification import ImageClassification
from napari_dinov3.recipe.image_run import ImagePredictions

_GAP = 0.05  # of the height of all layers, between them and the montage
_COLUMNS = 8


def parse_planes(text: str, count: int) -> tuple[int, ...]:
    """Read plane numbers such as ``"0-4, 9"``.

    Raises
    ------
    InputError
        If a part is no number or range, or a plane is not there.
    """
    planes: set[int] = set()
    for part in filter(None, (word.strip() for word in text.split(","))):
        found = re.fullmatch(r"(\d+)(?:\s*-\s*(\d+))?", part)
        if not found:
            raise InputError(f"Planes {part!r}", "numbers and ranges", "Write for example 0-4, 9")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first or last >= count:
            raise InputError(f"Planes {part!r}", f"planes of 0..{count - 1}, the lower one first", "Choose planes of the stack")
        planes.update(range(first, last + 1))
    if not planes:
        raise InputError("No planes", "numbers and ranges, such as 0-4, 9", "Type them, or take the visible plane")
    return tuple(sorted(planes))


def write_planes(planes: Sequence[int]) -> str:
    """Write plane numbers as ``parse_planes`` reads them, neighbours as ranges."""
    runs: list[list[int]] = []
    for plane in sorted(planes):
        if runs and plane == runs[-1][1] + 1:
            runs[-1][1] = plane
        else:
            runs.append([plane, plane])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def class_rows(labels: Mapping[int, str]) -> list[dict[str, Any]]:
    """List one row a class: its planes and how many they are."""
    return [
        {"class": name, "planes": write_planes([plane for plane, one in labels.items() if one == name]), "count": count}
        for name in dict.fromkeys(labels.values())
        if (count := sum(one == name for one in labels.values()))
    ]


def confusion_table(result: ImageClassification) -> tuple[list[dict[str, Any]], list[list[float]]]:
    """Give the rows of the confusion matrix, and the part of each true class for shading."""
    rows = [{"true ↓": row.pop("true \\ predicted"), **row} for row in result.confusion_rows()]
    part = result.confusion / np.maximum(result.confusion.sum(axis=1, keepdims=True), 1)
    return rows, part.tolist()


def add_montage(
    viewer: Any, pictures: npt.NDArray[np.uint8], titles: Sequence[str], *, name: str, metadata: Mapping[str, Any]
) -> Any:
    """Add small pictures beside everything else: one image layer, and points with what each shows.

    Parameters
    ----------
    viewer : napari viewer
        Also a ViewerModel.
    pictures : (n, H, W) or (n, H, W, 3) uint8
        At least one.
    titles : sequence of str
        Image, true and predicted class, as two lines.
    name : str
        Of the image layer; made free.
    metadata : mapping
        See :mod:`~napari_dinov3._napari.provenance`.

    Returns
    -------
    layer : napari Image
    """
    grid, corners = montage(pictures)
    scale, translate, units = _beside(viewer, grid.shape[:2])
    place = {"scale": (scale, scale), "translate": translate, "units": units}
    layer = viewer.add_image(grid, name=free_name(viewer.layers, name), rgb=grid.ndim == 3, metadata=dict(metadata), **place)
    parts = [title.partition("\n") for title in titles]
    classes = [what.partition(" → ") for _, _, what in parts]
    viewer.add_points(
        corners,
        name=free_name(viewer.layers, f"{name} names"),
        features={"image": [part[0] for part in parts], "true": [c[0] for c in classes], "predicted": [c[2] for c in classes]},
        text={"string": "{image}\n{true} → {predicted}", "size": 8, "color": "yellow", "anchor": "lower_left"},
        size=1,
        face_color="transparent",
        border_color="transparent",
        metadata=dict(metadata),
        **place,
    )
    return layer


def montage(pictures: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Put pictures of one size into rows of eight.

    Returns
    -------
    grid : (rows, cols[, 3]) uint8
        Black where the last row ends early.
    corners : (n, 2) float64
        Upper left corner of each picture.
    """
    count, height, width = pictures.shape[:3]
    columns = min(_COLUMNS, count)
    grid = np.zeros((-(-count // columns) * height, columns * width, *pictures.shape[3:]), np.uint8)
    corners = np.array([(at // columns * height, at % columns * width) for at in range(count)], np.float64)
    for picture, (row, col) in zip(pictures, corners.astype(int), strict=True):
        grid[row : row + height, col : col + width] = picture
    return grid, corners


def add_plane_classes(viewer: Any, placement: Placement, found: ImagePredictions, *, metadata: Mapping[str, Any]) -> Any:
    """Add a point a plane whose text is the plane's class, in the upper left corner; its features hold the probabilities."""
    points = np.zeros((len(found.names), placement.ndim))
    if placement.stack is not None:
        points[:, placement.stack] = np.arange(len(points))
    for axis, index in placement.fixed:
        points[:, axis] = index
    chances = {f"p {name}": found.probabilities[:, at] for at, name in enumerate(found.classes)}
    best = found.probabilities.max(axis=1)
    return viewer.add_points(
        points,
        name=free_name(viewer.layers, f"{placement.name} classes"),
        features={"class": found.labels, "probability": best, **chances},
        text={"string": "{class} ({probability:.2f})", "size": 14, "color": "yellow", "anchor": "lower_left"},
        size=1,
        face_color="transparent",
        border_color="transparent",
        metadata=dict(metadata),
        **placement.pixel_transform(),
    )


def run_metadata(source: str, settings: Mapping[str, Any], result: ImageClassification, code: str) -> dict[str, Any]:
    """Describe a result for its layers."""
    return provenance("classify_images", source=source, settings=settings, script=code, measured=result.summary())


def planes_script(source: Source, labels: Mapping[int, str], options: Mapping[str, Any], *, multiscale: bool) -> str:
    """Write the classification of planes as Python."""
    words = "".join(f", {name}={value!r}" for name, value in options.items())
    return script.script_of(
        [
            *script.layer_lines(source, multiscale=multiscale),
            f"image = nd.as_planes(image, axes={script.axes_of(source)!r}, name={source.placement.name!r})",
            f"run, planes = nd.classify_planes(image, {dict(sorted(labels.items()))!r}{words})",
            "print(run.to_markdown())",
            "print(planes.to_csv())",
        ]
    )


def _beside(viewer: Any, shape: tuple[int, ...]) -> tuple[float, tuple[float, float], tuple[Any, Any]]:
    """Choose scale, place and units so that a picture stands to the right of all layers, as high as they are."""
    if not len(viewer.layers):
        return 1.0, (0.0, 0.0), ("pixel", "pixel")
    low, high = np.asarray(viewer.layers.extent.world)[:, -2:]
    height = max(float(high[0] - low[0]), 1e-9)
    return height / shape[0], (float(low[0]), float(high[1] + _GAP * height)), tuple(viewer.layers[0].units[-2:])
