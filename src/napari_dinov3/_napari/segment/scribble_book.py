"""What is painted in a labels layer, kept plane by plane, so that after a stroke only the planes it touched are read again.

The book is read in a worker thread while people paint; what it gives is a copy that no later stroke changes.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.image import Planes
from napari_dinov3.progress import Job, Progress

_EVERY = 16  # planes between two steps of a long look


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """What is painted at one moment.

    Parameters
    ----------
    planes : mapping from plane to (rows, cols) array
        Planes with at least one label; 0 is unlabelled.
    counts : mapping from label value to int
        Painted pixels of each class in all planes.
    digest : tuple
        Equal for equal paint.
    """

    planes: Mapping[int, npt.NDArray[Any]]
    counts: Mapping[int, int]
    digest: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Page:
    digest: int
    labels: npt.NDArray[Any]
    counts: dict[int, int]


class ScribbleBook:
    """Remember the painted planes of one layer."""

    def __init__(self) -> None:
        self._pages: dict[int, _Page] = {}
        self._lock = threading.Lock()  # an abandoned look may still be at its last plane
        self._seen: set[int] = set()

    @property
    def ever_painted(self) -> frozenset[int]:
        """Planes that have held paint at some time: where undo and redo may change something."""
        return frozenset(self._seen)

    def read_steps(self, scribbles: Planes, dirty: Iterable[int] | None = None) -> Job[Painted]:
        """Look at planes that may have changed.

        Parameters
        ----------
        scribbles : Planes
            The layer.
        dirty : iterable of int, optional
            Planes to look at; all by default.
        """
        planes = range(len(scribbles)) if dirty is None else sorted({p for p in dirty if 0 <= p < len(scribbles)})
        for done, plane in enumerate(planes):
            if done % _EVERY == 0:
                yield Progress(done, len(planes), "looking for scribbles")
            labels = scribbles.plane(plane)
            with self._lock:
                self._turn_to(plane, labels)
        with self._lock:
            pages = dict(sorted(self._pages.items()))
        counts: dict[int, int] = {}
        for page in pages.values():
            for value, pixels in page.counts.items():
                counts[value] = counts.get(value, 0) + pixels
        digest = tuple((plane, page.digest) for plane, page in pages.items())
        return Painted({plane: page.labels for plane, page in pages.items()}, dict(sorted(counts.items())), digest)

    def _turn_to(self, plane: int, labels: npt.NDArray[Any]) -> None:
        if not labels.any():
            self._pages.pop(plane, None)
            return
        copy = np.array(labels, order="C")
        digest = zlib.crc32(copy.reshape(-1).view(np.uint8).data)
        known = self._pages.get(plane)
        if known is not None and known.digest == digest and known.labels.dtype == copy.dtype:
            return
        self._seen.add(plane)
        values, pixels = np.unique(copy[copy != 0], return_counts=True)
        counts = {int(value): int(count) for value, count in zip(values, pixels, strict=True)}
        self._pages[plane] = _Page(digest, copy, counts)


def planes_of_stroke(item: Any, axis: int | None) -> frozenset[int] | None:
    """Tell which planes an item of a labels layer's history touched.

    Parameters
    ----------
    item : list
        Value of the layer's `paint` event: tuples of (indices, old, new), or from napari 0.9 on objects with a `slice_key`.
    axis : int or None
        Axis of the layer along which the planes lie; None for a single image.

    Returns
    -------
    planes : frozenset of int or None
        None where it cannot be told.
    """
    if axis is None:
        return frozenset({0})
    planes: set[int] = set()
    for atom in item if isinstance(item, list | tuple) else [None]:
        key = atom[0] if isinstance(atom, tuple) and len(atom) == 3 else getattr(atom, "slice_key", None)
        if not isinstance(key, tuple) or axis >= len(key):
            return None
        at = key[axis]
        if isinstance(at, slice):
            if at.start is None or at.stop is None:
                return None
            planes.update(range(at.start, at.stop, at.step or 1))
        else:
            planes.update(int(plane) for plane in np.unique(np.asarray(at)))
    return frozenset(planes)
