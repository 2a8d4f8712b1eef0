"""Probes against a random forest on full-resolution features: time as ratios in one run, and F1 on real membranes.

    python benchmarks/bench_probe.py [--data FOLDER]

Time: one plane of 1024 x 1024, about 2,000 labelled pixels, features cached on both sides; retrain and redraw the plane.
The forest is scikit-learn's with 100 trees on all cores, on `skimage.feature.multiscale_basic_features`.
F1: FlyEM medulla (`em/flyem_medulla_fibsem` in FOLDER; left out where it is not there): membranes are body boundaries,
thick; trained on slices 0, 10, 20 with 3,000 labelled pixels each, half of either class; tested on 120, 180, 240.
"""

from __future__ import annotations

import argparse
import gzip
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.feature import multiscale_basic_features
from skimage.io import imread
from skimage.segmentation import find_boundaries
from sklearn.ensemble import RandomForestClassifier

import napari_dinov3 as nd

SIZE = 1024
TRAIN, TEST = (0, 10, 20), (120, 180, 240)


def best_of(rounds: int, call: Callable[[], object]) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def forest() -> RandomForestClassifier:
    return RandomForestClassifier(100, n_jobs=-1, random_state=0)


def time_rounds(rounds: int) -> None:
    rng = np.random.default_rng(0)
    image = gaussian_filter(rng.random((SIZE, SIZE), dtype=np.float32), 2)
    image = (image - image.min()) / np.ptp(image)
    scribbles = np.zeros((1, SIZE, SIZE), np.uint8)
    chosen = rng.choice(image.size, 2000, replace=False)
    scribbles.flat[chosen] = 1 + (image.flat[chosen] + rng.normal(0, 0.05, 2000) > np.median(image))
    full = multiscale_basic_features(image).reshape(image.size, -1)
    fine = nd.extract(image, backbone="filter-bank")
    coarse = nd.extract(image, backbone="random-projection-cnx-tiny")

    def redraw_forest() -> None:
        forest().fit(full[chosen], scribbles.flat[chosen]).predict(full)

    def redraw(probe: nd.Probe, features: nd.FeatureMap, step: int = 1) -> None:
        probe.fit(features, scribbles).predict_plane(features, 0, step=step)

    calls: dict[str, Callable[[], object]] = {
        "kernel probe, filter bank, stride 2": lambda: redraw(nd.Probe(), fine),
        "  first answer, every 4th patch": lambda: redraw(nd.Probe(), fine, 4),
        "linear probe, filter bank, stride 2": lambda: redraw(nd.LinearProbe(), fine),
        "linear probe, 384 wide, stride 16": lambda: redraw(nd.LinearProbe(), coarse),
    }
    for call in calls.values():
        call()  # loads libraries
    times = {name: best_of(rounds, call) for name, call in calls.items()}
    slow = best_of(max(2, rounds // 3), redraw_forest)
    print(f"retrain and redraw {SIZE} x {SIZE}, features cached, {len(chosen)} labelled pixels")
    print(f"  {'random forest, full resolution':40s} {slow:7.3f} s")
    for name, seconds in times.items():
        print(f"  {name:40s} {seconds:7.3f} s   {slow / seconds:6.1f} x faster")


def membranes(folder: Path, numbers: tuple[int, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    import h5py

    slices = sorted((folder / "grayscale_maps").glob("*.png"))
    with gzip.open(folder / "groundtruth.h5.gz") as packed, h5py.File(io.BytesIO(packed.read())) as file:
        pieces, bodies = file["stack"][:], file["transforms"][:]
    body_of = np.zeros(pieces.max() + 1, np.int64)
    body_of[bodies[:, 0]] = bodies[:, 1]
    return [(imread(slices[z]), find_boundaries(body_of[pieces[z]], mode="thick")) for z in numbers]


def paint(truth: np.ndarray, rng: np.random.Generator, pixels: int = 3000) -> np.ndarray:
    scribbles = np.zeros(truth.shape, np.uint8)
    for label, mask in ((1, ~truth), (2, truth)):
        scribbles.flat[rng.choice(np.flatnonzero(mask), pixels // 2, replace=False)] = label
    return scribbles


def f1(found: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def score_membranes(folder: Path, seeds: int) -> None:
    train, test = membranes(folder, TRAIN), membranes(folder, TEST)
    truth = np.stack([mask for _, mask in test])
    full = [[multiscale_basic_features(image) for image, _ in part] for part in (train, test)]
    maps = [[nd.extract(image, backbone="filter-bank") for image, _ in part] for part in (train, test)]
    results: dict[str, list[float]] = {}
    for seed in range(seeds):
        painted = [paint(mask, np.random.default_rng([seed, plane])) for plane, (_, mask) in enumerate(train)]
        samples = np.concatenate([features[labels > 0] for features, labels in zip(full[0], painted, strict=True)])
        model = forest().fit(samples, np.concatenate([labels[labels > 0] for labels in painted]))
        found = [model.predict(features.reshape(-1, features.shape[-1])).reshape(features.shape[:2]) == 2 for features in full[1]]
        results.setdefault("random forest, full resolution", []).append(f1(np.stack(found), truth))
        for head in ("kernel", "linear", "boosting", "forest"):
            probe = nd.Probe(head=head, rng=seed).fit(maps[0], [labels[None] for labels in painted])
            found = [probe.predict_plane(features, 0) == 2 for features in maps[1]]
            results.setdefault(f"{head} probe, filter bank, stride 2", []).append(f1(np.stack(found), truth))
    print(f"F1 of FlyEM membranes, mean and spread over {seeds} seeds")
    for name, values in results.items():
        print(f"  {name:40s} {np.mean(values):.3f} +- {np.std(values):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument(
        "--data", type=Path, default=beside, help="folder of real images; by default shared/data beside the checkout"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    time_rounds(options.rounds)
    folder = options.data / "em" / "flyem_medulla_fibsem"
    if folder.exists():
        score_membranes(folder, options.seeds)
    else:
        print(f"no real membranes: {folder} is not there")


if __name__ == "__main__":
    main()
