"""Where a feature map's numbers are kept: in memory while they fit, else on disk, one plane a chunk.

For one run alone that is a temporary folder which goes when the map does. A :class:`FeatureStore` keeps maps between runs, each
under a key made of the content of its planes, the backbone and its weights, and the preprocessing, within a size budget: the
maps longest unused go first.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_dinov3.errors import InputError
from napari_dinov3.features.stored_map import FORMAT, JOURNAL, MANIFEST, USED, StoredMap, StoredType, open_map
from napari_dinov3.image import Planes

MAP_SHARE = 0.5  # of the memory budget; the rest is for tiles, filters and the answer
DEFAULT_BUDGET_GB = 20.0
_IN_USE_SECONDS = 600  # a map used so lately may be open in another process


def allocate(shape: tuple[int, int, int, int], *, memory_gb: float) -> Any:
    """Make room for the features of one run.

    Parameters
    ----------
    shape : (planes, rows, cols, dim)
        Of the map.
    memory_gb : float
        Budget of the whole run; a map over half of it goes to disk.

    Returns
    -------
    array : numpy.ndarray or zarr.Array
        float32 in memory, float16 on disk (features are of order 1, and read back at half the cost).
    """
    if fits_in_memory(shape, memory_gb):
        return np.empty(shape, np.float32)
    import zarr

    path = Path(tempfile.mkdtemp(prefix="napari-dinov3-"))
    array = zarr.create_array(
        store=path / "features.zarr", shape=shape, chunks=(1, *shape[1:]), dtype="float16", compressors=None, overwrite=False
    )
    weakref.finalize(array, shutil.rmtree, path, ignore_errors=True)
    return array


def fits_in_memory(shape: tuple[int, ...], memory_gb: float) -> bool:
    """Whether a float32 map takes no more than its share of the budget."""
    return bool(np.prod(shape, dtype=np.float64) * 4 <= memory_gb * 1e9 * MAP_SHARE)


def content_hashes(planes: Planes) -> Iterator[str]:
    """Hash the pixels of each plane, read one at a time."""
    for index in range(len(planes)):
        plane = np.ascontiguousarray(planes.plane(index))
        digest = hashlib.blake2b(f"{plane.dtype.str}{plane.shape}".encode(), digest_size=16)
        digest.update(plane.reshape(-1).view(np.uint8).data)
        yield digest.hexdigest()


def make_key(content: list[str], how: Mapping[str, Any]) -> str:
    """Name a map by its planes and by how it is made.

    Parameters
    ----------
    content : list of str
        From :func:`content_hashes`, in order.
    how : mapping
        JSON-able: backbone, revision, stride, intensity window, tiling, data type.
    """
    text = json.dumps([FORMAT, content, dict(how)], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One map in the store, for a list: size in bytes, time of last use in seconds since 1970."""

    key: str
    image: str
    backbone: str
    planes: int
    nbytes: int
    used: float
    complete: bool


class FeatureStore:
    """Feature maps kept between runs.

    Parameters
    ----------
    folder : path, optional
        By default ``features`` in this package's cache folder (see :func:`napari_dinov3.backbones.sources.cache_folder`).
    budget_gb : float
        Most that all maps together may take, in gigabytes (1e9 bytes).
    """

    def __init__(self, folder: str | Path | None = None, *, budget_gb: float = DEFAULT_BUDGET_GB) -> None:
        if budget_gb <= 0:
            raise InputError(
                f"budget_gb={budget_gb}", "a positive number of gigabytes", "Give the space the feature cache may take"
            )
        if folder is None:
            from napari_dinov3.backbones.sources import cache_folder

            folder = cache_folder() / "features"
        self.folder = Path(folder).expanduser()
        self.budget_gb = budget_gb

    def open(
        self, key: str, shape: tuple[int, int, int, int], facts: Mapping[str, Any], *, dtype: StoredType = "float16"
    ) -> StoredMap:
        """Open the map of a key, or begin it after making room.

        Raises
        ------
        InputError
            If the map alone is over the budget.
        """
        path = self.folder / key
        if not (path / MANIFEST).is_file():
            self.make_room(int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
        try:
            return open_map(path, key=key, shape=shape, facts=facts, dtype=dtype)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, InputError):
                raise
            # damaged beyond the journal's help: begin it anew, it is only a cache
            shutil.rmtree(path, ignore_errors=True)
            return open_map(path, key=key, shape=shape, facts=facts, dtype=dtype)

    def entries(self) -> tuple[StoredEntry, ...]:
        """List the maps, the one longest unused first; damaged ones are listed as incomplete."""
        found = [_entry(folder) for folder in self.folder.glob("*") if (folder / MANIFEST).is_file()]
        return tuple(sorted(found, key=lambda entry: entry.used))

    @property
    def nbytes(self) -> int:
        """Bytes that all maps take."""
        return sum(entry.nbytes for entry in self.entries())

    def make_room(self, nbytes: int) -> tuple[str, ...]:
        """Remove the maps longest unused until `nbytes` more fit in the budget.

        Returns
        -------
        removed : tuple of str
            Keys. Maps used in the last ten minutes are left alone, since they may be open elsewhere.
        """
        budget = self.budget_gb * 1e9
        if nbytes > budget:
            raise InputError(
                f"This map takes {nbytes / 1e9:.1f} GB, more than the feature cache's {self.budget_gb:g} GB",
                "a budget that holds at least one map",
                "Raise the budget, choose a coarser stride, or keep the map in a folder of its own with folder=...",
            )
        entries, removed = self.entries(), []
        total = sum(entry.nbytes for entry in entries)
        for entry in entries:
            if total + nbytes <= budget:
                break
            if time.time() - entry.used > _IN_USE_SECONDS:
                self.remove(entry.key)
                removed.append(entry.key)
                total -= entry.nbytes
        return tuple(removed)

    def remove(self, key: str) -> None:
        """Delete one map."""
        shutil.rmtree(self.folder / key, ignore_errors=True)

    def clear(self) -> int:
        """Delete every map; returns the bytes set free."""
        freed = self.nbytes
        for entry in self.entries():
            self.remove(entry.key)
        return freed


def _entry(folder: Path) -> StoredEntry:
    nbytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    used = folder / USED
    when = (used if used.is_file() else folder).stat().st_mtime
    try:
        stored = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        facts, planes = stored["facts"], int(stored["shape"][0])
        journal = folder / JOURNAL
        lines = journal.read_text(encoding="utf-8").splitlines() if journal.is_file() else []
        complete = len({line for line in lines if line}) >= planes
    except (ValueError, KeyError, TypeError):
        facts, planes, complete = {}, 0, False
    return StoredEntry(folder.name, str(facts.get("image", "?")), str(facts.get("backbone", "?")), planes, nbytes, when, complete)
