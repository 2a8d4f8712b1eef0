"""Everything a file or folder holds: images, labels, points, lines, outlines and tracks, in one world.

A data set's own layout is recognised by the files it is made of (see :mod:`~napari_dinov3.io.layouts`); anything else is the
one image that :func:`napari_dinov3.read` opens.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from napari_dinov3.errors import FallbackWarning, InputError
from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.layouts import find_layout
from napari_dinov3.io.reading import read
from napari_dinov3.io.vectors import VectorFile

Record = ImageFile | VectorFile
_MOST_IMAGES = 16  # of one OME-TIFF that are opened together


def read_layers(path: str | Path, **options: Any) -> tuple[Record, ...]:
    r"""Open all that belongs together, without reading its pixels.

    Parameters
    ----------
    path : path-like
        Anything :func:`napari_dinov3.read` opens, or the folder or file of a data set: a BIDS or OASIS-3 session, an Allen CCF or
        BrainGlobe atlas, CREMI, SNEMI3D, Neurofinder, the Cell Tracking Challenge, OME-Zarr with labels, an SWC tracing, GeoJSON.
    **options
        Of :func:`napari_dinov3.read`; with any of them the path is read as one image.

    Returns
    -------
    layers : tuple of ImageFile and VectorFile
        Images first, each at its place in the world.

    Raises
    ------
    InputError, FileFormatError
        As :func:`napari_dinov3.read` raises them.

    Examples
    --------
    >>> import tempfile, pathlib, numpy as np, napari_dinov3 as nd
    >>> path = pathlib.Path(tempfile.mkdtemp(), "cell.swc")
    >>> _ = path.write_text("1 1 10 20 5 2.0 -1\n2 3 12 20 5 1.0 1\n")
    >>> [layer.kind for layer in nd.read_layers(path)]
    ['lines', 'points']
    """
    path = Path(path).expanduser().absolute()
    if not path.exists():
        raise InputError(f"There is nothing at {path}", "an image file or a folder of slices", "Check the path")
    chosen = {name: value for name, value in options.items() if value is not None}
    layout = None if chosen else find_layout(path)
    if layout is not None:
        return layout.read(path)
    first = read(path, **options)
    return (first,) if chosen else (first, *_others(first))


def _others(first: ImageFile) -> tuple[ImageFile, ...]:
    """Open the other images of an OME-TIFF that holds several, such as positions of a stage, each of its own size."""
    count = int(first.facts.get("series", 1))
    if count < 2 or first.facts.get("format") != "OME-TIFF":  # of a slide, the others are its label and an overview
        return ()
    if count > _MOST_IMAGES:
        text = f"{first.path.name} holds {count} images; the first is opened. Read another one with series=0..{count - 1}."
        warnings.warn(FallbackWarning(text), stacklevel=3)
        return ()
    images = (read(first.path, series=number) for number in range(1, count))
    return tuple(
        replace(image, name=f"{image.name} {number}", facts=MappingProxyType({**image.facts, "hidden": True}))
        for number, image in enumerate(images, start=1)
    )
