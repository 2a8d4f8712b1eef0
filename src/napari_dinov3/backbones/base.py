"""The one Protocol behind which every backbone stands, and the facts the registry keeps of each.

A backbone turns a batch of normalised tiles into patch features. It knows nothing of stacks, files, units or widgets:
:mod:`napari_dinov3.features.extract` cuts the tiles and puts the grid together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Kind = Literal["random-projection", "filter-bank", "dinov3", "joint"]


@dataclass(frozen=True, slots=True)
class BackboneFacts:
    """What a user wants to know of a backbone before choosing it; no code of the backbone is loaded to tell.

    Parameters
    ----------
    name : str
        Name in the registry.
    kind : str
        Family.
    patch, stride : int
        Pixels a patch covers, and pixels between the centres of neighbouring patches (default).
    width : int
        Numbers a patch of a grey image (``width_rgb``: of an RGB image).
    licence, source, good_for : str
        One line each.
    needs : tuple of str
        Modules that must be installed beyond the base install.
    factory : str
        ``"module:callable"`` that builds it.
    strides : tuple of int
        Strides on offer.
    """

    name: str
    kind: Kind
    patch: int
    stride: int
    width: int
    width_rgb: int
    licence: str
    source: str
    good_for: str
    factory: str
    strides: tuple[int, ...]
    needs: tuple[str, ...] = ()
    download_mb: float = 0.0


class Embedding(NamedTuple):
    """Features of a batch of tiles.

    ``patches``: ``(n, rows, cols, dim)`` float32, row-major over the tile. ``cls``: ``(n, dim)`` float32, or None.
    """

    patches: npt.NDArray[np.float32]
    cls: npt.NDArray[np.float32] | None


class Backbone(Protocol):
    """Turn tiles into patch features.

    Four more attributes are read where a backbone has them: ``tile_size`` (side of a tile in pixels that suits it), ``overlap``
    (part of a tile, 0..1, blended with its neighbours, for networks whose features depend on the whole tile: their tiles are
    all of one size), ``batch_pixels`` (pixels worth handing over at once) and ``provenance`` (a JSON-able mapping kept with the
    map: weights, device, precision).
    """

    @property
    def facts(self) -> BackboneFacts:
        """Registry entry this backbone was built from."""

    @property
    def stride(self) -> int:
        """Pixels between patch centres; tiles have sides that are multiples of it."""

    @property
    def halo(self) -> int:
        """Pixels of true context around a tile that make its features equal to those of the whole image."""

    @property
    def revision(self) -> str:
        """Identify weights and preprocessing: equal revisions give equal numbers."""

    def width(self, channels: int) -> int:
        """Numbers a patch for an image of 1 or 3 channels."""

    def embed(self, tiles: npt.NDArray[np.float32]) -> Embedding:
        """Embed a batch.

        Parameters
        ----------
        tiles : (n, H, W) or (n, H, W, 3) float32
            Intensities in 0..1; H and W multiples of `stride`.
        """
