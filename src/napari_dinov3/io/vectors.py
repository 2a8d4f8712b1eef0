"""What a file holds beside pixels: points, lines, outlines and tracks, with the space they are counted in.

Conventions. Coordinates go along `axes` out of ``t z y x`` and count pixels of the image they belong to; `placement` (or the
spacing) takes them to the world, exactly as for an :class:`~napari_dinov3.io.image_file.ImageFile`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from napari_dinov3.errors import InputError
from napari_dinov3.geometry import Matrix, affine

VectorKind = Literal["points", "lines", "shapes", "tracks"]


@dataclass(frozen=True, slots=True, eq=False)
class VectorFile:
    """Points, lines, outlines or tracks of a file or folder.

    Parameters
    ----------
    kind : {"points", "lines", "shapes", "tracks"}
        What `data` are: points (n, d); lines (n, 2, d), each a start and an end; shapes, a list of closed (k, d) outlines;
        tracks (n, 1 + d), a track's id and then t and the position.
    data : array or list of arrays, float64
        In pixels.
    axes : str
        One letter a coordinate out of ``t z y x``.
    spacing : floats
        World units a pixel, one an axis.
    units : str, one an axis
        ``"pixel"`` where unknown.
    name, path
        For people, and where it came from.
    columns : mapping
        What is known of each row (radius, type, id ...), one sequence of `len(data)` a name.
    graph : mapping
        For tracks: the ids of a track's parents.
    placement : (d + 1, d + 1) float64, optional
        ``world_from_pixel``, where it is more than the spacing.
    facts : mapping
        Format and what else the file says; JSON-able.
    """

    kind: VectorKind
    data: Any = field(repr=False)
    axes: str
    spacing: tuple[float, ...]
    units: tuple[str, ...]
    name: str
    path: Path
    columns: Mapping[str, Sequence[Any]] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    graph: Mapping[int, Sequence[int]] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    placement: Matrix | None = field(default=None, repr=False)
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    def __post_init__(self) -> None:
        wrong = [name for name, values in self.columns.items() if len(values) != len(self.data)]
        if wrong or len(self.spacing) != len(self.axes) or len(self.units) != len(self.axes):
            raise InputError(
                f"{self.name!r}: axes {self.axes!r}, spacing {self.spacing}, units {self.units}, columns {wrong}",
                "one spacing and unit an axis, one value a row",
                "Correct the reader",
            )

    def __len__(self) -> int:
        return len(self.data)

    @property
    def world_from_pixel(self) -> Matrix:
        """(d + 1, d + 1) float64 on `axes`."""
        return affine(self.spacing) if self.placement is None else self.placement

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(int(np.asarray(part).nbytes) for part in self.data) if self.kind == "shapes" else int(self.data.nbytes)
