"""Synthetic atlas: horizontal stripes of pastel colours with a few greenish ellipses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from napari_dinov3.synthetic.sample import Drawn, FieldOfView, Modality, Sample, Seed, frame, shoot
from napari_dinov3.synthetic.shapes import noise, scatter

ATLAS = Modality("atlas", pixel=25.0, step=50.0)
STRIPES = (5, 9)
REGIONS = (2.5, 4.0)
RADIUS = (0.06, 0.10)
STRETCH = (1.0, 1.8)
PASTEL = (205.0, 245.0)
GREEN = np.array([120.0, 205.0, 120.0], np.float32)
NOISE = 4.0
STRIPE_SLOPE = 0.15


def atlas(
    *,
    planes: int = 1,
    size: int | tuple[int, int] = 128,
    rng: Seed = 0,
    drift: float = 0.0,
    shifts: npt.ArrayLike | None = None,
) -> Sample:
    """Synthesise an annotated brain plate: pastel horizontal stripes with greenish ellipses, which are the mask.

    Parameters
    ----------
    planes, size, rng, drift, shifts
        As in :func:`napari_dinov3.synthetic.em`. The borders of the stripes move slowly from plane to plane.

    Returns
    -------
    sample : Sample
        ``images`` ``(planes, rows, cols, 3)`` uint8, ``masks`` the ellipses.
    """
    view = frame(ATLAS, planes=planes, size=size, rng=rng, drift=drift, shifts=shifts)
    return shoot(view, _draw(view))


def _draw(view: FieldOfView) -> Iterator[Drawn]:
    borders, slopes, colours = _stripes(view)
    regions = scatter(view, per_square=REGIONS, radius=RADIUS, stretch=STRETCH, weight=(0.8, 1.0), apart=1.0)
    grain = noise(view, 3)
    rows = np.arange(view.canvas[0])
    for plane in range(view.planes):
        moved = np.sort(borders + slopes * (plane * view.step * view.unit))
        stripes = colours[np.searchsorted(moved, rows, side="right")][:, None]
        coverage, inside = regions.paint(view, plane * view.step)
        image = stripes + coverage[..., None] * (GREEN - stripes) + np.float32(NOISE) * next(grain)
        yield image, inside


def _stripes(view: FieldOfView) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Draw the borders between stripes (canvas rows), their slope through planes, and one colour a stripe."""
    rng = view.scene
    (top, _), (bottom, _) = view.domain
    count = round(rng.integers(*STRIPES, endpoint=True) * (bottom - top) / view.unit)
    even = np.arange(1, count) / count
    borders = top + (even + rng.uniform(-0.25, 0.25, count - 1) / count) * (bottom - top)
    slopes = rng.uniform(-STRIPE_SLOPE, STRIPE_SLOPE, count - 1)
    return borders, slopes, rng.uniform(*PASTEL, (count, 3)).astype(np.float32)
