"""Find the writer for a path, and say what the array's axes are.

The formats: OME-TIFF (``.ome.tif``, ``.tif``), numpy (``.npy``, with a JSON file beside it for what numpy cannot hold), PNG for
a single picture, GeoJSON and Neurofinder's regions for masks, CSV and JSON for tables and alignments, zarr for feature maps; with
optional packages NIfTI (``.nii.gz``) and OME-Zarr.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_dinov3.errors import InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.geometry import affine
from napari_dinov3.io import feature_store, nifti, ome_tiff, ome_zarr, plain_files, regions, tables
from napari_dinov3.io.atomic import check_target
from napari_dinov3.io.image_file import ImageFile, Kind
from napari_dinov3.io.image_to_write import ImageToWrite
from napari_dinov3.io.units import PIXEL, chosen_spacing, chosen_unit, unit_name
from napari_dinov3.progress import Job, Progress, collect

_IMAGES: dict[str, Callable[..., Job[None]]] = {
    ".tif": ome_tiff.write_steps,
    ".tiff": ome_tiff.write_steps,
    ".npy": plain_files.write_numpy_steps,
    ".png": plain_files.write_png_steps,
    ".nii": nifti.write_nifti_steps,
    ".nii.gz": nifti.write_nifti_steps,
    ".zarr": ome_zarr.write_ome_zarr_steps,
    ".geojson": regions.write_geojson_steps,
    "regions.json": regions.write_regions_steps,
}
_TABLES = (".csv", ".json")


def write(path: str | Path, data: Any, **options: Any) -> Path:
    """Write an image, labels or a table.

    Parameters
    ----------
    path : path-like
        Where; its ending decides the format: ``.ome.tif``, ``.tif``, ``.ome.zarr``, ``.nii``, ``.nii.gz``, ``.npy``, ``.png``;
        ``.geojson`` (and ``.json`` with ``kind="labels"``) for masks; ``.csv`` and ``.json`` for tables and alignments; ``.zarr``
        keeps all of a feature map, ``.ome.zarr`` and ``.ome.tif`` its numbers as channels.
    data : array-like, opened file, FeatureMap, or table
        An image of any kind this package works with (numpy, dask, zarr; large ones are written plane by plane), or for CSV and
        JSON a list of rows (mappings), a mapping of columns, or for JSON anything JSON can hold.
    **options
        Of :func:`write_steps`.

    Returns
    -------
    path : Path
        Absolute.

    Examples
    --------
    >>> import tempfile, pathlib, numpy as np, napari_dinov3 as nd
    >>> path = pathlib.Path(tempfile.mkdtemp(), "labels.ome.tif")
    >>> _ = nd.write(path, np.zeros((4, 32, 48), np.uint32), spacing=(50, 4, 4), units="nanometer", kind="labels")
    >>> nd.read(path).spacing
    (50.0, 4.0, 4.0)
    """
    return collect(write_steps(path, data, **options))


def write_steps(
    path: str | Path,
    data: Any,
    *,
    like: Any = None,
    axes: str | None = None,
    spacing: float | Sequence[float] | None = None,
    units: str | Sequence[str] | None = None,
    kind: Kind | None = None,
    name: str | None = None,
    channel_names: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Job[Path]:
    """Write step by step; see :func:`write`.

    Parameters
    ----------
    path, data
        As in :func:`write`.
    like : Planes, ImageFile or FeatureMap, optional
        Take spacing, units and place from it; `data` has its pixels (a plane axis of length 1 is dropped for a 2D image).
    axes : str, optional
        One letter an array axis out of ``t z c y x s``; by default those of `like` or of `data` (an opened file), else guessed
        as :func:`napari_dinov3.as_planes` does.
    spacing, units
        Of the axes out of t, z, y, x: one number for y and x, or one each; those of `like` by default, else 1 and ``"pixel"``.
    kind : {"image", "labels"}, optional
        Ids are written exactly, never rounded; ``"image"`` by default.
    name : str, optional
        For people; the file's name by default.
    channel_names : sequence of str
        One a channel.
    provenance : mapping, optional
        How the result was made; JSON-able, kept in the file.
    overwrite : bool
        Whether an existing file may be replaced.

    Yields
    ------
    progress : Progress
        After each plane.

    Raises
    ------
    InputError
        Before anything is written: if the path exists, its ending is unknown, or the data do not fit it.
    """
    target = check_target(path, overwrite=overwrite)
    suffix = ".nii.gz" if target.name.lower().endswith(".nii.gz") else target.suffix.lower()
    if suffix == ".json" and kind == "labels":
        suffix = "regions.json"
    if suffix in _TABLES:
        data = _as_table(data, suffix)
        yield Progress(0, 1, f"Write {target.name}")
        tables.write_table(target, data, provenance=provenance, overwrite=overwrite)
        yield Progress(1, 1, f"Write {target.name}")
        return target
    if suffix == ".zarr" and isinstance(data, FeatureMap) and not target.name.lower().endswith(".ome.zarr"):
        yield from feature_store.write_features_steps(target, data, overwrite=overwrite)
        return target
    if suffix not in _IMAGES:
        raise InputError(
            f"{target.name} ends in {suffix or 'nothing'}",
            f"one of {', '.join((*_IMAGES, *_TABLES))}",
            "Choose a name with one of these endings, for example .ome.tif",
        )
    image = _describe(data, like, axes)
    image = _with_options(image, spacing, units)
    image = replace(
        image,
        kind=kind or image.kind,
        name=name or target.name.split(".")[0],
        channel_names=tuple(channel_names) or image.channel_names,
        provenance=provenance or image.provenance,
    )
    yield from _IMAGES[suffix](target, image, overwrite=overwrite)
    return target


def _as_table(data: Any, suffix: str) -> Any:
    """See an alignment as a table of its transforms, or all of it as JSON; anything else is a table already."""
    if not isinstance(getattr(data, "transforms", None), np.ndarray):
        return data
    if suffix == ".json":
        from napari_dinov3.align.files import as_content

        return as_content(data)
    names = [f"r{row}c{col}" for row in range(3) for col in range(3)]
    return [{"section": i, **dict(zip(names, matrix.ravel().tolist(), strict=True))} for i, matrix in enumerate(data.transforms)]


def _features_image(features: FeatureMap) -> ImageToWrite:
    """See a feature map as an image with a channel a number, one pixel a patch, where the patches lie."""
    import dask.array

    flat = features.axes == "yx"
    stack = "" if flat else features.axes[0]
    array = features.array
    data = (array if features.in_memory else dask.array.from_array(array, chunks=(1, *array.shape[1:]))).transpose(0, 3, 1, 2)
    depth, row, col = features.spacing
    used = slice(1, 4) if flat else slice(0, 4)
    return ImageToWrite(
        data[0] if flat else data,
        f"{stack}cyx",
        dict(zip(f"{stack}yx", (depth, row * features.stride, col * features.stride)[flat:], strict=True)),
        dict(zip(f"{stack}yx", features.units[flat:], strict=True)),
        world_from_pixel=features.world_from_patch[used, used],
        provenance=features.provenance,
    )


def _describe(data: Any, like: Any, axes: str | None) -> ImageToWrite:
    """Bring axes, spacing, units and place together from the data and from what it is like."""
    if isinstance(data, FeatureMap):
        return _features_image(data)
    if isinstance(data, ImageFile):
        like = data if like is None else like
        axes = axes or data.axes
        kind, names = data.kind, data.channel_names
        data = data.data
    else:
        kind, names = "image", ()
        if hasattr(data, "world_from_pixel") and hasattr(data, "data"):  # Planes
            like = data if like is None else like
            data = data.data
    if not hasattr(data, "shape") or not hasattr(data, "dtype"):
        data = np.asarray(data)
    if np.dtype(data.dtype).kind not in "buif" or 0 in data.shape:
        raise InputError(
            f"Data of type {np.dtype(data.dtype)} and shape {tuple(data.shape)}",
            "at least one pixel, of plain numbers",
            "Convert it first",
        )
    if isinstance(like, ImageFile):
        return _like_file(data, like, axes, kind, names)
    if like is not None:
        return _like_planes(data, like, axes, kind)
    data, axes = _in_order(data, _resolve(data, axes))
    space = [a for a in axes if a not in "cs"]
    return ImageToWrite(data, axes, dict.fromkeys(space, 1.0), dict.fromkeys(space, PIXEL), kind=kind, channel_names=names)


def _resolve(data: Any, axes: str | None) -> str:
    from napari_dinov3.image import resolve_axes

    return resolve_axes(tuple(data.shape), axes, None, "data")


def _in_order(data: Any, axes: str) -> tuple[Any, str]:
    order = sorted(range(len(axes)), key=lambda at: "tzcyxs".index(axes[at]))
    if order == list(range(len(axes))):
        return data, axes
    if not hasattr(data, "transpose"):
        raise InputError(
            f"Axes {axes.upper()}", "the order T Z C Y X S for an array that cannot be transposed", "Pass it as a dask array"
        )
    return data.transpose(order), "".join(axes[at] for at in order)


def _like_file(data: Any, like: ImageFile, axes: str | None, kind: Kind, names: tuple[str, ...]) -> ImageToWrite:
    if axes is None and tuple(data.shape) == like.shape:
        axes = like.axes
    if axes is None:
        return _like_planes(data, like.planes(channel=0 if "c" in like.axes else None), None, kind)
    data, axes = _in_order(data, _resolve(data, axes))
    space = "".join(a for a in axes if a not in "cs")
    spacing = {a: like.spacing[like.space.index(a)] if a in like.space else 1.0 for a in space}
    units = {a: like.units[like.space.index(a)] if a in like.space else PIXEL for a in space}
    place = like.placement if space == like.space else None
    return ImageToWrite(
        data, axes, spacing, units, kind, channel_names=names, world_from_pixel=place, provenance=like.facts.get("provenance")
    )


def _like_planes(data: Any, like: Any, axes: str | None, kind: Kind) -> ImageToWrite:
    """Take after Planes or a FeatureMap: one plane axis, then rows and columns."""
    flat = like.axes == "yx"
    stack = "z" if flat else like.axes[0]
    if axes is None:
        if flat and data.ndim >= 3 and data.shape[0] == 1:
            data = data[0]
        rest = "yx" if flat and data.ndim < 3 + (data.shape[-1] in (3, 4)) else f"{stack}yx"
        extra = data.ndim - len(rest)
        if extra not in (0, 1) or (extra == 1 and data.shape[-1] not in (3, 4)):
            raise InputError(
                f"Data of shape {tuple(data.shape)} like an image with axes {like.axes.upper()}",
                "planes, rows and columns, and perhaps a colour",
                "Name the axes with axes='zcyx' or the like",
            )
        axes = rest + "s" * extra
    data, axes = _in_order(data, _resolve(data, axes))
    at = {stack: 0, "y": 1, "x": 2}
    space = [a for a in axes if a not in "cs"]
    spacing = {a: float(like.spacing[at[a]]) if a in at else 1.0 for a in space}
    units = {a: unit_name(like.units[at[a]]) if a in at else PIXEL for a in space}
    place = None
    if all(a in at for a in space):
        keep = [*(at[a] for a in space), 3]
        place = np.asarray(like.world_from_pixel, dtype=np.float64)[np.ix_(keep, keep)]
        if np.allclose(place, affine([spacing[a] for a in space]), rtol=1e-12, atol=0):
            place = None
    return ImageToWrite(data, axes, spacing, units, kind, world_from_pixel=place)


def _with_options(image: ImageToWrite, spacing: Any, units: Any) -> ImageToWrite:
    space = [a for a in image.axes if a not in "cs"]
    if spacing is not None:
        given = (spacing, spacing) if isinstance(spacing, int | float) else tuple(spacing)
        values = chosen_spacing(_aligned("spacing", given, image.spacing))
        image = replace(image, spacing=dict(zip(space, values, strict=True)), world_from_pixel=None)
    if units is not None:
        given = (units,) * len(space) if isinstance(units, str) else tuple(units)
        names = map(chosen_unit, _aligned("units", given, image.units))
        image = replace(image, units=dict(zip(space, names, strict=True)))
    return image


def _aligned(what: str, values: tuple[Any, ...], known: Mapping[str, Any]) -> tuple[Any, ...]:
    """Fit values to the axes of `known`; fewer stand for the last ones, and the others keep what is known."""
    space, have = list(known), list(known.values())
    if len(values) in (2, 3) and len(values) != len(space):
        values = (*have[: max(0, len(space) - len(values))], *values[-len(space) :])
    if len(values) != len(space):
        raise InputError(f"{what}={values} for axes {', '.join(space).upper()}", f"{len(space)} values", "Give one value an axis")
    return values
