"""OME-Zarr with labels: the image and every label image of its ``labels`` folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.layouts.layout import Layout


def _names(path: Path) -> list[str]:
    """Names that the labels folder lists, those that are folders in it."""
    for file, key in ((path / "labels" / "zarr.json", "attributes"), (path / "labels" / ".zattrs", None)):
        if not file.is_file() or file.stat().st_size > 1 << 20:
            continue
        try:
            content: Any = json.loads(file.read_text("utf-8"))
        except (ValueError, RecursionError, OSError):
            return []
        attributes = content.get(key, {}) if key and isinstance(content, dict) else content
        listed = attributes.get("ome", attributes).get("labels") if isinstance(attributes, dict) else None
        names = [str(name) for name in listed] if isinstance(listed, list) else []
        return [name for name in names if Path(name).name == name and name != ".." and (path / "labels" / name).is_dir()]
    return []


def _read(path: Path) -> tuple[ImageFile, ...]:
    from napari_dinov3.io.ome_zarr import read_ome_zarr

    image = read_ome_zarr(path)
    labels = ((name, read_ome_zarr(path, dataset=f"labels/{name}")) for name in _names(path))
    return image, *(replace(one, kind="labels", name=f"{image.name} {name}") for name, one in labels)


LAYOUT = Layout("OME-Zarr with labels", lambda path: path.is_dir() and bool(_names(path)), _read)
