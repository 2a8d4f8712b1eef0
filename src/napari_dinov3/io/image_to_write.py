"""What every writer of images is given: an array, and all that a file says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from napari_dinov3.geometry import Matrix
from napari_dinov3.io.image_file import Kind


@dataclass(frozen=True, slots=True, eq=False)
class ImageToWrite:
    """An array with all that a file says of it.

    Parameters
    ----------
    data : array-like
        numpy, dask or zarr.
    axes : str
        One letter an array axis out of ``t z c y x s``, in this order.
    spacing, units : dict
        By axis letter, channels and colours excepted.
    kind : {"image", "labels"}
        Whether the numbers are ids.
    name : str
        For people.
    channel_names : tuple of str
        One a channel, or none.
    world_from_pixel : (n + 1, n + 1) float64, optional
        Where the place in the world is more than the spacing.
    provenance : mapping
        JSON-able.
    """

    data: Any
    axes: str
    spacing: dict[str, float]
    units: dict[str, str]
    kind: Kind = "image"
    name: str = "image"
    channel_names: tuple[str, ...] = ()
    world_from_pixel: Matrix | None = None
    provenance: Mapping[str, Any] | None = None

    @property
    def own(self) -> dict[str, Any]:
        """What only this package reads back: kind, place, provenance."""
        out: dict[str, Any] = {"kind": self.kind}
        if self.world_from_pixel is not None:
            out["world_from_pixel"] = self.world_from_pixel.tolist()
        if self.provenance:
            out["provenance"] = dict(self.provenance)
        return out
