"""Masks as lists of pixels (Neurofinder) and as polygons (GeoJSON for QuPath): one entry an id, written exactly."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.io.atomic import write_text
from napari_dinov3.io.outlines import Ring, signed_area, trace
from napari_dinov3.progress import Job, Progress

if TYPE_CHECKING:
    from napari_dinov3.io.image_to_write import ImageToWrite

_NAMESPACE = uuid.UUID("6d1c3f0e-4b0a-5a5e-9f53-2f5f5b1c7d10")


def write_regions_steps(path: Path, image: ImageToWrite, *, overwrite: bool = False) -> Job[None]:
    """Write Neurofinder's ``[{"id": ..., "coordinates": [[row, col], ...]}, ...]``; one plane."""
    planes = list(_planes(path, image))
    if len(planes) > 1:
        raise InputError(
            f"{path.name} would hold {len(planes)} planes", "one plane: its regions have no depth", "Write one plane, or .ome.tif"
        )
    yield Progress(0, 1, f"Write {path.name}")
    entries = [{"id": number, "coordinates": pixels.tolist()} for number, pixels in _pixels_by_id(planes[0][1])]
    write_text(path, json.dumps(entries) + "\n", overwrite=overwrite)
    yield Progress(1, 1, f"Write {path.name}")


def write_geojson_steps(path: Path, image: ImageToWrite, *, overwrite: bool = False) -> Job[None]:
    """Write a FeatureCollection that QuPath opens as annotations: polygons along pixel borders, holes as holes, x and y."""
    planes = list(_planes(path, image))
    features = []
    for done, (plane, labels) in enumerate(planes):
        yield Progress(done, len(planes), f"Write {path.name}")
        for number, pixels in _pixels_by_id(labels):
            features.append(_feature(number, pixels, plane))
    content = {"type": "FeatureCollection", "features": features}
    write_text(path, json.dumps(content) + "\n", overwrite=overwrite)
    yield Progress(len(planes), len(planes), f"Write {path.name}")


def _planes(path: Path, image: ImageToWrite) -> Iterator[tuple[dict[str, int], npt.NDArray[Any]]]:
    if np.dtype(image.data.dtype).kind not in "bui" or not set(image.axes) <= set("tzyx"):
        raise InputError(
            f"{path.name} would hold axes {image.axes.upper()} of type {np.dtype(image.data.dtype)}",
            "labels: whole numbers with axes out of T, Z, Y, X",
            "Write the labels, or .ome.tif",
        )
    stack = tuple(image.data.shape[:-2])
    for index in np.ndindex(*stack):
        at = dict(zip(image.axes[:-2], index, strict=True))
        yield {"c": -1, "z": at.get("z", 0), "t": at.get("t", 0)}, np.asarray(image.data[index])


def _pixels_by_id(labels: npt.NDArray[Any]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Give the (k, 2) rows and columns of each id but 0, in one pass over the image."""
    rows, cols = np.nonzero(labels)
    values = labels[rows, cols]
    order = np.argsort(values, kind="stable")
    ids, first = np.unique(values[order], return_index=True)
    for number, part in zip(ids.tolist(), np.split(order, first[1:]), strict=len(ids) > 0):
        yield int(number), np.stack([rows[part], cols[part]], axis=1).astype(np.int64)


def _feature(number: int, pixels: npt.NDArray[np.int64], plane: dict[str, int]) -> dict[str, Any]:
    polygons = _polygons(trace(pixels))
    many = len(polygons) > 1
    geometry = {"type": "MultiPolygon" if many else "Polygon", "coordinates": polygons if many else polygons[0], "plane": plane}
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, f"{number} {plane} {pixels[0].tolist()}")),  # the same for the same mask
        "geometry": geometry,
        "properties": {"objectType": "annotation", "name": str(number), "measurements": {"label": number}},
    }


def _polygons(rings: list[Ring]) -> list[list[Any]]:
    """Put holes into the outer ring that surrounds them, closed, as x and y of pixel corners."""
    outer = [ring for ring in rings if signed_area(ring) > 0]
    polygons = [[_closed(ring)] for ring in outer]
    for hole in (ring for ring in rings if signed_area(ring) < 0):
        inside = [at for at, ring in enumerate(outer) if _surrounds(ring, hole[0])]
        polygons[min(inside, key=lambda at: signed_area(outer[at]))].append(_closed(hole))
    return polygons


def _surrounds(ring: Ring, corner: Ring) -> bool:
    """Whether the pixel diagonally inside a hole's corner lies in a ring: a ray along its row crosses an odd number of sides."""
    row, col = corner + 0.25
    following = np.roll(ring, -1, axis=0)
    crossing = (ring[:, 0] > row) != (following[:, 0] > row)  # only sides along columns can
    return bool(np.count_nonzero(crossing & (ring[:, 1] > col)) % 2)


def _closed(ring: Ring) -> list[list[int]]:
    corners = np.concatenate([ring, ring[:1]])[:, ::-1] + 0.5
    whole: list[list[int]] = corners.astype(int).tolist()
    return whole
