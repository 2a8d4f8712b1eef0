"""What every synthetic modality shares: the sample it returns, the field of view it draws in, and how planes are moved.

Conventions. Lengths inside a scene are fractions of the image's shorter side (the *unit*), so a sample of 512 pixels shows
the same scene as one of 128 pixels, four times finer. Positions are (row, col) pixels of the canvas, an image wide enough
that a moved plane shows drawn content and not a filled border. A shift is the displacement of the content: what lies at
``(row, col)`` without a shift lies at ``(row + shift[0], col + shift[1])`` with it, in images and masks alike.

Randomness. The seed and the modality's name start separate streams for what is in the scene, its texture and the shifts:
the same seed gives the same sample on every call, other modalities other scenes, and a plane that is not moved looks the
same whether or not others are (for shifts up to a quarter of the shorter side; beyond it a wider scene is drawn).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.image import Planes, as_planes
from napari_dinov3.synthetic.motion import REACH, cut_out, lanczos, linear

FloatArray = npt.NDArray[np.float32]
Drawn = tuple[FloatArray, npt.NDArray[np.bool_]]
Seed = int | np.random.Generator

REFERENCE_SIZE = 128
MIN_SIZE = 16
_SURROUND = 0.25  # units of scene beyond each side of the image


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A synthetic image or stack with its known truth.

    Parameters
    ----------
    images : (planes, rows, cols) or (planes, rows, cols, 3) uint8
        Grey levels, or red, green and blue.
    masks : (planes, rows, cols) bool
        The objects to be found.
    spacing : (3,) floats
        Distance between neighbours along plane, row, col, in `units`.
    units : (3,) str
        Unit of each axis, ``"micrometer"``, ``"millimeter"`` or ``"second"``.
    axes : str
        ``"zyx"``, or ``"tyx"`` for a movie.
    shifts : (planes, 2) float64
        Known displacement of each plane's content in pixels, order (row, col); zeros unless asked for.
    modality : str
        Name of the generator in :data:`napari_dinov3.synthetic.MODALITIES`.
    name : str
        For layers and messages.
    """

    images: npt.NDArray[np.uint8] = field(repr=False)
    masks: npt.NDArray[np.bool_] = field(repr=False)
    spacing: tuple[float, float, float]
    units: tuple[str, str, str]
    axes: str
    shifts: npt.NDArray[np.float64] = field(repr=False)
    modality: str
    name: str

    @property
    def rgb(self) -> bool:
        """Whether each pixel is a colour."""
        return self.images.ndim == 4

    def to_planes(self) -> Planes:
        """See the images as :class:`~napari_dinov3.image.Planes`, with spacing and units."""
        return as_planes(self.images, axes=self.axes + "s" * self.rgb, spacing=self.spacing, units=self.units, name=self.name)


@dataclass(frozen=True, slots=True)
class Modality:
    """What a kind of microscopy fixes: its name and its scale.

    Parameters
    ----------
    name : str
        Name of the generator; part of the seed.
    pixel : float
        World units a pixel at the reference size; finer in proportion for larger images.
    step : float
        World units between planes, or seconds between frames.
    units, axes
        As in :class:`Sample`.
    """

    name: str
    pixel: float
    step: float
    units: tuple[str, str, str] = ("micrometer", "micrometer", "micrometer")
    axes: str = "zyx"


@dataclass(frozen=True, slots=True, eq=False)
class FieldOfView:
    """Where a scene is drawn: the image, the margin around it and the depth of the stack.

    Parameters
    ----------
    modality : Modality
        Whose field of view it is.
    planes, rows, cols : int
        Shape of the sample.
    margin : int
        Pixels the canvas is wider than the image on each side.
    shifts : (planes, 2) float64
        Displacement of each plane, in pixels.
    scene, texture, surround : Generator
        Random streams for what is there, for the noise of the image, and for the noise of the margin.
    """

    modality: Modality
    planes: int
    rows: int
    cols: int
    margin: int
    shifts: npt.NDArray[np.float64]
    scene: np.random.Generator
    texture: np.random.Generator
    surround: np.random.Generator

    @property
    def unit(self) -> int:
        """Shorter side of the image in pixels; lengths in a scene are fractions of it."""
        return min(self.rows, self.cols)

    @property
    def canvas(self) -> tuple[int, int]:
        """Rows and columns of the canvas."""
        return self.rows + 2 * self.margin, self.cols + 2 * self.margin

    @property
    def step(self) -> float:
        """Distance between planes, in units; 0 for a movie, whose frames all show one depth."""
        return self.modality.step / (self.modality.pixel * REFERENCE_SIZE) if self.modality.axes[0] == "z" else 0.0

    @property
    def grain(self) -> float:
        """Pixels of this image across one pixel of the reference size."""
        return max(1.0, self.unit / REFERENCE_SIZE)

    @property
    def depth(self) -> float:
        """Distance from the first to the last plane, in units."""
        return (self.planes - 1) * self.step

    @property
    def domain(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """First and last position (row, col) on the canvas where objects are placed."""
        reach = max(_SURROUND * self.unit, self.margin)
        low = np.full(2, self.margin - reach)
        return low, low + 2 * reach + np.array([self.rows, self.cols])

    @property
    def squares(self) -> float:
        """Area where objects are placed in squares of one unit; numbers of objects are given for one square."""
        low, high = self.domain
        return float(np.prod(high - low)) / self.unit**2

    def count(self, per_square: tuple[float, float], half_depth: float) -> int:
        """Draw how many objects the whole scene holds.

        Parameters
        ----------
        per_square : (2,) floats
            Fewest and most objects one plane shows in a square of one unit.
        half_depth : float
            Half the mean extent of an object through planes, in units.
        """
        mean = self.scene.uniform(*per_square) * self.squares * (1 + self.depth / (2 * half_depth))
        return max(1, round(mean))


def frame(
    modality: Modality,
    *,
    planes: int,
    size: int | tuple[int, int],
    rng: Seed,
    drift: float,
    shifts: npt.ArrayLike | None,
) -> FieldOfView:
    """Check the options all modalities share and lay out the field of view.

    Parameters
    ----------
    modality : Modality
        Whose field of view it is.
    planes, size, rng, drift, shifts
        As in :func:`napari_dinov3.synthetic.em`.

    Raises
    ------
    InputError
        For fewer than one plane, sides under 16 pixels, numbers that are not whole, a negative seed, or shifts that do not
        fit the planes.
    """
    rows, cols = _whole_numbers(planes, size, rng)
    if planes < 1 or min(rows, cols) < MIN_SIZE:
        raise InputError(
            f"{planes} planes of {rows} x {cols} pixels",
            f"at least 1 plane and {MIN_SIZE} pixels a side",
            "Choose larger planes= and size=",
        )
    seed = int(np.random.default_rng(rng).integers(2**63))
    scene, texture, surround, walk = np.random.default_rng([seed, zlib.crc32(modality.name.encode())]).spawn(4)
    moved = _resolve_shifts(planes, drift, shifts, walk)
    margin = int(np.ceil(np.abs(moved).max())) + REACH if moved.any() else 0
    return FieldOfView(modality, int(planes), int(rows), int(cols), margin, moved, scene, texture, surround)


def shoot(view: FieldOfView, drawn: Iterator[Drawn]) -> Sample:
    """Move each drawn plane, crop it to the image and digitise it to 8 bits.

    Parameters
    ----------
    view : FieldOfView
        The frame.
    drawn : iterator of (image, mask)
        ``(canvas rows, canvas cols[, 3])`` float32 in 0..255 and ``(canvas rows, canvas cols)`` bool, one a plane.
    """
    images: npt.NDArray[np.uint8] | None = None
    masks = np.empty((view.planes, view.rows, view.cols), bool)
    for index, (image, mask) in enumerate(drawn):
        if images is None:
            images = np.empty((view.planes, view.rows, view.cols, *image.shape[2:]), np.uint8)
        corner = view.margin - view.shifts[index]
        images[index] = np.clip(np.rint(cut_out(image, corner, (view.rows, view.cols), lanczos)), 0, 255)
        masks[index] = cut_out(mask.astype(np.float32), corner, (view.rows, view.cols), linear) >= 0.5
    assert images is not None  # a field of view has at least one plane
    kind = view.modality
    side = kind.pixel * REFERENCE_SIZE / view.unit
    return Sample(images, masks, (kind.step, side, side), kind.units, kind.axes, view.shifts, kind.name, f"synthetic {kind.name}")


def _whole_numbers(planes: Any, size: Any, rng: Any) -> tuple[int, int]:
    """Check what has to be a whole number; returns rows and columns."""
    sides = (size, size) if np.ndim(size) == 0 else tuple(size)
    if len(sides) != 2 or not all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in (planes, *sides)):
        raise InputError(
            f"planes={planes!r}, size={size!r}",
            "whole numbers: planes, and one size or (rows, cols)",
            "Write for example planes=4, size=(96, 128)",
        )
    if not isinstance(rng, np.random.Generator) and (not isinstance(rng, int | np.integer) or rng < 0):
        raise InputError(f"rng={rng!r}", "a whole number, 0 or more, or a numpy.random.Generator", "Write for example rng=0")
    return int(sides[0]), int(sides[1])


def _resolve_shifts(
    planes: int, drift: float, shifts: npt.ArrayLike | None, walk: np.random.Generator
) -> npt.NDArray[np.float64]:
    if shifts is None:
        if not (np.isfinite(drift) and drift >= 0):
            raise InputError(f"drift={drift}", "pixels, 0 or more", "Give the largest step between neighbouring planes")
        steps = walk.uniform(-drift, drift, (planes, 2))
        steps[0] = 0
        return np.asarray(np.cumsum(steps, axis=0), dtype=np.float64)
    if drift:
        raise InputError(f"Both drift={drift} and shifts", "one of the two", "Leave drift out to use the shifts you give")
    known = np.array(shifts, dtype=np.float64)
    if known.shape != (planes, 2) or not np.isfinite(known).all():
        raise InputError(
            f"Shifts of shape {known.shape} for {planes} planes",
            f"({planes}, 2) finite numbers, row and col in pixels",
            "Give one (row, col) displacement a plane",
        )
    return known
