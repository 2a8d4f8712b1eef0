"""How often TokenCut calls noise clear, and real objects unclear: the figures under "Clear" in docs/discover.md.

    python benchmarks/bench_clarity.py [DATA] [--seeds 4] [--every 4] [--backbone filter-bank]

Fourteen kinds of noise of 256 x 256 pixels, each with several seeds; then every so-many-th image of the real sets of
bench_discover.py where DATA is given.
"""

from __future__ import annotations

import argparse
import warnings
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from bench_discover import heads, nuclei, sections
from scipy import ndimage

import napari_dinov3 as nd

SIDE = 256


def noises(seed: int) -> Iterator[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    white = rng.normal(size=(SIDE, SIDE))
    yield "white", white
    yield "uniform", rng.random((SIDE, SIDE))
    yield "counts", rng.poisson(3, (SIDE, SIDE))
    yield "salt and pepper", rng.random((SIDE, SIDE)) < 0.5
    yield "2 % salt", rng.random((SIDE, SIDE)) < 0.02
    for sigma in (1, 2, 4, 8, 16):
        yield f"blurred by {sigma} px", ndimage.gaussian_filter(white, sigma)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    frequency[0, 0] = 1
    yield "1/f", np.fft.ifft2(np.fft.fft2(white) / frequency).real
    yield "speckle", rng.exponential(size=(SIDE, SIDE))
    yield "colours", rng.random((SIDE, SIDE, 3))
    yield "lines", white + 2 * rng.normal(size=(SIDE, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--backbone", default="filter-bank")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore", nd.errors.IllPosedWarning)
    images = [("noise", name, image) for seed in range(chosen.seeds) for name, image in noises(seed)]
    if chosen.data is not None:
        real = chain(nuclei(chosen.data), heads(chosen.data), sections(chosen.data))
        images += [("real", name, image) for number, (name, image, _) in enumerate(real) if not number % chosen.every]
    found = defaultdict(list)
    for kind, name, image in images:
        cut = nd.tokencut(nd.extract(image.astype(np.float32) if kind == "noise" else image, backbone=chosen.backbone)).cut
        found[kind, name].append((cut.clear[0], cut.well_posed[0], cut.distance[0], cut.chance[0]))
    for (kind, name), rows in found.items():
        clear, posed, distance, chance = np.array(rows, float).T
        text = f"{clear.sum():.0f} clear, {posed.sum():.0f} well posed of {len(rows)}"
        print(f"{kind:6}{name:20}{text}; distance {distance.min():.3f}..{distance.max():.3f}, chance {chance.max():.3f} at most")


if __name__ == "__main__":
    main()
