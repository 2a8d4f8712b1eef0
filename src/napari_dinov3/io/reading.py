"""Find the reader for a path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from napari_dinov3.errors import FileFormatError, InputError
from napari_dinov3.io.image_file import ImageFile, Kind
from napari_dinov3.io.units import PIXEL, chosen_spacing, chosen_unit
from napari_dinov3.wording import counted

_VOLUMES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_HDF5 = (".h5", ".hdf5", ".hdf")


def read(
    path: str | Path,
    *,
    series: int = 0,
    dataset: str | None = None,
    axes: str | None = None,
    spacing: float | Sequence[float] | None = None,
    units: str | Sequence[str] | None = None,
    kind: Kind | None = None,
    stack_axis: Literal["z", "t"] = "z",
) -> ImageFile:
    """Open an image file, or a folder of slices, without reading its pixels.

    Parameters
    ----------
    path : path-like
        TIFF (OME, ImageJ, BigTIFF, pyramids), PNG, JPEG, BMP, ``.npy``, ``.npz``, or a folder of numbered slices; with
        optional packages NIfTI, HDF5, NRRD, MetaImage and OME-Zarr. Of a data set's own layout, the image; see
        :func:`napari_dinov3.read_layers` for all of it.
    series : int
        Which image, where a TIFF file holds several.
    dataset : str, optional
        Which data set of an HDF5 file, array of an ``.npz`` file, or folder of an OME-Zarr image, such as
        ``"volumes/labels/neuron_ids"``; of a data set that lies in a folder, the image whose name ends so, such as ``"T2w"``.
    axes : str, optional
        One letter an array axis out of ``t z c y x s``, where the file does not say or is wrong.
    spacing : float or floats, optional
        World units between neighbours, one number or two for y and x (other axes keep the file's), or one an axis of
        t, z, y, x; the file's by default, 1 where it does not say.
    units : str or strs, optional
        Likewise; the file's by default, ``"pixel"`` where it does not say.
    kind : {"image", "labels"}, optional
        Whether the numbers are ids; as the file says by default, else image.
    stack_axis : {"z", "t"}
        What the order of files in a folder means.

    Returns
    -------
    image : ImageFile
        Goes into :func:`napari_dinov3.extract` and :func:`napari_dinov3.align_stack` as it is; ``.data`` is the lazy array.

    Raises
    ------
    InputError
        If there is nothing at the path, or no reader for it.
    FileFormatError
        If the file is damaged or not what its name says.

    Examples
    --------
    >>> import tempfile, pathlib, numpy as np, napari_dinov3 as nd
    >>> path = pathlib.Path(tempfile.mkdtemp(), "stack.npy")
    >>> np.save(path, np.zeros((4, 32, 48)))
    >>> nd.read(path, spacing=(50, 4, 4), units="nanometer").axes
    'zyx'
    """
    path = Path(path).expanduser().absolute()
    if not path.exists():
        raise InputError(f"There is nothing at {path}", "an image file or a folder of slices", "Check the path")
    image = _open(path, series, dataset, stack_axis)
    if 0 in image.shape:
        raise FileFormatError(f"{path.name} has shape {image.shape}: no pixels", "at least one", "Check how it was written")
    if axes is not None:
        image = _with_axes(image, axes.lower())
    if kind is not None:
        image = replace(image, kind=kind)
    return _with_spacing(image, spacing, units)


def _open(path: Path, series: int, dataset: str | None, stack_axis: Literal["z", "t"]) -> ImageFile:
    from napari_dinov3.io import numpy_file, raster, slices, tiff
    from napari_dinov3.io.layouts import find_layout

    suffix = path.suffix.lower()
    # other files and OME-Zarr know themselves which image is meant, and their `dataset` counts
    layout = find_layout(path) if (path.is_dir() and suffix != ".zarr") or suffix in (".swc", ".geojson", ".nrrd") else None
    if layout is not None:
        return _image_of(layout.read(path), layout.name, dataset, path)
    if path.is_dir():
        if suffix == ".zarr" or any((path / name).is_file() for name in (".zattrs", ".zgroup", "zarr.json")):
            from napari_dinov3.io.feature_store import holds_features
            from napari_dinov3.io.ome_zarr import read_ome_zarr

            if holds_features(path):
                raise InputError(f"{path.name} holds features", "an image", "Open it with napari_dinov3.io.read_features")
            return read_ome_zarr(path, dataset=dataset)
        return slices.read_folder(path, stack_axis=stack_axis)
    if path.stat().st_size == 0:
        raise FileFormatError(f"{path.name} is empty", "a file with an image in it", "Copy it again")
    if suffix in tiff.EXTENSIONS:
        return tiff.read_tiff(path, series=series)
    if suffix in raster.EXTENSIONS:
        pixels = raster.read_picture(path)
        return _plain(pixels, "yx" + "s" * (pixels.ndim - 2), path, suffix[1:].upper())
    if suffix in numpy_file.EXTENSIONS:
        image = _numpy(numpy_file.read_numpy(path, dataset=dataset), path)
        return image if dataset is None or suffix == ".npy" else _named_array(image, dataset)
    if path.name.lower().endswith((*_VOLUMES, *_HDF5)):
        return _open_volume(path, dataset)
    raise InputError(
        f"{path.name} ends in {suffix or 'nothing'}",
        "TIFF, PNG, JPEG, BMP, NumPy, NIfTI, NRRD, MetaImage, HDF5, OME-Zarr, a folder of slices or a data set's own layout",
        "Save it in one of these formats, for example as TIFF with Fiji",
    )


def _image_of(records: Sequence[Any], layout: str, dataset: str | None, path: Path) -> ImageFile:
    """Choose one image of a data set: by the end of its name, else the first."""
    images = [record for record in records if isinstance(record, ImageFile)]
    chosen = [image for image in images if dataset is None or image.name.endswith(dataset)]
    if not chosen:
        raise InputError(
            f"{path.name} ({layout}) holds {counted(len(images), 'image')}" + (f", none called {dataset!r}" if dataset else ""),
            f"one of: {', '.join(image.name for image in images)}" if images else "at least one",
            "Choose one with dataset=..., or open all of it with napari_dinov3.read_layers",
        )
    return chosen[0]


def _open_volume(path: Path, dataset: str | None) -> ImageFile:
    from napari_dinov3.io import hdf5, metaimage, nifti, nrrd

    name = path.name.lower()
    if name.endswith(_HDF5):
        return hdf5.read_hdf5(path, dataset=dataset)
    if name.endswith(metaimage.EXTENSIONS):
        return metaimage.read_metaimage(path)
    return nrrd.read_nrrd(path) if name.endswith((".nrrd", ".nhdr")) else nifti.read_nifti(path)


def _plain(array: Any, axes: str, path: Path, form: str) -> ImageFile:
    space = [a for a in axes if a not in "cs"]
    return ImageFile(
        levels=(array,),
        axes=axes,
        spacing=(1.0,) * len(space),
        units=(PIXEL,) * len(space),
        name=path.stem,
        path=path,
        facts=MappingProxyType({"format": form}),
    )


def _numpy(array: Any, path: Path) -> ImageFile:
    """Take axes, spacing and units from the JSON file that :func:`~napari_dinov3.write` puts beside an array, if it is there."""
    from napari_dinov3.image import resolve_axes
    from napari_dinov3.io.plain_files import read_facts

    known = read_facts(path)
    axes = resolve_axes(array.shape, known.get("axes"), None, path.name)
    image = _plain(array, axes, path, "numpy")
    spacing, units = known.get("spacing", {}), known.get("units", {})
    facts = {**image.facts, "provenance": known["provenance"]} if "provenance" in known else image.facts
    place = known.get("world_from_pixel")
    return replace(
        image,
        spacing=tuple(spacing.get(a, 1.0) for a in image.space),
        units=tuple(units.get(a, PIXEL) for a in image.space),
        kind=known.get("kind", "image"),
        facts=MappingProxyType(dict(facts)),
        placement=place if place is not None and len(place) == len(image.space) + 1 else None,
    )


def _named_array(image: ImageFile, dataset: str) -> ImageFile:
    """Call an image after the array it is in its file, and take it for labels where that says so."""
    labels = "label" in dataset.lower() and image.dtype.kind in "iu"
    name, facts = f"{image.name} {dataset}", MappingProxyType({**image.facts, "dataset": dataset})
    return replace(image, name=name, kind="labels" if labels else image.kind, facts=facts)


def _with_axes(image: ImageFile, axes: str) -> ImageFile:
    from napari_dinov3.image import resolve_axes

    resolve_axes(image.shape, axes, None, image.name)
    known = dict(zip(image.space, zip(image.spacing, image.units, strict=True), strict=True))
    space = [a for a in axes if a not in "cs"]
    found = [known.get(a, (1.0, PIXEL)) for a in space]
    return replace(
        image,
        axes=axes,
        spacing=tuple(f[0] for f in found),
        units=tuple(f[1] for f in found),
        placement=None,
        channel_names=image.channel_names if "c" in axes else (),
    )


def _with_spacing(image: ImageFile, spacing: float | Sequence[float] | None, units: str | Sequence[str] | None) -> ImageFile:
    if spacing is not None:
        given = (spacing, spacing) if isinstance(spacing, int | float) else tuple(spacing)
        image = replace(image, spacing=chosen_spacing(_per_axis(image, "spacing", given, image.spacing)), placement=None)
    if units is not None:
        names = (units,) * len(image.space) if isinstance(units, str) else tuple(units)
        image = replace(image, units=tuple(map(chosen_unit, _per_axis(image, "units", names, image.units))))
    return image


def _per_axis(image: ImageFile, what: str, values: tuple[Any, ...], known: tuple[Any, ...]) -> tuple[Any, ...]:
    """Fit values to the axes; two stand for y and x, and the others keep what the file says."""
    count = len(image.space)
    if len(values) == 2 and count > 2:
        values = (*known[: count - 2], *values)
    if len(values) != count:
        raise InputError(
            f"{what}={values} for {image.name!r} with axes {image.axes.upper()}",
            f"one value for each of {', '.join(image.space.upper())}",
            f"Give {count} values",
        )
    return values
