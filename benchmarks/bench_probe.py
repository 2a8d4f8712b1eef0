"""Probes against classifiers on full-resolution features: time as ratios in one run, and F1 on real membranes.

    python benchmarks/bench_probe.py [--data FOLDER]

Time: one plane of 1024 x 1024, about 2,000 labelled pixels, features cached on both sides; retrain and redraw the plane.
The other side takes `skimage.feature.multiscale_basic_features` of every pixel: a forest of 100 trees (scikit-learn, all cores),
and CatBoost with 100 rounds, as napari-convpaint, where it is installed. `--upsampled` gives them the 384 wide map instead,
interpolated to every pixel in float32 (1.6 GB), as napari-convpaint does with networks.
Stacks: planes a second from a cached map on disk, and the memory that takes, of 10 planes and of 100.
F1: FlyEM medulla (`em/flyem_medulla_fibsem` in FOLDER; left out where it is not there): membranes are body boundaries,
thick; trained on slices 0, 10, 20 with 3,000 labelled pixels each, half of either class; tested on 120, 180, 240.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from real_labels import TEST, TRAIN, membranes
from scipy.ndimage import gaussian_filter
from skimage.feature import multiscale_basic_features
from sklearn.ensemble import RandomForestClassifier

import napari_dinov3 as nd
from napari_dinov3.features.upsample import upsample

SIZE = 1024


def best_of(rounds: int, call: Callable[[], object]) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def forest() -> RandomForestClassifier:
    return RandomForestClassifier(100, n_jobs=-1, random_state=0)


def catboost() -> Any:
    from catboost import CatBoostClassifier

    return CatBoostClassifier(100, learning_rate=0.1, depth=5, verbose=False, allow_writing_files=False, random_seed=0)


def example() -> tuple[np.ndarray, np.ndarray]:
    """Make a plane of blobs and label 2,000 of its pixels by their intensity, with some noise."""
    rng = np.random.default_rng(0)
    image = gaussian_filter(rng.random((SIZE, SIZE), dtype=np.float32), 2)
    image = (image - image.min()) / np.ptp(image)
    scribbles = np.zeros((1, SIZE, SIZE), np.uint8)
    chosen = rng.choice(image.size, 2000, replace=False)
    scribbles.flat[chosen] = 1 + (image.flat[chosen] + rng.normal(0, 0.05, 2000) > np.median(image))
    return image, scribbles


def time_rounds(rounds: int, upsampled: bool) -> None:
    image, scribbles = example()
    chosen = np.flatnonzero(scribbles)
    coarse = nd.extract(image, backbone="random-projection-cnx-tiny")
    fine = nd.extract(image, backbone="filter-bank")
    if upsampled:
        where = {"image_shape": image.shape, "stride": coarse.stride, "first_centre": coarse.first_centre}
        full = upsample(coarse.plane(0), **where).reshape(image.size, -1)
    else:
        full = multiscale_basic_features(image).reshape(image.size, -1)

    def redraw_others(model: Any) -> None:
        model.fit(full[chosen], scribbles.flat[chosen]).predict(full)

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
    others = {"forest": best_of(max(2, rounds // 3), lambda: redraw_others(forest()))}
    if importlib.util.find_spec("catboost"):
        others["CatBoost"] = best_of(max(2, rounds // 3), lambda: redraw_others(catboost()))
    print(f"retrain and redraw {SIZE} x {SIZE}, features cached, {len(chosen)} labelled pixels")
    for name, seconds in others.items():
        print(f"  {f'{name}, full resolution, {full.shape[1]} wide':40s} {seconds:7.3f} s")
    for name, seconds in times.items():
        ratios = ", ".join(f"{slow / seconds:.0f} x faster than {other}" for other, slow in others.items())
        print(f"  {name:40s} {seconds:7.3f} s   {ratios}")


class OnDisk:
    """A map whose planes are read from a file each time, the same plane in the place of each of them."""

    def __init__(self, plane: np.ndarray, planes: int, path: Path) -> None:
        self.shape, self.ndim, self.dtype, self._path = (planes, *plane.shape), 4, plane.dtype, path
        np.save(path, plane)

    def __getitem__(self, plane: int) -> np.ndarray:
        return np.load(self._path)


def time_stacks() -> None:
    image, scribbles = example()
    print(f"label planes of {SIZE} x {SIZE} one by one from a map on disk")
    jobs = (("kernel", "filter-bank", "stride 2"), ("linear", "random-projection-cnx-tiny", "384 wide, stride 16"))
    for head, backbone, what in jobs:
        features = nd.extract(image, backbone=backbone)
        probe = nd.Probe(head=head).fit(features, scribbles)
        for planes in (10, 100):
            with tempfile.TemporaryDirectory() as folder:
                stack = replace(features, array=OnDisk(features.plane(0), planes, Path(folder) / "plane.npy"))
                tracemalloc.start()
                start = time.perf_counter()
                for plane in probe.predict(stack, lazy=True):
                    plane.compute(scheduler="synchronous")
                seconds = time.perf_counter() - start
                most = tracemalloc.get_traced_memory()[1] / 1e6
                tracemalloc.stop()
            print(f"  {f'{head} probe, {what}, {planes} planes':44s} {planes / seconds:6.1f} planes/s   {most:5.0f} MB at most")


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
    parser.add_argument("--upsampled", action="store_true", help="interpolate the 384 wide map to every pixel for the others")
    parser.add_argument("--only", choices=("times", "stacks", "membranes"), help="one part of it")
    options = parser.parse_args()
    if options.only in (None, "times"):
        time_rounds(options.rounds, options.upsampled)
    if options.only in (None, "stacks"):
        time_stacks()
    folder = options.data / "em" / "flyem_medulla_fibsem"
    if options.only in ("times", "stacks"):
        return
    if folder.exists():
        score_membranes(folder, options.seeds)
    else:
        print(f"no real membranes: {folder} is not there")


if __name__ == "__main__":
    main()
