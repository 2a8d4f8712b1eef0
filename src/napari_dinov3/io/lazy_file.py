"""An array in a file that is opened when a part of it is read, and one block of it a dask chunk."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import numpy as np

from napari_dinov3.errors import FileFormatError

_MOST_PIXELS = 1 << 24  # of a plane that is read whole


class LazyFile:
    """Array-like whose parts are read by a function; small and picklable, unlike an open file.

    Parameters
    ----------
    name : str
        Of the file, for messages.
    shape, dtype
        Of the array.
    read : callable
        ``read(index)`` gives the part; a plain function, so that it can be pickled.
    """

    def __init__(self, name: str, shape: tuple[int, ...], dtype: Any, read: Callable[[Any], Any]) -> None:
        self.name, self.shape, self.ndim, self.dtype = name, shape, len(shape), np.dtype(dtype)
        self._read = read
        self._token = uuid.uuid4().hex  # of this opening: the file may be another one the next time

    def __dask_tokenize__(self) -> tuple[str, str]:
        """Name it for dask, which refuses to work with what it can give no name."""
        return ("LazyFile", self._token)

    def __getitem__(self, index: Any) -> Any:
        try:
            return np.asarray(self._read(index), dtype=self.dtype)
        except Exception as error:  # damaged files make their libraries raise many kinds
            raise FileFormatError(
                f"A part of {self.name} cannot be read: {error}",
                "a whole, undamaged file",
                "Copy it again, or leave these planes out",
            ) from error

    def to_dask(self, chunks: tuple[int, ...]) -> Any:
        """See it as a dask array with these chunks."""
        import dask.array

        meta = np.empty((0,) * self.ndim, self.dtype)
        return dask.array.from_array(self, chunks=chunks, asarray=False, fancy=False, name=None, lock=False, meta=meta)


def in_blocks(shape: tuple[int, ...], stored: tuple[int, ...] | None) -> tuple[int, ...]:
    """Choose one plane a chunk, and parts of planes that are large: whole blocks as they are stored, or rows.

    Parameters
    ----------
    shape : tuple of int
        Of the array.
    stored : tuple of int or None
        Blocks it is stored in; None where rows follow each other.
    """
    rows, cols = shape[-2:]
    if rows * cols <= _MOST_PIXELS:
        return by_plane(shape)
    if stored is None:
        return (*(1,) * (len(shape) - 2), max(1, _MOST_PIXELS // (4 * cols)), cols)
    tall, wide = (min(n, max(1, 2048 // block) * block) for n, block in zip(shape[-2:], stored[-2:], strict=True))
    return (*(1,) * (len(shape) - 2), tall, wide)


def by_plane(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Choose one plane (the last two axes) a chunk."""
    return (*(1,) * (len(shape) - 2), *shape[-2:])
