"""Synthetic histology: a pinkish Gaussian background with scattered dark round nuclei."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from napari_dinov3.synthetic.sample import Drawn, FieldOfView, Modality, Sample, Seed, frame, shoot
from napari_dinov3.synthetic.shapes import noise, scatter

HISTOLOGY = Modality("histology", pixel=0.5, step=1.0)
NUCLEI = (9.0, 13.0)
RADIUS = (0.045, 0.08)
PINK = np.array([228.0, 178.0, 204.0], np.float32)
NUCLEUS = np.array([92.0, 58.0, 138.0], np.float32)
NOISE = 0.035


def histology(
    *,
    planes: int = 1,
    size: int | tuple[int, int] = 128,
    rng: Seed = 0,
    drift: float = 0.0,
    shifts: npt.ArrayLike | None = None,
) -> Sample:
    """Synthesise stained tissue: a pink background with dark round nuclei, which are the mask.

    Parameters
    ----------
    planes, size, rng, drift, shifts
        As in :func:`napari_dinov3.synthetic.em`.

    Returns
    -------
    sample : Sample
        ``images`` ``(planes, rows, cols, 3)`` uint8, ``masks`` the nuclei.
    """
    view = frame(HISTOLOGY, planes=planes, size=size, rng=rng, drift=drift, shifts=shifts)
    return shoot(view, _draw(view))


def _draw(view: FieldOfView) -> Iterator[Drawn]:
    nuclei = scatter(view, per_square=NUCLEI, radius=RADIUS, weight=(0.85, 1.0), apart=1.05)
    grain = noise(view, 3)
    for plane in range(view.planes):
        coverage, inside = nuclei.paint(view, plane * view.step, edge=1.5 * view.grain)
        stain = PINK + coverage[..., None] * (NUCLEUS - PINK)
        yield stain * (1 + np.float32(NOISE) * next(grain)), inside
