"""Motion correction of calcium movies with the preset "movie", against known motion.

One command::

    python benchmarks/bench_movie.py                    # synthetic movies with known motion
    python benchmarks/bench_movie.py --movie FOLDER     # a real movie, its frames moved once more by known shifts

Synthetic: frames of `napari_dinov3.synthetic.calcium`, moved by a walk whose every coordinate stays within 8 px. Real: the first
plane of every file, a frame each, moved by known shifts; what is found is compared with what is found for the movie as it is.
Errors are distances in pixels after the mean motion is taken away. For comparison, scikit-image's phase_cross_correlation of
every frame with the mean of all, repeated three times.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage.io import imread
from skimage.registration import phase_cross_correlation

import napari_dinov3 as nd
from napari_dinov3.align.presets import preset

ROUNDS = 3


def walk(frames: int, rng: np.random.Generator) -> np.ndarray:
    steps = np.cumsum(rng.normal(0, 0.8, (frames, 2)), axis=0)
    return np.asarray(8 * np.sin(steps / 8))


def ours(movie: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    path = nd.align_stack(movie, **preset("movie"))
    return path.transforms[:, :2, 2], path.bad


def phase(movie: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    shifts = np.zeros((len(movie), 2))
    for _ in range(ROUNDS):
        moved = [ndimage.shift(frame, -shift, order=3, mode="nearest") for frame, shift in zip(movie, shifts, strict=True)]
        template = np.mean(moved, axis=0)
        shifts = np.array([-phase_cross_correlation(template, frame, upsample_factor=50)[0] for frame in movie])
    return shifts, ()


def report(case: str, movie: np.ndarray, truth: np.ndarray, still: np.ndarray | None = None) -> None:
    for name, run in (("napari-dinov3, preset movie", ours), ("phase_cross_correlation with the mean", phase)):
        start = time.perf_counter()
        found, bad = run(movie)
        if still is not None:
            found = found - run(still)[0]
        seconds = time.perf_counter() - start
        good = np.setdiff1d(np.arange(len(movie)), bad)
        off = (found - truth)[good]
        errors = np.linalg.norm(off - off.mean(axis=0), axis=1)
        print(f"| {case} | {name} | {np.median(errors):.3f} | {errors.max():.3f} | {list(bad)} | {seconds:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--movie", type=Path)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    options = parser.parse_args()
    print("| movie | tool | median px | worst px | frames refused | s |\n|---|---|---|---|---|---|")
    for seed in options.seeds:
        rng = np.random.default_rng(seed)
        if options.movie is None:
            shifts = walk(options.frames, rng)
            sample = nd.synthetic.calcium(planes=options.frames, size=options.size, rng=seed, shifts=shifts)
            report(f"synthetic, seed {seed}", sample.images.astype(np.float32), sample.shifts)
            continue
        frames = [imread(p) for p in sorted(options.movie.iterdir()) if p.suffix in (".tif", ".tiff", ".png")]
        still = np.stack([f[0] if f.ndim == 3 else f for f in frames]).astype(np.float32)
        shifts = walk(len(still), rng)
        moved = [ndimage.shift(f, s, order=5, mode="nearest") for f, s in zip(still, shifts, strict=True)]
        report(f"real, seed {seed}", np.stack(moved), shifts, still)


if __name__ == "__main__":
    main()
