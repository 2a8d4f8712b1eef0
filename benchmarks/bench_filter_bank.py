"""Filter-bank extraction against the library calls it stands for, as a ratio in one run.

    python benchmarks/bench_filter_bank.py

Library: `skimage.feature.multiscale_basic_features` (24 numbers a pixel) alone, and with the structure tensor of four scales
(32 numbers, as the filter bank has). One plane of 1024 x 1024; the best of several rounds, measured in turn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.feature import multiscale_basic_features, structure_tensor, structure_tensor_eigenvalues

import napari_dinov3 as nd


def textured_plane(size: int) -> np.ndarray:
    image = gaussian_filter(np.random.default_rng(0).random((size, size), dtype=np.float32), 2)
    return (image - image.min()) / np.ptp(image)


def best_times(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Time each call in turn, several rounds, and keep the best: other work on the machine only ever adds."""
    best = dict.fromkeys(calls, np.inf)
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    image = textured_plane(options.size)

    def basic_and_tensor() -> None:
        multiscale_basic_features(image)
        for sigma in (1, 2, 4, 8):
            structure_tensor_eigenvalues(structure_tensor(image, sigma, order="rc"))

    times = best_times(
        {
            "multiscale_basic_features": lambda: multiscale_basic_features(image),
            "with structure tensors": basic_and_tensor,
            "filter-bank, stride 2": lambda: nd.extract(image, backbone="filter-bank"),
            "filter-bank, stride 1": lambda: nd.extract(image, backbone="filter-bank", stride=1),
        },
        options.rounds,
    )
    for name, seconds in times.items():
        print(
            f"{name:28s} {seconds:6.3f} s   {seconds / times['multiscale_basic_features']:5.2f} x multiscale_basic_features   "
            f"{seconds / times['with structure tensors']:5.2f} x with structure tensors"
        )


if __name__ == "__main__":
    main()
