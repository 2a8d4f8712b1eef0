"""Windows of the patch grid around labelled pixels: what the decoder is trained on, whatever the size of the planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.segment.heads import FloatArray
from napari_dinov3.segment.training import TrainingSet

SIDE = 48  # patches
_MOST_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of a plane with its labelled pixels.

    Parameters
    ----------
    features : (rows, cols, dim) float32
        Standardised.
    at : (n, 2) float32
        Labelled pixels, in patches of the window.
    codes : (n,) int64
        Class index of each.
    held_out : (n,) bool
        Whether it is kept back from training.
    """

    features: FloatArray
    at: npt.NDArray[np.float32]
    codes: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.bool_]


def cut_windows(
    maps: Sequence[FeatureMap],
    samples: TrainingSet,
    held_out: npt.NDArray[np.bool_],
    *,
    scaling: tuple[FloatArray, FloatArray],
    on_patches: bool,
    rng: np.random.Generator,
) -> list[Window]:
    """Tile the painted planes and keep the tiles with labels, as many as memory allows.

    Parameters
    ----------
    maps, samples, scaling, on_patches, rng
        As in :func:`~napari_dinov3.segment.decoder.fit_decoder_steps`.
    held_out : (n,) bool
        Samples kept back from training.

    Raises
    ------
    InputError
        If features of a window are not finite.
    """
    mean, scale = scaling
    windows: list[Window] = []
    keys = [(int(number), int(plane)) for number, plane in np.unique(samples.where[:, :2], axis=0)]
    room = max(1, _MOST_BYTES // (SIDE * SIDE * len(mean) * 4) // len(keys))
    for number, plane in keys:
        mine = (samples.where[:, 0] == number) & (samples.where[:, 1] == plane)
        features = maps[number]
        pixels = samples.where[mine, 2:].astype(np.float32)
        at = pixels if on_patches else np.clip((pixels - features.first_centre) / features.stride, 0, None)
        at = np.minimum(at, np.array(features.grid, np.float32) - 1)
        corners = np.stack([_corners(at[:, axis], features.grid[axis]) for axis in (0, 1)], axis=1)
        places = np.unique(corners, axis=0)
        if len(places) > room:
            places = places[rng.choice(len(places), room, replace=False)]
        grid = features.plane(plane)
        for row, col in places:
            piece = grid[row : row + SIDE, col : col + SIDE]
            if not np.isfinite(piece).all():
                raise InputError(
                    f"Features of plane {plane} hold NaN or infinite values near the labels",
                    "finite features",
                    "Extract the features again, or erase the labels there",
                )
            inside = np.all(corners == (row, col), axis=1)
            windows.append(
                Window(
                    np.asarray((piece - mean) / scale, np.float32),
                    at[inside] - np.array([row, col], np.float32),
                    samples.codes[mine][inside].astype(np.int64),
                    held_out[mine][inside],
                )
            )
    return windows


def _corners(at: npt.NDArray[np.float32], patches: int) -> npt.NDArray[np.intp]:
    """Give the first patch of the window each position belongs to; windows lie side by side, the last one moved inward."""
    starts = np.floor(at / (SIDE - 1)).astype(np.intp) * (SIDE - 1)
    moved: npt.NDArray[np.intp] = np.clip(starts, 0, max(0, patches - SIDE))
    return moved
