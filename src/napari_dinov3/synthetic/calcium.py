"""Synthetic calcium imaging: low noise with bright round cells that stay in place and flash over time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from napari_dinov3.synthetic.sample import Drawn, FieldOfView, Modality, Sample, Seed, frame, shoot
from napari_dinov3.synthetic.shapes import Blobs, noise, scatter

FRAME_S = 0.1
CALCIUM = Modality("calcium", pixel=2.0, step=FRAME_S, units=("second", "micrometer", "micrometer"), axes="tyx")
CELLS = (17.0, 23.0)
RADIUS = (0.01, 0.025)
EDGE = 2.5
RATE_HZ = 0.4
DECAY_S = 0.6
BACKGROUND, NOISE, RAISE, FLASH = 24.0, 4.0, 130.0, 95.0


def calcium(
    *,
    planes: int = 1,
    size: int | tuple[int, int] = 128,
    rng: Seed = 0,
    drift: float = 0.0,
    shifts: npt.ArrayLike | None = None,
) -> Sample:
    """Synthesise a calcium movie: dim noise with bright round cells, which are the mask in every frame.

    Parameters
    ----------
    planes : int
        Frames of the movie, 0.1 s apart. Cells stay in place; from the second frame on they flash (random onsets at 0.4 Hz,
        exponential decay over 0.6 s) above a resting brightness.
    size, rng, drift, shifts
        As in :func:`napari_dinov3.synthetic.em`.

    Returns
    -------
    sample : Sample
        ``images`` ``(planes, rows, cols)`` uint8, ``masks`` all cells, ``axes`` ``"tyx"``.
    """
    view = frame(CALCIUM, planes=planes, size=size, rng=rng, drift=drift, shifts=shifts)
    return shoot(view, _draw(view))


def _draw(view: FieldOfView) -> Iterator[Drawn]:
    cells = scatter(view, per_square=CELLS, radius=RADIUS, flat=True)
    grain = noise(view)
    for activity in _activity(view, len(cells)):
        bright = Blobs(cells.depth, cells.centres, cells.radii, cells.angles, cells.half_depth, RAISE + FLASH * activity)
        coverage, inside = bright.paint(view, 0.0, edge=EDGE * view.grain)
        image = np.float32(BACKGROUND) + np.float32(NOISE) * next(grain) + coverage
        yield image, inside


def _activity(view: FieldOfView, cells: int) -> Iterator[npt.NDArray[np.float64]]:
    """Yield each frame's activity of every cell, 0..1: all at rest in the first."""
    activity = np.zeros(cells)
    for _ in range(view.planes):
        yield activity
        onset = view.scene.random(cells) < RATE_HZ * FRAME_S
        activity = np.maximum(activity * np.exp(-FRAME_S / DECAY_S), onset * view.scene.uniform(0.5, 1.0, cells))
