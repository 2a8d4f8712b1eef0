"""Synthetic magnetic resonance: a radial gradient with an elliptical lesion near the centre that raises red slightly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from napari_dinov3.synthetic.sample import Drawn, FieldOfView, Modality, Sample, Seed, frame, shoot
from napari_dinov3.synthetic.shapes import Blobs, noise

MRI = Modality("mri", pixel=1.5, step=3.0, units=("millimeter", "millimeter", "millimeter"))
HEAD_DEPTH = 0.5
RADIUS = (0.08, 0.15)
OFF_CENTRE = 0.12
BRIGHT, NOISE, RAISE = 205.0, 7.0, 9.0


def mri(
    *,
    planes: int = 1,
    size: int | tuple[int, int] = 128,
    rng: Seed = 0,
    drift: float = 0.0,
    shifts: npt.ArrayLike | None = None,
) -> Sample:
    """Synthesise an MR scan: a grey radial gradient with a faintly red lesion near the centre, which is the mask.

    Parameters
    ----------
    planes, size, rng, drift, shifts
        As in :func:`napari_dinov3.synthetic.em`. The lesion lies at the middle plane and is cut by its neighbours.

    Returns
    -------
    sample : Sample
        ``images`` ``(planes, rows, cols, 3)`` uint8, ``masks`` the lesion, ``units`` millimetres.
    """
    view = frame(MRI, planes=planes, size=size, rng=rng, drift=drift, shifts=shifts)
    return shoot(view, _draw(view))


def _draw(view: FieldOfView) -> Iterator[Drawn]:
    lesion = _lesion(view)
    middle = (np.array(view.canvas) - 1) / 2
    rows = (np.arange(view.canvas[0], dtype=np.float32) - np.float32(middle[0])) / np.float32(view.unit)
    cols = (np.arange(view.canvas[1], dtype=np.float32) - np.float32(middle[1])) / np.float32(view.unit)
    in_plane = rows[:, None] ** 2 + cols[None] ** 2
    corner = np.hypot(view.rows, view.cols) / 2 / view.unit
    grain = noise(view, 3)
    for plane in range(view.planes):
        depth = plane * view.step - view.depth / 2
        distance = np.sqrt(in_plane + np.float32((depth * 0.5 / HEAD_DEPTH) ** 2)) / np.float32(corner)
        grey = np.float32(BRIGHT) * np.clip(1 - distance, 0, 1)
        coverage, inside = lesion.paint(view, plane * view.step)
        image = grey[..., None] + np.float32(NOISE) * next(grain)
        image[..., 0] += np.float32(RAISE) * coverage
        yield image, inside


def _lesion(view: FieldOfView) -> Blobs:
    rng = view.scene
    middle = (np.array(view.canvas) - 1) / 2
    radii = rng.uniform(*RADIUS, (1, 2))
    return Blobs(
        depth=np.array([view.depth / 2]),
        centres=(middle + rng.uniform(-OFF_CENTRE, OFF_CENTRE, 2) * view.unit)[None],
        radii=radii * view.unit,
        angles=rng.uniform(0, np.pi, 1),
        half_depth=radii.max(axis=1) * 1.5,
        weights=np.ones(1),
    )
