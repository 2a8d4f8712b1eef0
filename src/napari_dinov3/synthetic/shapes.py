"""Solid bodies that planes cut, noise that continues through planes, and the painting of both.

A :class:`Blobs` is a crowd of upright bodies with elliptical sections: full width over most of their depth, rounded at the
ends, so that a plane seldom meets a sliver. Noise is Gaussian in every plane and correlated between neighbouring planes, as
tissue is: a stack can be aligned by its texture, and a single plane is plain Gaussian noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_dinov3.synthetic.sample import FieldOfView

FloatArray = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]

TEXTURE_KEPT = 0.8
"""Correlation of the noise of neighbouring planes."""


@dataclass(frozen=True, slots=True, eq=False)
class Blobs:
    """Bodies with elliptical sections.

    Parameters
    ----------
    depth : (n,) floats
        Depth of each centre, in units from the first plane.
    centres : (n, 2) floats
        Position (row, col) on the canvas, in pixels.
    radii : (n, 2) floats
        Half axes in pixels, before the turn: along row, along col.
    angles : (n,) floats
        Turn in radians.
    half_depth : (n,) floats
        Half the extent through planes, in units.
    weights : (n,) floats
        How strongly each is painted, 0..1.
    """

    depth: Numbers
    centres: Numbers
    radii: Numbers
    angles: Numbers
    half_depth: Numbers
    weights: Numbers

    def __len__(self) -> int:
        return len(self.depth)

    def paint(self, view: FieldOfView, depth: float, *, edge: float = 1.0) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Paint the section at a depth.

        Parameters
        ----------
        view : FieldOfView
            The frame.
        depth : float
            In units from the first plane.
        edge : float
            Pixels over which a body fades out, half of them inside its outline and half outside.

        Returns
        -------
        coverage : canvas-shaped float32
            0 outside, a body's weight inside, half of it on the outline.
        inside : canvas-shaped bool
            Pixels within an outline.
        """
        coverage, inside = np.zeros(view.canvas, np.float32), np.zeros(view.canvas, bool)
        for i in np.flatnonzero(np.abs(depth - self.depth) < self.half_depth):
            width = np.sqrt(1 - ((depth - self.depth[i]) / self.half_depth[i]) ** 4)
            window, ratio = _ellipse(view.canvas, self.centres[i], self.radii[i] * width, self.angles[i], edge)
            slope = np.float32(self.radii[i].min() * width / edge)
            ramp = np.clip(0.5 + (1 - ratio) * slope, 0, 1) * np.float32(self.weights[i])
            coverage[window] = np.maximum(coverage[window], ramp)
            inside[window] |= ratio <= 1
        return coverage, inside


def scatter(
    view: FieldOfView,
    *,
    per_square: tuple[float, float],
    radius: tuple[float, float],
    stretch: tuple[float, float] = (1.0, 1.0),
    weight: tuple[float, float] = (1.0, 1.0),
    apart: float = 0.0,
    flat: bool = False,
) -> Blobs:
    """Scatter bodies over the scene and through the stack.

    Parameters
    ----------
    view : FieldOfView
        The frame; its `scene` stream is used.
    per_square : (2,) floats
        Fewest and most bodies a plane shows in a square of one unit.
    radius : (2,) floats
        Smallest and largest radius, in units.
    stretch : (2,) floats
        Range of the ratio of the long axis to the radius.
    weight : (2,) floats
        Range of the painted strength.
    apart : float
        Distance of two bodies' centres over the sum of their radii that placing tries to keep; 0 lets them overlap.
    flat : bool
        Whether the bodies reach through all planes (a movie's cells) rather than through their own thickness.
    """
    rng = view.scene
    half = float(np.mean(radius))
    count = max(1, round(rng.uniform(*per_square) * view.squares)) if flat else view.count(per_square, half)
    radii = rng.uniform(*radius, count)
    half_depth = np.full(count, np.inf) if flat else radii * rng.uniform(0.9, 1.1, count)
    depth = np.zeros(count) if flat else rng.uniform(-half, view.depth + half, count)
    centres = _place(view, radii * view.unit, depth * view.unit, apart)
    long = radii * rng.uniform(*stretch, count)
    return Blobs(
        depth,
        centres,
        np.stack([radii, long], axis=1) * view.unit,
        rng.uniform(0, np.pi, count),
        half_depth,
        rng.uniform(*weight, count),
    )


def noise(view: FieldOfView, channels: int = 0) -> Iterator[FloatArray]:
    """Make unit Gaussian noise plane after plane, each correlated with the one before.

    Parameters
    ----------
    view : FieldOfView
        The frame; its `texture` stream is used.
    channels : int
        0 for ``(rows, cols)`` fields, else ``(rows, cols, channels)`` with independent channels.

    Yields
    ------
    field : canvas-shaped float32
        Mean 0, variance 1. White at the reference size; in larger images half of the variance is as coarse as a pixel of
        the reference size.
    """
    field = _grainy(view, channels)
    while True:
        yield field
        field = np.float32(TEXTURE_KEPT) * field + np.float32(np.sqrt(1 - TEXTURE_KEPT**2)) * _grainy(view, channels)


def _grainy(view: FieldOfView, channels: int) -> FloatArray:
    white = _white(view, channels)
    sigma = (view.grain - 1) / 2
    if sigma <= 0:
        return white
    from scipy.ndimage import gaussian_filter

    blur = (sigma, sigma, 0)[: white.ndim]
    coarse: FloatArray = gaussian_filter(_white(view, channels), blur, mode="wrap", truncate=3.0)
    coarse *= np.float32(np.sqrt(0.5) / coarse.std())
    coarse += np.float32(np.sqrt(0.5)) * white
    return coarse


def _white(view: FieldOfView, channels: int) -> FloatArray:
    colours = (channels,) if channels else ()
    image = view.texture.standard_normal((view.rows, view.cols, *colours), dtype=np.float32)
    if not view.margin:
        return image
    canvas = view.surround.standard_normal((*view.canvas, *colours), dtype=np.float32)
    inner = slice(view.margin, -view.margin)
    canvas[inner, inner] = image
    return canvas


def _place(view: FieldOfView, radii: Numbers, depth: Numbers, apart: float) -> Numbers:
    low, high = view.domain
    centres = np.empty((len(radii), 2))
    for i, radius in enumerate(radii):
        for _ in range(30 if apart else 1):
            centres[i] = view.scene.uniform(low, high)
            distance = np.hypot(np.linalg.norm(centres[:i] - centres[i], axis=1), depth[:i] - depth[i])
            if np.all(distance >= apart * (radii[:i] + radius)):
                break
    return centres


def _ellipse(
    canvas: tuple[int, int], centre: Numbers, radii: Numbers, angle: float, edge: float
) -> tuple[tuple[slice, slice], FloatArray]:
    """Return the window an ellipse touches, and each pixel's distance from the centre over that of the outline."""
    reach = float(radii.max()) + edge + 1
    low = np.clip(np.floor(centre - reach), 0, canvas).astype(int)
    high = np.clip(np.ceil(centre + reach) + 1, low, canvas).astype(int)
    rows = np.arange(low[0], high[0], dtype=np.float32)[:, None] - np.float32(centre[0])
    cols = np.arange(low[1], high[1], dtype=np.float32)[None] - np.float32(centre[1])
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along, across = (cos * rows + sin * cols) / np.float32(radii[0]), (cos * cols - sin * rows) / np.float32(radii[1])
    return (slice(low[0], high[0]), slice(low[1], high[1])), np.hypot(along, across)
