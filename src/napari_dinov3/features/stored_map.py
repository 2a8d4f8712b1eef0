"""One feature map on disk, written plane by plane, that a stopped run finds again as far as it got.

A folder holds the zarr array (one plane a chunk), a manifest (what the map is of) and a journal, one line a finished plane with
its CLS token. A plane counts as finished when its line is whole and its chunk has its full size; whatever a killed process, a
full disk or a torn line left behind is computed again. The manifest comes last when a folder is made, so a folder without one
is nobody's.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError

FORMAT = 1
MANIFEST, PROVENANCE, ARRAY, JOURNAL, USED = "manifest.json", "provenance.json", "features.zarr", "planes.jsonl", "used"
StoredType = Literal["float16", "float32"]

_NO_ROOM = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


class StoredMap:
    """A feature map on disk; see :func:`open_map`.

    Parameters
    ----------
    folder : Path
        With a manifest in it.
    """

    def __init__(self, folder: Path) -> None:
        import zarr

        self.folder = folder
        self.manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        self.shape: tuple[int, int, int, int] = tuple(self.manifest["shape"])
        self.array: Any = zarr.open_array(folder / ARRAY, mode="r+")
        self._tokens = self._read_journal()
        self.touch()

    @property
    def pending(self) -> tuple[int, ...]:
        """Planes still to be computed."""
        return tuple(plane for plane in range(self.shape[0]) if plane not in self._tokens)

    @property
    def complete(self) -> bool:
        """Whether every plane is there."""
        return len(self._tokens) == self.shape[0]

    @property
    def cls(self) -> npt.NDArray[np.float32] | None:
        """``(planes, dim)`` CLS tokens, if every plane has one."""
        tokens = [self._tokens.get(plane) for plane in range(self.shape[0])]
        present = [token for token in tokens if token is not None]
        return np.stack(present) if present and len(present) == len(tokens) else None

    def write(self, plane: int, grid: npt.NDArray[np.float32], token: npt.NDArray[np.float32] | None) -> None:
        """Keep a finished plane.

        Parameters
        ----------
        plane : int
            Its index.
        grid : (rows, cols, dim) float32
            Its features.
        token : (dim,) float32, optional
            Its CLS token.

        Raises
        ------
        InputError
            If the disk is full; the planes already written stay.
        """
        self.write_grid(plane, grid)
        self.record(plane, token)

    def write_grid(self, plane: int, grid: npt.NDArray[np.float32]) -> None:
        """Write a plane's features without counting it as finished."""
        with _room_on(self.folder):
            self.array[plane] = grid

    def record(self, plane: int, token: npt.NDArray[np.float32] | None) -> None:
        """Count a plane as finished, once its features are written."""
        encoded = None if token is None else base64.b64encode(np.asarray(token, "<f4").tobytes()).decode()
        line = json.dumps({"plane": plane, "cls": encoded})
        with _room_on(self.folder), (self.folder / JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write(f"\n{line}\n")  # the first newline ends what a killed process may have left
        self._tokens[plane] = token

    @property
    def provenance(self) -> dict[str, Any]:
        """What was noted by :meth:`describe` when the map was finished."""
        path = self.folder / PROVENANCE
        noted: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return noted

    def describe(self, provenance: Mapping[str, Any]) -> None:
        """Note JSON-able facts of how the map was made, whole or not at all."""
        path = self.folder / PROVENANCE
        with _room_on(self.folder):
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(dict(provenance), indent=1), encoding="utf-8")
            os.replace(fresh, path)

    def touch(self) -> None:
        """Remember that the map was used now."""
        (self.folder / USED).touch()

    def _read_journal(self) -> dict[int, npt.NDArray[np.float32] | None]:
        path = self.folder / JOURNAL
        tokens: dict[int, npt.NDArray[np.float32] | None] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            try:
                entry = json.loads(line)
                plane, encoded = int(entry["plane"]), entry["cls"]
                token = None if encoded is None else np.frombuffer(base64.b64decode(encoded), "<f4").astype(np.float32)
            except (ValueError, KeyError, TypeError):
                continue  # empty, or torn when the process died
            if self._has_chunk(plane):
                tokens[plane] = token
        return tokens

    def _has_chunk(self, plane: int) -> bool:
        chunk = self.folder / ARRAY / "c" / str(plane) / "0" / "0" / "0"
        size = int(np.prod(self.shape[1:])) * np.dtype(self.array.dtype).itemsize
        return 0 <= plane < self.shape[0] and chunk.is_file() and chunk.stat().st_size == size


def open_map(
    folder: Path, *, key: str, shape: tuple[int, int, int, int], facts: Mapping[str, Any], dtype: StoredType = "float16"
) -> StoredMap:
    """Open the map of a key in a folder, or begin it.

    Parameters
    ----------
    folder : Path
        Its own folder; made if absent.
    key : str
        Identifies planes, backbone and preprocessing.
    shape : (planes, rows, cols, dim)
        Of the features.
    facts : mapping
        JSON-able, for people and for the list of what is stored.
    dtype : {"float16", "float32"}
        Of the features on disk.

    Raises
    ------
    InputError
        If the folder holds another map, or other files.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        _make(folder, {"format": FORMAT, "key": key, "shape": list(shape), "dtype": dtype, "facts": dict(facts)})
    stored = StoredMap(folder)
    if stored.manifest.get("format") != FORMAT or stored.manifest.get("key") != key:
        raise InputError(
            f"{folder} exists and holds the features of another image, backbone or setting",
            "an empty or new folder, or the one of the same run",
            "Choose another folder, or delete this one",
        )
    return stored


def _make(folder: Path, manifest: dict[str, Any]) -> None:
    """Build the folder under another name and move it into place whole."""
    import zarr

    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} exists and holds other files", "an empty or new folder", "Choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    shape = tuple(manifest["shape"])
    try:
        with _room_on(folder):
            building.mkdir()
            chunks = (1, *shape[1:])
            # a plane whose chunk was removed reads as NaN, never as features that look like some
            zarr.create_array(
                store=building / ARRAY, shape=shape, chunks=chunks, dtype=manifest["dtype"], compressors=None, fill_value=np.nan
            )
            (building / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        os.replace(building, folder)
    except OSError:
        if not (folder / MANIFEST).is_file():  # unless another process was quicker
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


class _room_on:
    """Turn "no space left" into what the user can do about it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise InputError(
                f"The disk of {self.folder} is full",
                "room for the features; what was computed so far is kept",
                "Free some space, or clear the feature cache, and run again: it goes on where it stopped",
            ) from error
