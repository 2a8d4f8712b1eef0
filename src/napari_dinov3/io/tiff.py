"""TIFF and its families through tifffile: OME-TIFF, ImageJ hyperstacks, BigTIFF, plain stacks, pyramids (SVS and the like).

Pixels stay on disk: a page (or a block of tiles where pages are tiled) is a chunk of a dask array. Spacing and units come from
OME-XML, ImageJ or slide metadata; resolution tags in inches are printing sizes and count for nothing.
"""

from __future__ import annotations

import contextlib
import math
import re
import uuid
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import FileFormatError, MissingDependencyError
from napari_dinov3.io import ome_metadata
from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.raster import Header
from napari_dinov3.io.units import PIXEL, unit_name, usable_spacing

EXTENSIONS = (".tif", ".tiff", ".btf", ".tf8", ".lsm", ".svs", ".ndpi", ".scn", ".bif", ".qptiff")
_CENTIMETER = 3
_CHUNK_PIXELS = 1 << 22  # tiles are gathered into chunks of about 2048 x 2048
_MAX_EXPANSION = 20_000  # no compression of real pixels reaches this; a header that claims it is wrong


def read_tiff(path: Path, *, series: int = 0) -> ImageFile:
    """Open a TIFF file.

    Parameters
    ----------
    path : Path
        Of the file.
    series : int
        Which of the file's images.

    Returns
    -------
    image : ImageFile
        Lazy; a pyramid has several levels.

    Raises
    ------
    FileFormatError
        If it is not a TIFF, is cut short, or holds something else than an image.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as tif:
            chosen = _choose_series(tif, series, path)
            _check_size(tif, chosen, path)
            axes, order, drop = _axes(chosen, path)
            known = _known(tif, chosen, series)
            axes, single = _with_single(axes, known.get("axes", axes))
            described = _describe(known, chosen, axes)
            shapes = [(tuple(level.shape), level.keyframe) for level in chosen.levels]
            provenance = described.pop("provenance", None)
            facts = {"format": _family(tif), "compression": tif.pages.first.compression.name, "series": len(tif.series)}
            if provenance:
                facts["provenance"] = provenance
    except FileFormatError:
        raise
    except Exception as error:  # tifffile raises many kinds on damaged files; none of them is ours
        raise FileFormatError(
            f"{path.name} cannot be read as TIFF: {error}",
            "a whole TIFF file",
            "Copy it again, or open it in Fiji and save it anew",
        ) from error
    _check_codec(chosen.keyframe, path)
    levels = tuple(
        _arranged(_lazy(path, series, number, shape, frame), order, drop)[single] for number, (shape, frame) in enumerate(shapes)
    )
    name = re.sub(r"(\.ome)?\.[^.]*$", "", path.name, flags=re.IGNORECASE)
    return ImageFile(levels=levels, axes=axes, name=name, path=path, facts=MappingProxyType(facts), **described)


def read_page_header(path: Path) -> Header:
    """Read shape and type of a single-page file only; a quick look for folders of thousands."""
    with _first_page(path) as page:
        shape = tuple(page.shape)
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[-1] not in (3, 4)):
            raise FileFormatError(f"{path.name} has a page of shape {shape}", "(rows, cols), or RGB", "Split its channels first")
        return Header(shape[0], shape[1], len(shape) == 3, np.dtype(page.dtype))


def read_page(path: Path, *, rgb: bool = False) -> npt.NDArray[Any]:
    """Read the first page whole; see :func:`~napari_dinov3.io.raster.read_picture`."""
    with _first_page(path) as page:
        pixels: npt.NDArray[Any] = page.asarray()
    if pixels.ndim == 3:
        return pixels[..., :3]
    return np.repeat(pixels[..., None], 3, axis=-1) if rgb else pixels


@contextlib.contextmanager
def _first_page(path: Path) -> Iterator[Any]:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tif:
            page = tif.pages.first
            if math.prod(page.shape) * np.dtype(page.dtype).itemsize > tif.filehandle.size * _MAX_EXPANSION:
                raise FileFormatError(
                    f"{path.name} claims {page.shape} pixels in a file of {tif.filehandle.size:,} bytes",
                    "a whole file",
                    "It is damaged: copy it again",
                )
            yield page
    except FileFormatError:
        raise
    except Exception as error:  # tifffile raises many kinds on damaged files
        raise FileFormatError(f"{path.name} cannot be read as TIFF: {error}", "a whole TIFF file", "Copy it again") from error


def _choose_series(tif: Any, series: int, path: Path) -> Any:
    count = len(tif.series)
    if not count:
        raise FileFormatError(f"{path.name} holds no image", "a whole TIFF file", "Copy it again")
    if not 0 <= series < count:
        raise FileFormatError(f"Image {series} of {path.name}", f"the file has {count} (0..{count - 1})", "Choose one of these")
    return tif.series[series]


def _check_size(tif: Any, series: Any, path: Path) -> None:
    """Refuse headers that claim more pixels than the file can hold, before anything of that size is allocated."""
    shape, size = tuple(series.shape), tif.filehandle.size
    claimed = math.prod(shape) * np.dtype(series.dtype).itemsize if series.dtype is not None else 0
    if not claimed:
        raise FileFormatError(f"{path.name} has shape {shape}: no pixels", "at least one pixel", "Check how the file was written")
    plain = series.keyframe.compression == 1
    packed = int(series.keyframe.bitspersample) % 8  # such as 1 bit or 12 bits a pixel, which are unpacked to whole bytes
    if packed:
        claimed = claimed * int(series.keyframe.bitspersample) // (8 * np.dtype(series.dtype).itemsize)
    if claimed > size * (1 if plain and not series.keyframe.is_tiled else _MAX_EXPANSION):
        raise FileFormatError(
            f"{path.name} claims {claimed:,} bytes of pixels in a file of {size:,} bytes",
            "a whole file",
            "It is cut short or damaged: copy it again",
        )


def _check_codec(page: Any, path: Path) -> None:
    """Say now, not at the first look at a pixel, that a decoder is missing."""
    import tifffile

    for table, key in ((tifffile.TIFF.DECOMPRESSORS, page.compression), (tifffile.TIFF.UNPREDICTORS, page.predictor)):
        try:
            table[key]
        except KeyError as error:
            raise MissingDependencyError(
                f"{path.name} is compressed with {page.compression.name}",
                "the package imagecodecs to decode it",
                "Run: pip install imagecodecs",
            ) from error


def _axes(series: Any, path: Path) -> tuple[str, list[int], list[int]]:
    """Name the axes in our letters.

    Returns
    -------
    axes : str
        After arranging.
    order : list of int
        Array axes in the order they are to have.
    drop : list of int
        Array axes of length 1 that have no letter here.
    """
    letters = list(series.axes.upper())
    shape = series.shape
    named: list[str] = []
    for at, letter in enumerate(letters):
        colours = letter == "S" and shape[at] in (3, 4) and series.keyframe.photometric.name in ("RGB", "YCBCR", "PALETTE")
        ours = {"X": "x", "Y": "y", "Z": "z", "T": "t", "C": "c", "S": "s" if colours else "c"}.get(letter, "?")
        named.append("?" if ours in named else ours)
    free = [a for a in "zt" if a not in named]
    drop = [at for at, a in enumerate(named) if a == "?" and shape[at] == 1]
    unnamed = [at for at, a in enumerate(named) if a == "?" and shape[at] > 1]
    if len(unnamed) > len(free) or "y" not in named or "x" not in named:
        raise FileFormatError(
            f"{path.name} has axes {series.axes} of shape {tuple(shape)}",
            "axes out of T Z C Y X and colour",
            "Save the part you need as a stack, for example with Fiji",
        )
    for at, letter in zip(unnamed, free, strict=False):
        named[at] = letter
    kept = [at for at in range(len(named)) if at not in drop]
    order = sorted(kept, key=lambda at: "tzcyxs".index(named[at]))
    return "".join(named[at] for at in order), order, drop


def _with_single(axes: str, said: str) -> tuple[str, tuple[Any, ...]]:
    """Put axes of length 1 back that the file names but its series has dropped; returns the axes and the index that does it."""
    kept = "".join(a for a in said if a in axes)
    if kept != axes:
        return axes, (...,)
    return said, tuple(slice(None) if a in axes else None for a in said)


def _arranged(array: Any, order: Sequence[int], drop: Sequence[int]) -> Any:
    if drop:
        array = array[tuple(0 if at in drop else slice(None) for at in range(array.ndim))]
        order = [at - sum(d < at for d in drop) for at in order]
    return array if list(order) == sorted(order) else array.transpose(order)


def _lazy(path: Path, series: int, level: int, shape: tuple[int, ...], page: Any) -> Any:
    import dask.array

    source = _TiffArray(path, series, level, shape, page.dtype)
    meta = np.empty((0,) * len(shape), page.dtype)  # else dask would open the file to learn what it is told here
    how = {"asarray": False, "name": None, "lock": False, "fancy": False, "meta": meta}
    return dask.array.from_array(source, chunks=_chunks(shape, page), **how)


def _chunks(shape: tuple[int, ...], page: Any) -> tuple[int, ...]:
    """Chunk by page, and pages of tiles by blocks of whole tiles."""
    page_axes = len(page.shape)
    stack = (1,) * (len(shape) - page_axes)
    if not page.is_tiled:
        return (*stack, *_bands(shape[len(stack) :], page))
    sizes = []
    sides = [s for s in page.shape if s > 4]
    for length in shape[len(stack) :]:
        tile = {page.imagelength: page.tilelength, page.imagewidth: page.tilewidth}.get(length, 0) if length in sides else 0
        gathered = tile * max(1, math.isqrt(_CHUNK_PIXELS) // tile) if tile else length
        sizes.append(min(length, gathered))
    return (*stack, *sizes)


def _bands(shape: tuple[int, ...], page: Any) -> tuple[int, ...]:
    """Cut a large page without tiles into bands of whole strips; one that is packed in a single strip can only be read whole."""
    if math.prod(shape) <= 4 * _CHUNK_PIXELS or page.axes[:1] != "Y":
        return shape
    rows, across = shape[0], math.prod(shape[1:])
    strip = 1 if page.compression == 1 and page.is_contiguous else max(1, int(page.rowsperstrip))
    return (min(rows, max(1, _CHUNK_PIXELS // (across * strip)) * strip), *shape[1:])


class _TiffArray:
    """Array-like over a TIFF level that opens the file when read: small, picklable, safe in threads."""

    def __init__(self, path: Path, series: int, level: int, shape: tuple[int, ...], dtype: Any) -> None:
        self.path, self.series, self.level = path, series, level
        self.shape, self.dtype, self.ndim = shape, np.dtype(dtype), len(shape)
        self._opened: Any = None
        self._token = uuid.uuid4().hex  # of this opening: the file may be another one the next time

    def __dask_tokenize__(self) -> tuple[str, str]:
        """Name it for dask, which refuses to work with what it can give no name."""
        return ("TiffArray", self._token)

    def __getitem__(self, index: Any) -> Any:
        if self._opened is None:
            self._opened = self._open()
        try:
            return np.asarray(self._opened[index], dtype=self.dtype)
        except Exception as error:
            raise FileFormatError(
                f"A part of {self.path.name} cannot be decoded: {error}",
                "a whole, undamaged file",
                "Copy it again, or leave these planes out",
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _open(self) -> Any:
        import tifffile

        try:
            tif = tifffile.TiffFile(self.path)
            weakref.finalize(self, tif.close)
            level = tif.series[self.series].levels[self.level]
            if level.dataoffset is not None:  # uncompressed and in one piece: a part is read without the rest of its strip
                kind = self.dtype.newbyteorder(tif.byteorder)
                return np.memmap(self.path, kind, mode="r", offset=level.dataoffset, shape=self.shape)
            import zarr

            return zarr.open(tif.series[self.series].aszarr(level=self.level), mode="r")
        except OSError as error:
            raise FileFormatError(
                f"{self.path} cannot be opened: {error}", "the file that was there before", "Put it back, or open the image again"
            ) from error


def _family(tif: Any) -> str:
    for family in ("ome", "imagej", "svs", "ndpi", "lsm", "scn", "bif", "qpi", "shaped"):
        if getattr(tif, f"is_{family}", False):
            return {"shaped": "TIFF", "ome": "OME-TIFF", "imagej": "ImageJ TIFF", "qpi": "QPTIFF"}.get(family, family.upper())
    return "BigTIFF" if tif.is_bigtiff else "TIFF"


def _known(tif: Any, series: Any, number: int) -> dict[str, Any]:
    if tif.is_ome:
        return ome_metadata.parse(tif.ome_metadata, number)
    return _imagej(tif, series) if tif.is_imagej else _plain(tif, series)


def _describe(known: dict[str, Any], series: Any, axes: str) -> dict[str, Any]:
    """Collect spacing, units, channel names, display range and kind from what the file says of itself."""
    space = [a for a in axes if a not in "cs"]
    channels = series.shape[series.axes.index("C")] if "C" in series.axes else int("c" in axes)
    names, limits = tuple(known.get("channel_names", ())), tuple(known.get("channel_limits", ()))
    out: dict[str, Any] = {
        "spacing": tuple(known["spacing"].get(a, 1.0) for a in space),
        "units": tuple(known["units"].get(a, PIXEL) for a in space),
        "channel_names": names if len(names) == channels else (),
        "kind": known.get("kind", "image"),
        "contrast_limits": known.get("contrast_limits"),
        "channel_limits": limits if len(limits) == channels else (),
        "provenance": known.get("provenance"),
    }
    placement = known.get("world_from_pixel")
    if placement is not None and np.shape(placement) == (len(space) + 1, len(space) + 1):
        out["placement"] = np.asarray(placement, dtype=np.float64)
    return out


def _imagej(tif: Any, series: Any) -> dict[str, Any]:
    facts = tif.imagej_metadata or {}
    page = series.keyframe
    unit = unit_name(str(facts.get("unit", "")))
    spacing = dict(_resolution(page))
    depth = usable_spacing(facts.get("spacing"))
    if depth:
        spacing["z"] = depth
    units = dict.fromkeys(spacing, unit)
    for axis in "zyx":
        own = facts.get(f"{axis}unit")
        if own:
            units[axis] = unit_name(str(own))
    interval = usable_spacing(facts.get("finterval"))
    if interval:
        spacing["t"], units["t"] = interval, unit_name(str(facts.get("tunit", "s")))
    ranges = [float(r) for r in facts.get("Ranges") or (facts.get("min"), facts.get("max")) if r is not None]
    pairs = tuple(zip(ranges[::2], ranges[1::2], strict=False))
    each = pairs if all(math.isfinite(low) and low < high < math.inf for low, high in pairs) else ()
    labels = facts.get("Labels") or []
    return {
        "spacing": spacing,
        "units": units,
        "contrast_limits": each[0] if len(each) == 1 else None,
        "channel_limits": each if len(each) > 1 else (),
        "channel_names": tuple(map(str, labels)),
    }


def _plain(tif: Any, series: Any) -> dict[str, Any]:
    page = series.keyframe
    text = page.description or tif.pages.first.description or ""
    found = re.search(r"\bMPP\s*=\s*([0-9.eE+-]+)", text)
    mpp = usable_spacing(found.group(1)) if found else None
    if mpp:
        return {"spacing": {"y": mpp, "x": mpp}, "units": {"y": "micrometer", "x": "micrometer"}}
    tag = page.tags.get("ResolutionUnit")
    if tag is not None and int(tag.value) == _CENTIMETER:
        spacing = {axis: per_cm * 1e4 for axis, per_cm in _resolution(page)}
        return {"spacing": spacing, "units": dict.fromkeys(spacing, "micrometer")}
    return {"spacing": {}, "units": {}}


def _resolution(page: Any) -> Iterator[tuple[str, float]]:
    """Turn the resolution tags (pixels a unit, a fraction) into units a pixel."""
    for axis, name in (("y", "YResolution"), ("x", "XResolution")):
        tag = page.tags.get(name)
        if tag is not None:
            above, below = tag.value
            spacing = usable_spacing(below / above if above else None)
            if spacing:
                yield axis, spacing
