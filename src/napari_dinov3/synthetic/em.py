"""Synthetic electron microscopy: a Gaussian noise field with several bright round bodies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from napari_dinov3.synthetic.sample import Drawn, FieldOfView, Modality, Sample, Seed, frame, shoot
from napari_dinov3.synthetic.shapes import noise, scatter

EM = Modality("em", pixel=0.02, step=0.03)
BODIES = (3.5, 5.0)
RADIUS = (0.05, 0.1)
BACKGROUND, NOISE, RAISE = 90.0, 6.0, 100.0


def em(
    *,
    planes: int = 1,
    size: int | tuple[int, int] = 128,
    rng: Seed = 0,
    drift: float = 0.0,
    shifts: npt.ArrayLike | None = None,
) -> Sample:
    """Synthesise electron microscopy: grey noise with bright round bodies, which are the mask.

    Parameters
    ----------
    planes : int
        Planes of the stack; bodies and texture continue through them.
    size : int or (2,) ints
        Rows and columns in pixels, at least 16. Larger images show the same scene finer.
    rng : int or numpy.random.Generator
        Seed; the same seed gives the same sample.
    drift : float
        Largest displacement of a plane against the one before, in pixels: a random walk from the first plane. 0 is none.
    shifts : (planes, 2) array-like, optional
        Displacement (row, col) of each plane's content in pixels, whole or not, instead of a drift.

    Returns
    -------
    sample : Sample
        ``images`` ``(planes, rows, cols)`` uint8, ``masks`` the bodies, ``shifts`` the displacements used.

    Raises
    ------
    InputError
        For fewer than one plane, sides under 16 pixels, or shifts that do not fit the planes.
    """
    view = frame(EM, planes=planes, size=size, rng=rng, drift=drift, shifts=shifts)
    return shoot(view, _draw(view))


def _draw(view: FieldOfView) -> Iterator[Drawn]:
    bodies = scatter(view, per_square=BODIES, radius=RADIUS, weight=(0.8, 1.0))
    grain = noise(view)
    for plane in range(view.planes):
        coverage, inside = bodies.paint(view, plane * view.step)
        image = np.float32(BACKGROUND) + np.float32(NOISE) * next(grain) + np.float32(RAISE) * coverage
        yield image, inside
