"""What every layout of a data set is: a way to recognise it, and a way to open it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from napari_dinov3.io.image_file import ImageFile
from napari_dinov3.io.vectors import VectorFile


@dataclass(frozen=True, slots=True)
class Layout:
    """How one kind of data set lies on disk.

    Parameters
    ----------
    name : str
        For people.
    claims : callable
        Whether a path is one; lists names and looks at file headers at most.
    read : callable
        Opens all of it, lazily.
    """

    name: str
    claims: Callable[[Path], bool]
    read: Callable[[Path], tuple[ImageFile | VectorFile, ...]]
