"""What napari calls when a file is dropped on it, or a layer is saved: the readers and writers of this package.

The manifest claims files that say where they lie (OME and slide TIFF, NIfTI, NRRD, MetaImage, HDF5, OME-Zarr, SWC, GeoJSON),
folders of slices and data sets; they open with scale, units and channel names. Plain pictures and TIFF files stay with napari's
own reader. Saving as OME-TIFF or OME-Zarr keeps scale, units and the provenance of a result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3 import io
from napari_dinov3._napari.file_options import LayerData
from napari_dinov3._napari.open_file import file_layers
from napari_dinov3._napari.provenance import KEY
from napari_dinov3.errors import InputError
from napari_dinov3.io.image_file import Kind
from napari_dinov3.io.layouts import find_layout
from napari_dinov3.io.slices import holds_slices
from napari_dinov3.io.units import unit_name


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Offer to open a file or folder, or leave it to others.

    Parameters
    ----------
    path : str or list of str
        What was dropped. Several files are left to napari, which stacks them.

    Returns
    -------
    reader : callable or None
        None for a folder that is no stack.
    """
    if not isinstance(path, str):
        return None
    try:
        opened = io.read_layers(path)
    except InputError:
        nothing = Path(path).is_dir() and find_layout(Path(path)) is None and not holds_slices(Path(path))
        return None if nothing else read_layers  # which fails again, and so says why in napari
    return lambda _: file_layers(opened)


def read_layers(path: str | list[str], **options: Any) -> list[LayerData]:
    """Open a file, a folder or a data set as layers; options as of :func:`napari_dinov3.read_layers`."""
    return file_layers(io.read_layers(path if isinstance(path, str) else path[0], **options))


def write_image(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Save an image layer as OME-TIFF, OME-Zarr or NIfTI; the dialog has asked before a file is replaced."""
    return _written(path, data, attributes, "image")


def write_labels(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Save a labels layer, ids exact, as OME-TIFF, OME-Zarr, NIfTI or GeoJSON; the dialog has asked before a file is replaced."""
    return _written(path, data, attributes, "labels")


def _written(path: str, data: Any, attributes: Mapping[str, Any], kind: Kind) -> list[str]:
    try:
        return [str(_write(path, data, attributes, kind))]
    except InputError as error:  # a ValueError, which napari takes for "nobody can write this" and does not show
        raise OSError(str(error)) from error


def world_from_data(attributes: Mapping[str, Any], ndim: int) -> npt.NDArray[np.float64]:
    """Build the (ndim + 1, ndim + 1) matrix of a layer from the attributes it is saved with."""
    from napari.layers import Points

    names = ("scale", "translate", "rotate", "shear", "affine")
    layer = Points(ndim=ndim, **{name: attributes[name] for name in names if attributes.get(name) is not None})
    origin = np.asarray(layer.data_to_world(np.zeros(ndim)), dtype=np.float64)
    matrix = np.eye(ndim + 1)
    matrix[:ndim, :ndim] = np.stack([layer.data_to_world(step) for step in np.eye(ndim)], axis=1) - origin[:, None]
    matrix[:ndim, ndim] = origin
    return matrix


def _write(path: str, data: Any, attributes: Mapping[str, Any], kind: Kind) -> Path:
    from napari_dinov3.io.image_file import ImageFile

    levels = tuple(data) if attributes.get("multiscale") or isinstance(data, list | tuple) else (data,)
    rgb = bool(attributes.get("rgb"))
    ndim = len(levels[0].shape) - rgb
    axes = _axes(attributes.get("axis_labels") or (), ndim)
    matrix = world_from_data(attributes, ndim)
    units = [unit_name(str(unit)) for unit in attributes.get("units") or ["pixel"] * ndim]
    space = [at for at, axis in enumerate(axes) if axis != "c"]
    keep = [*space, ndim]
    image = ImageFile(
        levels=levels[:1],
        axes=axes + "s" * rgb,
        spacing=tuple(float(np.linalg.norm(matrix[:-1, at])) for at in space),
        units=tuple(units[at] for at in space),
        name=str(attributes.get("name", "layer")),
        path=Path(path),
        kind=kind,
        placement=matrix[np.ix_(keep, keep)],
    )
    record = (attributes.get("metadata") or {}).get(KEY)
    asked = not Path(path).is_dir()  # the dialog asks for files; a folder that is there is nobody's to replace
    return io.write(path, image, name=image.name, provenance=record if isinstance(record, Mapping) else None, overwrite=asked)


def _axes(labels: Sequence[str], ndim: int) -> str:
    """Take the letters of a layer's axes where they are known, else count z, y, x from the end."""
    letters = [str(label).strip().lower()[:1] for label in labels]
    named = len(letters) == ndim and len(set(letters)) == ndim and {"y", "x"} <= set(letters) <= set("tzcyx")
    if named and "".join(letters) == "".join(sorted(letters, key="tzcyx".index)):
        return "".join(letters)
    if ndim > 4:
        raise InputError(
            f"A layer with {ndim} axes called {tuple(labels)}",
            "axes out of t, z, c, y, x in this order",
            "Name them in the layer's axis labels, or save a part",
        )
    return "tzyx"[-ndim:]
