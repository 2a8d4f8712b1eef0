"""Cell Tracking Challenge: a sequence, its tracked cells (TRA), its segmented cells (SEG), and the tracks with their parents.

``01/t000.tif`` ..., ``01_GT/TRA/man_track000.tif`` ... with ``man_track.txt`` (id, first and last frame, parent),
``01_GT/SEG/man_seg000.tif`` for some frames or ``man_seg_000_005.tif`` for single planes of some, ``01_RES/mask000.tif`` with
``res_track.txt``. Label images are read when they are looked at; tracks need every one of them and come along where
that is little.

References
----------
Maška et al. 2023, Nature Methods, doi:10.1038/s41592-023-01879-y.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import FileFormatError
from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.layouts.layout import Layout
from napari_dinov3.io.lazy_file import LazyFile
from napari_dinov3.io.text import read_text
from napari_dinov3.io.vectors import VectorFile

_FRAME = re.compile(r"t(\d{3,})\.tiff?", re.IGNORECASE)
_MASK = re.compile(r"(?:man_track|man_seg|mask)_?(\d{3,})\.tiff?", re.IGNORECASE)
_SLICE = re.compile(r"man_seg_(\d{3,})_(\d{3,})\.tiff?", re.IGNORECASE)
_MOST_TRACKED = 40_000_000  # pixels of all masks together that are read to place the tracks


def _sequence(path: Path) -> Path | None:
    """Find the sequence meant: the folder itself, or the first one in a data set."""
    if not path.is_dir():
        return None
    if re.fullmatch(r"\d\d", path.name):
        return path if _frames(path) else None
    inner = (path / name for name in sorted(os.listdir(path)) if re.fullmatch(r"\d\d", name))
    return next((p for p in inner if p.is_dir() and _frames(p)), None)


def _frames(folder: Path) -> dict[int, Path]:
    return {int(found[1]): folder / name for name in sorted(os.listdir(folder)) if (found := _FRAME.fullmatch(name))}


def _read(path: Path) -> tuple[ImageFile | VectorFile, ...]:
    from napari_dinov3.io.slices import read_files

    folder = _sequence(path)
    assert folder is not None  # claimed
    frames = _frames(folder)
    name = f"{folder.parent.name} {folder.name}".strip()
    movie = read_files(list(frames.values()), name=name, path=folder, stack_axis="t")
    movie = replace(movie, facts=MappingProxyType({**movie.facts, "format": "Cell Tracking Challenge"}))
    out: list[ImageFile | VectorFile] = [movie]
    for kind, what, table in (
        ("GT", "TRA", "man_track.txt"),
        ("GT", "SEG", None),
        ("ST", "SEG", None),
        ("RES", "", "res_track.txt"),
    ):
        masks = folder.with_name(f"{folder.name}_{kind}") / what
        labels = _labels(masks, movie, list(frames), f"{name} {f'{kind} {what}'.strip()}") if masks.is_dir() else None
        if labels is None:
            continue
        out.append(labels)
        tracks = _tracks(masks / table, labels) if table else None
        out += [] if tracks is None else [tracks]
    return tuple(out)


def _labels(folder: Path, movie: ImageFile, frames: list[int], name: str) -> ImageFile | None:
    """See the masks of some frames as one label image a frame, 0 where there is none."""
    from napari_dinov3.io.tiff import read_page_header

    whole = {int(found[1]): p for p in sorted(folder.iterdir()) if (found := _MASK.fullmatch(p.name))}
    parts: dict[int, dict[int, Path]] = {}
    for p in sorted(folder.iterdir()):
        if found := _SLICE.fullmatch(p.name):
            parts.setdefault(int(found[1]), {})[int(found[2])] = p
    some = next(iter(whole.values()), None) or next((p for planes in parts.values() for p in planes.values()), None)
    if some is None:
        return None
    shape = (len(frames), *movie.shape[1:])
    dtype = read_page_header(some).dtype
    source = _Masks(frames, whole, parts, shape, dtype)
    data = LazyFile(name, shape, dtype, source).to_dask((1, *shape[1:]))
    facts = {"format": "Cell Tracking Challenge", "frames with labels": len({*whole, *parts} & {*frames})}
    return replace(
        movie,
        levels=(data,),
        name=name,
        path=folder,
        kind="labels",
        contrast_limits=None,
        facts=MappingProxyType(facts),
    )


class _Masks:
    """Read the mask of one frame; small and picklable."""

    def __init__(
        self,
        frames: list[int],
        whole: Mapping[int, Path],
        parts: Mapping[int, Mapping[int, Path]],
        shape: tuple[int, ...],
        dtype: Any,
    ) -> None:
        self.frames, self.whole, self.parts, self.shape, self.dtype = frames, whole, parts, shape, dtype

    def __call__(self, index: Any) -> npt.NDArray[Any]:
        index = index if isinstance(index, tuple) else (index,)
        first = index[0]
        at = range(self.shape[0])[first] if isinstance(first, slice) else [int(first)]
        stack = np.stack([self.frame(number) for number in at])
        rest = (slice(None) if isinstance(first, slice) else 0, *index[1:])
        return np.asarray(stack[rest])

    def frame(self, number: int) -> npt.NDArray[Any]:
        """Read one frame whole."""
        from napari_dinov3.io.tiff import read_page, read_tiff

        frame = self.frames[number]
        if frame in self.whole:
            found = np.asarray(read_tiff(self.whole[frame]))
            if found.shape != self.shape[1:]:
                raise FileFormatError(
                    f"{self.whole[frame].name} has shape {found.shape}", f"{self.shape[1:]}, as the images", "Copy it again"
                )
            return found
        out = np.zeros(self.shape[1:], dtype=self.dtype)
        for plane, path in self.parts.get(frame, {}).items():
            if len(self.shape) == 4 and 0 <= plane < self.shape[1]:
                out[plane] = read_page(path)
        return out


def _tracks(table: Path, labels: ImageFile) -> VectorFile | None:
    """Place the tracks of the table at the centres of their labels."""
    if not table.is_file() or math.prod(labels.shape) > _MOST_TRACKED:
        return None
    graph = {child: [parent] for child, parent in _lineage(table) if parent}
    rows = []
    for number in range(labels.shape[0]):
        mask = np.asarray(labels.data[number])
        where = np.nonzero(mask)
        ids, order, counts = np.unique(mask[where], return_inverse=True, return_counts=True)
        centres = np.stack([np.bincount(order, weights=axis, minlength=len(ids)) for axis in where], axis=1) / counts[:, None]
        rows.append(np.column_stack([ids.astype(np.float64), np.full(len(ids), number, np.float64), centres]))
    found = np.concatenate(rows)
    if not len(found):
        return None
    found = found[np.lexsort((found[:, 1], found[:, 0]))]
    present = set(found[:, 0].astype(int).tolist())
    return VectorFile(
        "tracks",
        found,
        axes=labels.axes,
        spacing=labels.spacing,
        units=labels.units,
        name=f"{labels.name} tracks",
        path=table,
        graph={child: parents for child, parents in graph.items() if child in present and present.issuperset(parents)},
        placement=labels.placement,
        facts=MappingProxyType({"format": "Cell Tracking Challenge", "tracks": len(present)}),
    )


def _lineage(table: Path) -> Iterator[tuple[int, int]]:
    for number, line in enumerate(read_text(table).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 4 or not all(word.isdecimal() for word in words):
            raise FileFormatError(
                f"Line {number} of {table.name} is {line[:60]!r}",
                "four numbers: id, first frame, last frame, parent",
                "Correct it",
            )
        yield int(words[0]), int(words[3])


LAYOUT = Layout("Cell Tracking Challenge", lambda path: _sequence(path) is not None, _read)
