"""Files and synthetic samples as layers, with scale and units set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

from napari_dinov3._napari.file_options import LayerData, display_range, legend_options, placed, vector_layer
from napari_dinov3._napari.provenance import KEY, provenance
from napari_dinov3.io import read_layers
from napari_dinov3.io.choices import needs_choice
from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.layers import Record
from napari_dinov3.io.vectors import VectorFile
from napari_dinov3.progress import Job, Progress
from napari_dinov3.synthetic import MODALITIES, Sample

# as napari itself colours two channels, and more
_CHANNELS = (("magenta", "green"), ("cyan", "magenta", "yellow", "red", "green", "blue"))


class Offer(NamedTuple):
    """A file that holds several images and does not say which one is meant: shapes by name."""

    path: Path
    datasets: dict[str, tuple[int, ...]]


def open_steps(path: str | Path, datasets: Iterable[str] = ()) -> Job[tuple[Record, ...] | Offer]:
    """Open a file, a folder of slices or a data set; pixels are read later.

    Parameters
    ----------
    path : path-like
        What to open.
    datasets : strs
        Which images of a file that holds several; where none are named, the answer for such a file is an :class:`Offer`.
    """
    yield Progress(0, 1, f"opening {Path(path).name}")
    chosen = tuple(datasets)
    if chosen:
        return tuple(record for name in chosen for record in read_layers(path, dataset=name))
    offered = needs_choice(Path(path))
    return read_layers(path) if offered is None else Offer(Path(path), offered)


def calibrated(image: Record, *, plane: float, row: float, col: float, unit: str) -> Record:
    """Give a file that does not say how large its pixels are the spacing its user knows.

    Parameters
    ----------
    image : ImageFile or VectorFile
        One that states a unit for its rows, columns or planes is given back as it is.
    plane, row, col : float
        Distances between neighbouring planes, rows and columns.
    unit : str
        Of all three; ``"pixel"`` leaves the file uncalibrated, at 1.
    """
    lengths = {"z": plane, "y": row, "x": col}
    space = image.space if isinstance(image, ImageFile) else image.axes
    stated = [axis for axis, name in zip(space, image.units, strict=True) if axis in lengths and name != "pixel"]
    if stated or unit == "pixel" or image.placement is not None:
        return image
    spacing = tuple(lengths.get(axis, old) for axis, old in zip(space, image.spacing, strict=True))
    units = tuple(unit if axis in lengths else old for axis, old in zip(space, image.units, strict=True))
    return replace(image, spacing=spacing, units=units)


def file_layers(opened: Record | Iterable[Record]) -> list[LayerData]:
    """Turn what a file holds into layers: one, or one a channel, for each image; one for points, lines, outlines, tracks.

    Parameters
    ----------
    opened : ImageFile, VectorFile or several of them
        From :func:`napari_dinov3.read` or :func:`napari_dinov3.read_layers`.
    """
    if isinstance(opened, ImageFile):
        return _image_layers(opened)
    if isinstance(opened, VectorFile):
        return [vector_layer(opened)]
    return [layer for record in opened for layer in file_layers(record)]


def _image_layers(image: ImageFile) -> list[LayerData]:
    count = image.shape[image.axes.index("c")] if "c" in image.axes else 1
    if count > 1:
        names = image.channel_names or tuple(f"channel {i}" for i in range(count))
        layers = [_file_layer(image.select(c=index), f"{image.name} {name}") for index, name in enumerate(names)]
        if image.kind == "image":  # or the last channel would hide the others
            for (_, options, _), colour in zip(layers, cycle(_CHANNELS[min(count, 3) - 2]), strict=False):
                options |= {"colormap": colour, "blending": "additive"}
        return layers
    return [_file_layer(image.select(c=0) if "c" in image.axes else image, image.name)]


def _file_layer(image: ImageFile, name: str) -> LayerData:
    data = list(image.levels) if len(image.levels) > 1 else image.data
    options: dict[str, Any] = {"name": name, **placed(image, image.space)}
    if image.kind == "labels":
        saved = image.facts.get("provenance")
        if isinstance(saved, Mapping) and saved.get("classes"):  # the names of classes come back with the scribbles
            options["metadata"] = {KEY: dict(saved)}
        return data, options | legend_options(image.legend, image.dtype), "labels"
    options |= {"rgb": image.rgb, "multiscale": len(image.levels) > 1}
    limits = display_range(image)
    if limits is not None:
        options["contrast_limits"] = limits
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
