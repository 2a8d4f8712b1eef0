"""Files and synthetic samples as layers, with scale and units set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_dinov3._napari.provenance import KEY, provenance
from napari_dinov3.io import read
from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.progress import Job, Progress
from napari_dinov3.synthetic import MODALITIES, Sample

LayerData = tuple[Any, dict[str, Any], str]
"""Data, keywords and layer type, as napari's readers and sample providers give them."""


def open_steps(path: str | Path) -> Job[ImageFile]:
    """Open a file or a folder of slices; pixels are read later."""
    yield Progress(0, 1, f"opening {Path(path).name}")
    return read(path)


def calibrated(image: ImageFile, *, plane: float, row: float, col: float, unit: str) -> ImageFile:
    """Give a file that does not say how large its pixels are the spacing its user knows.

    Parameters
    ----------
    image : ImageFile
        One that states a unit for its rows, columns or planes is given back as it is.
    plane, row, col : float
        Distances between neighbouring planes, rows and columns.
    unit : str
        Of all three; ``"pixel"`` leaves the file uncalibrated, at 1.
    """
    lengths = {"z": plane, "y": row, "x": col}
    stated = [axis for axis, name in zip(image.space, image.units, strict=True) if axis in lengths and name != "pixel"]
    if stated or unit == "pixel" or image.placement is not None:
        return image
    spacing = tuple(lengths.get(axis, old) for axis, old in zip(image.space, image.spacing, strict=True))
    units = tuple(unit if axis in lengths else old for axis, old in zip(image.space, image.units, strict=True))
    return replace(image, spacing=spacing, units=units)


def file_layers(image: ImageFile) -> list[LayerData]:
    """Turn an opened file into layers: one, or one a channel.

    Parameters
    ----------
    image : ImageFile
        From :func:`napari_dinov3.read`.
    """
    if "c" in image.axes and image.shape[image.axes.index("c")] > 1:
        names = image.channel_names or tuple(f"channel {i}" for i in range(image.shape[image.axes.index("c")]))
        return [_file_layer(image.select(c=index), f"{image.name} {name}") for index, name in enumerate(names)]
    return [_file_layer(image.select(c=0) if "c" in image.axes else image, image.name)]


def _file_layer(image: ImageFile, name: str) -> LayerData:
    data = list(image.levels) if len(image.levels) > 1 else image.data
    record = {KEY: {"task": "read", "path": str(image.path), **dict(image.facts)}}
    options: dict[str, Any] = {"name": name, "units": image.units, "axis_labels": tuple(image.space), "metadata": record}
    if image.placement is None:
        options["scale"] = image.spacing
    else:
        options["affine"] = image.placement
    if image.kind == "labels":
        return data, options, "labels"
    options |= {"rgb": image.rgb, "multiscale": len(image.levels) > 1}
    if image.contrast_limits is not None:
        options["contrast_limits"] = image.contrast_limits
    return data, options, "image"


def make_sample_steps(modality: str, **options: Any) -> Job[Sample]:
    """Synthesise images and masks; see :mod:`napari_dinov3.synthetic`."""
    yield Progress(0, 1, f"drawing {modality}")
    return MODALITIES[modality](**options)


def sample_layers(sample: Sample, **settings: Any) -> list[LayerData]:
    """Turn a synthetic sample into an image layer and a labels layer of its masks.

    Parameters
    ----------
    sample : Sample
        With its spacing and units.
    **settings
        How it was made, for the layers' metadata.
    """
    single = len(sample.images) == 1
    cut = slice(1, None) if single else slice(None)
    place = {"scale": sample.spacing[cut], "units": sample.units[cut], "axis_labels": tuple(sample.axes[cut])}
    metadata = provenance("synthetic", source=sample.modality, settings=settings, shifts=sample.shifts)
    images, masks = (sample.images[0], sample.masks[0]) if single else (sample.images, sample.masks)
    return [
        (images, {"name": sample.name, "rgb": sample.rgb, "metadata": metadata, **place}, "image"),
        (
            masks.astype("uint8"),
            {"name": f"{sample.name} mask", "metadata": metadata, "opacity": 0.4, "visible": False, **place},
            "labels",
        ),
    ]
