"""TokenCut against the dense generalised eigensolver, and on grids the dense solver cannot hold.

Run: ``python benchmarks/bench_tokencut.py [--large] [--accuracy]``. Prints one Markdown row a size. Times are of the whole
``tokencut`` call (affinity, eigenvectors, masks), the best of three; the reference is one ``scipy.linalg.eigh`` on the dense
pencil, its affinity included.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time

import numpy as np
import scipy.linalg

import napari_dinov3 as nd
from napari_dinov3.features.feature_map import FeatureMap

QUANTILE = 0.7


def feature_map(patches: int, seed: int) -> FeatureMap:
    """Features of synthetic histology at 16 pixels a patch."""
    image = nd.synthetic.histology(planes=1, size=16 * round(patches**0.5), rng=seed).images
    return nd.extract(np.asarray(image), backbone="random-projection-cnx-tiny")


def choose_tau(features: FeatureMap) -> float:
    flat = features.plane(0).reshape(-1, features.dim).astype(np.float64)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    return float(np.quantile(flat[:: max(1, len(flat) // 800)] @ flat.T, QUANTILE))


def reference(features: FeatureMap, tau: float) -> np.ndarray:
    flat = features.plane(0).reshape(-1, features.dim).astype(np.float64)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    affinity = np.where(flat @ flat.T > tau, 1.0, 1e-5)
    degree = np.diag(affinity.sum(axis=1))
    return scipy.linalg.eigh(degree - affinity, degree, subset_by_index=[1, 2])[1][:, 0]


def timed(function, *arguments, repeat=1, **options):
    best = np.inf
    for _ in range(repeat):
        start = time.perf_counter()
        result = function(*arguments, **options)
        best = min(best, time.perf_counter() - start)
    return best, result


def compare(patches: int) -> None:
    features = feature_map(patches, 3)
    tau = choose_tau(features)
    nd.tokencut(feature_map(patches, 1), tau=tau)
    ours, cut = timed(nd.tokencut, features, tau=tau, repeat=3)
    theirs, vector = timed(reference, features, tau)
    mine = cut.eigenvectors[0, ..., 0].ravel()
    high, known = mine > mine.mean(), vector > vector.mean()
    iou = max(np.count_nonzero(high & side) / np.count_nonzero(high | side) for side in (known, ~known))
    live, _ = timed(cut.with_masks, bipartition="otsu", component="all", opening=1, closing=1, fill_holes=True, repeat=3)
    print(f"| {patches:,} | {theirs:.2f} s | {ours:.3f} s | {theirs / ours:.0f} | {iou:.4f} | {1000 * live:.0f} ms |", flush=True)


def large(patches: int) -> None:
    """One size in a fresh process, so that the peak memory is its own."""
    features = feature_map(patches, 3)
    tau = choose_tau(features)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    seconds, cut = timed(nd.tokencut, features, tau=tau, max_patches="auto")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    values = np.round(cut.eigenvalues[0], 4)
    print(f"| {patches:,} | {seconds:.1f} s | {peak:.2f} GB ({before:.2f} GB before) | {values} |", flush=True)


def coarse(patches: int, step: int) -> None:
    """Agreement of the coarse-to-fine scheme with the direct solution."""
    features = feature_map(patches, 3)
    tau = choose_tau(features)
    direct, whole = timed(nd.tokencut, features, tau=tau, component="all", max_patches=patches)
    quick, part = timed(nd.tokencut, features, tau=tau, component="all", max_patches=patches // step**2)
    a, b = (cut.eigenvectors[0, ..., 0].ravel() for cut in (whole, part))
    overlaps = []
    for bipartition in ("mean", "otsu"):
        x, y = (cut.with_masks(bipartition=bipartition).grid_masks for cut in (whole, part))
        overlaps.append(np.count_nonzero(x & y) / np.count_nonzero(x | y))
    corr = abs(np.corrcoef(a, b)[0, 1])
    agreement = " | ".join(f"{value:.4f}" for value in (corr, *overlaps))
    print(f"| {patches:,} | 1 in {step**2} | {direct:.2f} s | {quick:.2f} s | {agreement} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="also 16,384, 65,536 and 262,144 patches")
    parser.add_argument("--accuracy", action="store_true", help="also the coarse-to-fine scheme against the direct solution")
    arguments = parser.parse_args()
    print("| patches | dense eigh | tokencut | ratio | IoU of the bipartition | new masks |\n|---|---|---|---|---|---|")
    for patches in (1024, 4096):
        compare(patches)
    if arguments.large:
        print("\n| patches | tokencut | peak memory | eigenvalues |\n|---|---|---|---|", flush=True)
        for patches in (16_384, 65_536, 262_144):
            process = multiprocessing.get_context("spawn").Process(target=large, args=(patches,))
            process.start()
            process.join()
    if arguments.accuracy:
        heads = ("patches", "solved", "direct", "coarse to fine", "correlation", "IoU at the mean", "IoU at Otsu's split")
        print(f"\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
        for patches, step in ((4096, 2), (16_384, 2), (16_384, 4), (65_536, 2), (65_536, 4)):
            coarse(patches, step)


if __name__ == "__main__":
    main()
