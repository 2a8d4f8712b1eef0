"""GeoJSON of polygons over an image, as QuPath writes it: outlines with their names and classes.

Coordinates are x and y of pixel corners (the first pixel covers 0..1), so they are moved by half a pixel here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from napari_dinov3.errors import FileFormatError
from napari_dinov3.io.layouts.layout import Layout
from napari_dinov3.io.text import read_json
from napari_dinov3.io.vectors import VectorFile


def _read(path: Path) -> tuple[VectorFile, ...]:
    content = read_json(path)
    features = content.get("features", [content]) if isinstance(content, dict) else content
    if not isinstance(features, list):
        raise FileFormatError(f"{path.name} holds no features", "a FeatureCollection of polygons", "Export it from QuPath again")
    rings: list[Any] = []
    columns: dict[str, list[Any]] = {"name": [], "class": [], "id": []}
    stacked = any(_plane(feature) != (0, 0) for feature in features)
    for number, feature in enumerate(features):
        for ring in _outer_rings(feature):
            rings.append(_corners(ring, number, path, _plane(feature) if stacked else None))
            for key, value in _properties(feature).items():
                columns[key].append(value)
    if not rings:
        raise FileFormatError(f"{path.name} holds no polygons", "at least one", "Choose another file")
    axes = "tzyx" if stacked else "yx"
    return (
        VectorFile(
            "shapes",
            rings,
            axes=axes,
            spacing=(1.0,) * len(axes),
            units=("pixel",) * len(axes),
            name=path.stem,
            path=path,
            columns=columns,
            facts=MappingProxyType({"format": "GeoJSON", "polygons": len(rings)}),
        ),
    )


def _outer_rings(feature: Any) -> Iterator[Any]:
    geometry = feature.get("geometry", feature) if isinstance(feature, dict) else None
    kind, coordinates = (geometry.get("type"), geometry.get("coordinates")) if isinstance(geometry, dict) else (None, None)
    polygons = {"Polygon": [coordinates], "MultiPolygon": coordinates}.get(str(kind), [])
    for polygon in polygons if isinstance(polygons, list) else []:
        if isinstance(polygon, list) and polygon:
            yield polygon[0]


def _corners(ring: Any, number: int, path: Path, plane: tuple[int, int] | None) -> Any:
    try:
        points = np.asarray(ring, dtype=np.float64)[:, :2]
    except (TypeError, ValueError, IndexError):
        points = np.empty((0, 2))
    if len(points) < 3 or not np.isfinite(points).all():
        raise FileFormatError(f"Feature {number} of {path.name} is no polygon", "three or more corners x, y", "Export it again")
    if (points[0] == points[-1]).all():
        points = points[:-1]
    corners = points[:, ::-1] - 0.5
    return corners if plane is None else np.column_stack([np.tile(plane, (len(corners), 1)), corners])


def _plane(feature: Any) -> tuple[int, int]:
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    plane = geometry.get("plane") if isinstance(geometry, dict) else None
    plane = plane if isinstance(plane, dict) else {}
    t, z = plane.get("t", 0), plane.get("z", 0)
    return (t, z) if isinstance(t, int) and isinstance(z, int) else (0, 0)


def _properties(feature: Any) -> dict[str, Any]:
    properties = feature.get("properties") if isinstance(feature, dict) else None
    properties = properties if isinstance(properties, dict) else {}
    kind = properties.get("classification")
    measured = properties.get("measurements")
    number = measured.get("label") if isinstance(measured, dict) else None
    return {
        "name": str(properties.get("name", "")),
        "class": str(kind.get("name", "")) if isinstance(kind, dict) else "",
        "id": number if isinstance(number, int) else 0,
    }


LAYOUT = Layout("GeoJSON", lambda path: path.suffix.lower() == ".geojson" and path.is_file(), _read)
