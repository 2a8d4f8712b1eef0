"""Feature maps on disk: a zarr array with one plane a chunk, and every other field as attributes.

A map that was read back is not loaded: planes are read when a task asks for them.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from napari_dinov3.errors import FileFormatError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.io.atomic import written_whole
from napari_dinov3.progress import Job, Progress

FORMAT = "napari-dinov3-features"
VERSION = 1
_FIELDS = ("backbone", "revision", "stride", "first_centre", "axes")


def write_features_steps(path: Path, features: FeatureMap, *, overwrite: bool = False) -> Job[None]:
    """Write a map plane by plane in the precision it has."""
    import zarr

    facts = {
        "format": FORMAT,
        "version": VERSION,
        **{name: getattr(features, name) for name in _FIELDS},
        "image_shape": list(features.image_shape),
        "spacing": list(features.spacing),
        "units": list(features.units),
        "world_from_pixel": np.asarray(features.world_from_pixel).tolist(),
        "provenance": dict(features.provenance),
        "cls": None if features.cls is None else np.asarray(features.cls, np.float64).tolist(),
    }
    with written_whole(path, overwrite=overwrite) as part:
        shape = tuple(features.array.shape)
        array = zarr.create_array(store=part, shape=shape, chunks=(1, *shape[1:]), dtype=str(features.array.dtype))
        array.attrs.put(facts)
        for index in range(len(features)):
            yield Progress(index, len(features), f"Write {path.name}")
            array[index] = features.array[index]


def holds_features(path: Path) -> bool:
    """Whether a folder is a feature map of ours rather than an image."""
    try:
        found = json.loads((path / "zarr.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    attributes = found.get("attributes") if isinstance(found, dict) else None
    return isinstance(attributes, dict) and attributes.get("format") == FORMAT


def read_features(path: str | Path) -> FeatureMap:
    """Open a feature map that :func:`napari_dinov3.write` has written.

    Parameters
    ----------
    path : path-like
        Folder ending in ``.zarr``.

    Returns
    -------
    features : FeatureMap
        Its array stays on disk.

    Raises
    ------
    FileFormatError
        If it is something else.
    """
    import zarr

    path = Path(path).expanduser().absolute()
    try:
        array = zarr.open_array(store=path, mode="r")
        facts: dict[str, Any] = dict(array.attrs)
        if facts.get("format") != FORMAT or facts.get("version") != VERSION or array.ndim != 4:
            raise ValueError(f"it is not a feature map of version {VERSION}")
        cls = facts["cls"]
        return FeatureMap(
            array=array,
            **{name: facts[name] for name in _FIELDS},
            image_shape=tuple(facts["image_shape"]),
            spacing=tuple(facts["spacing"]),
            units=tuple(facts["units"]),
            world_from_pixel=np.array(facts["world_from_pixel"], dtype=np.float64).reshape(4, 4),
            cls=None if cls is None else np.array(cls, dtype=np.float32),
            provenance=MappingProxyType(dict(facts["provenance"])),
        )
    except Exception as error:  # zarr raises many kinds on folders that are something else
        raise FileFormatError(
            f"{path} cannot be opened as features: {error}", "a folder that this package wrote", "Extract the features again"
        ) from error
