"""Synthetic connectomics: bright filaments along straight or curved, slightly perturbed paths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_dinov3.synthetic.sample import REFERENCE_SIZE, Drawn, FieldOfView, Modality, Sample, Seed, frame, shoot
from napari_dinov3.synthetic.shapes import noise

CONNECTOMICS = Modality("connectomics", pixel=0.04, step=0.04)
FILAMENTS = (3.0, 5.0)
LENGTH = (0.6, 1.2)
HALF_DEPTH = 0.03
CURVATURE = 2.5
WOBBLE = 0.06
BACKGROUND, NOISE, RAISE = 50.0, 5.0, 150.0


@dataclass(frozen=True, slots=True, eq=False)
class Filament:
    """One path: a position for each step of about one pixel, its depth, and its brightness 0..1."""

    points: npt.NDArray[np.intp]
    depth: npt.NDArray[np.float64]
    weight: float


def connectomics(
    *,
    planes: int = 1,
    size: int | tuple[int, int] = 128,
    rng: Seed = 0,
    drift: float = 0.0,
    shifts: npt.ArrayLike | None = None,
) -> Sample:
    """Synthesise neurites: bright filaments on dark noise, each drawn as a cross at every step; touched pixels are the mask.

    Parameters
    ----------
    planes, size, rng, drift, shifts
        As in :func:`napari_dinov3.synthetic.em`. Filaments run obliquely through the stack: a plane shows the part that
        lies within their thickness of it.

    Returns
    -------
    sample : Sample
        ``images`` ``(planes, rows, cols)`` uint8, ``masks`` the filaments.
    """
    view = frame(CONNECTOMICS, planes=planes, size=size, rng=rng, drift=drift, shifts=shifts)
    return shoot(view, _draw(view))


def _draw(view: FieldOfView) -> Iterator[Drawn]:
    filaments = [_grow(view) for _ in range(view.count(FILAMENTS, HALF_DEPTH))]
    arm = max(1, round(view.grain))
    grain = noise(view)
    for plane in range(view.planes):
        raised = np.zeros(view.canvas, np.float32)
        for filament in filaments:
            near = np.abs(filament.depth - plane * view.step) < HALF_DEPTH
            _draw_crosses(raised, filament.points[near], arm, filament.weight)
        image = np.float32(BACKGROUND) + np.float32(NOISE) * next(grain) + np.float32(RAISE) * raised
        yield image, raised > 0


def _grow(view: FieldOfView) -> Filament:
    """Walk a path in steps of one pixel of the reference size, then refine it to steps of one pixel of this image."""
    rng = view.scene
    walked = round(rng.uniform(*LENGTH) * REFERENCE_SIZE)
    bend = rng.choice([0.0, rng.uniform(-CURVATURE, CURVATURE)]) / REFERENCE_SIZE
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(bend + rng.normal(0, WOBBLE, walked))
    path = np.cumsum(np.stack([np.sin(heading), np.cos(heading)], axis=1), axis=0) / REFERENCE_SIZE
    path = rng.uniform(*view.domain) + (path - path[walked // 2]) * view.unit
    dive = rng.uniform(-1, 1) * 2 * HALF_DEPTH / np.mean(LENGTH)
    depth = rng.uniform(-HALF_DEPTH, view.depth + HALF_DEPTH) + dive * (np.arange(walked) / REFERENCE_SIZE - np.mean(LENGTH) / 2)
    fine = np.linspace(0, walked - 1, max(2, round(walked * view.unit / REFERENCE_SIZE)))
    rows, cols, depths = (np.interp(fine, np.arange(walked), track) for track in (*path.T, depth))
    return Filament(np.rint(np.stack([rows, cols], axis=1)).astype(np.intp), depths, float(rng.uniform(0.8, 1.0)))


def _draw_crosses(raised: npt.NDArray[np.float32], points: npt.NDArray[np.intp], arm: int, weight: float) -> None:
    reach = np.arange(-arm, arm + 1)
    zeros = np.zeros_like(reach)
    cross = np.concatenate([np.stack([reach, zeros], axis=1), np.stack([zeros, reach], axis=1)])
    touched = (points[:, None] + cross[None]).reshape(-1, 2)
    touched = touched[np.all((touched >= 0) & (touched < raised.shape), axis=1)]
    rows, cols = touched.T
    raised[rows, cols] = np.maximum(raised[rows, cols], np.float32(weight))
