"""Probes on the filter bank against a random forest on full-resolution features, on real images with reference labels.

    python benchmarks/bench_real_labels.py [--data FOLDER] [--sets NAME ...] [--seeds N] [--extras]

Both sides get the same scribbles: `even`, 3,000 labelled pixels a plane shared out evenly between the classes; `strokes`, eight
strokes of up to 20 pixels a class and plane. F1 of the foreground; the mean over classes where there are more than two.
Forest: 100 trees on `skimage.feature.multiscale_basic_features`, as `skimage.future.TrainableSegmenter`. Where napari-convpaint
is installed too, its Gaussian features with CatBoost are a column. `--extras` compares what may follow the scores instead.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_probe import TEST, TRAIN, forest, membranes
from skimage.feature import multiscale_basic_features
from skimage.io import imread

import napari_dinov3 as nd

Pairs = list[tuple[np.ndarray, np.ndarray]]
Paint = Callable[[np.ndarray, np.random.Generator], np.ndarray]

TISSUE = {
    1: (4, 43, 14, 15, 24, 5, 44),
    2: (3, 42, 8, 47, 10, 49, 11, 50, 12, 51, 13, 52, 17, 53, 18, 54),
    3: (2, 41, 7, 46, 16, 28, 60, 251, 252, 253, 254, 255),
}
VENTRICLES = {1: (4, 43, 5, 44)}
ALLEN = (382, 961, 672, 733, 1097)  # CA1, piriform area, caudoputamen, VPM of the thalamus, hypothalamus


def flyem(data: Path) -> tuple[Pairs, Pairs]:
    folder = data / "em" / "flyem_medulla_fibsem"
    return membranes(folder, TRAIN), membranes(folder, TEST)


def nuclei(kind: str, group: str, train: int) -> Callable[[Path], tuple[Pairs, Pairs]]:
    def load(data: Path) -> tuple[Pairs, Pairs]:
        pairs = []
        for path in sorted((data / kind / "derived_labels" / group).glob("*.tif")):
            image = imread(data / kind / group / path.stem / "images" / f"{path.stem}.png")[..., :3]
            pairs.append((image[..., 0] if "fluorescence" in kind else image, imread(path) > 0))
        return pairs[:train], pairs[train:]

    return load


def brain(groups: dict[int, tuple[int, ...]]) -> Callable[[Path], tuple[Pairs, Pairs]]:
    def load(data: Path) -> tuple[Pairs, Pairs]:
        archive = np.load(data / "mri" / "voxelmorph_t1_aseg" / "test_scan.npz")
        volume, ids = archive["vol"].astype(np.float32), archive["seg"].astype(int)
        classes = np.zeros(ids.shape, np.uint8)
        for value, members in groups.items():
            classes[np.isin(ids, members)] = value
        area = (classes > 0).sum(axis=(0, 1))
        rich = np.flatnonzero(area > 0.4 * area.max())
        planes = rich[np.linspace(0, len(rich) - 1, 8).round().astype(int)]
        pairs = [(volume[:, :, z], classes[:, :, z]) for z in planes]
        return [pairs[i] for i in (1, 3, 6)], [pairs[i] for i in (2, 4, 5)]

    return load


def allen(data: Path) -> tuple[Pairs, Pairs]:
    """Train on the left half of a coronal section, test on the right one: five large regions and the rest."""
    folder = data / "atlas" / "mouse_slice_with_allen_labels" / "brainglobe_registration"
    image, ids = imread(folder / "downsampled.tiff"), imread(folder / "registered_atlas.tiff")
    classes = np.zeros(ids.shape, np.uint8)
    for value, region in enumerate(ALLEN, start=1):
        classes[ids == region] = value
    middle = ids.shape[1] // 2
    return [(image[:, :middle], classes[:, :middle])], [(image[:, middle:], classes[:, middle:])]


SETS: dict[str, Callable[[Path], tuple[Pairs, Pairs]]] = {
    "FlyEM membranes": flyem,
    "stained nuclei, purple on white": nuclei("histology/dsb2018_stained", "purple_on_white", 3),
    "stained nuclei, purple on purple": nuclei("histology/dsb2018_stained", "purple_on_purple", 3),
    "fluorescent nuclei": nuclei("cells/dsb2018_fluorescence", "256x256", 2),
    "MRI tissue, 4 classes": brain(TISSUE),
    "MRI ventricles, 1 % of the plane": brain(VENTRICLES),
    "Allen regions of a mouse section, 6 classes": allen,
}


def paint_evenly(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    scribbles = np.zeros(truth.shape, np.uint8)
    values = np.unique(truth)
    for value in values:
        pixels = np.flatnonzero(truth == value)
        scribbles.flat[rng.choice(pixels, min(len(pixels), 3000 // len(values)), replace=False)] = int(value) + 1
    return scribbles


def paint_strokes(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    scribbles = np.zeros(truth.shape, np.uint8)
    for value in np.unique(truth):
        for _ in range(8):
            at = np.array(np.unravel_index(rng.choice(np.flatnonzero(truth == value)), truth.shape), float)
            angle = rng.uniform(0, 2 * np.pi)
            for _ in range(20):
                row, col = np.rint(at).astype(int)
                if not (0 <= row < truth.shape[0] and 0 <= col < truth.shape[1]) or truth[row, col] != value:
                    break
                scribbles[row, col] = int(value) + 1
                angle += rng.normal(0, 0.2)
                at += np.sin(angle), np.cos(angle)
    return scribbles


def mean_f1(found: list[np.ndarray], truth: list[np.ndarray]) -> float:
    guess, true = (np.concatenate([part.ravel() for part in parts]).astype(int) for parts in (found, truth))
    values = np.unique(true) if true.max() > 1 else [1]
    return float(np.mean([2 * ((guess == v) & (true == v)).sum() / ((guess == v).sum() + (true == v).sum()) for v in values]))


def score(train: Pairs, test: Pairs, paint: Paint, seed: int) -> dict[str, float]:
    painted = [paint(truth, np.random.default_rng([seed, plane])) for plane, (_, truth) in enumerate(train)]
    truth = [labels for _, labels in test]
    full = [
        [multiscale_basic_features(image, channel_axis=-1 if image.ndim == 3 else None) for image, _ in part]
        for part in (train, test)
    ]
    samples = np.concatenate([features[labels > 0] for features, labels in zip(full[0], painted, strict=True)])
    model = forest().fit(samples, np.concatenate([labels[labels > 0] for labels in painted]))
    results = {"forest": mean_f1([model.predict(f.reshape(-1, f.shape[-1])).reshape(f.shape[:2]) - 1 for f in full[1]], truth)}
    if importlib.util.find_spec("napari_convpaint"):
        results["convpaint"] = mean_f1(convpaint(train, test, painted), truth)
    maps = [[nd.extract(image, backbone="filter-bank") for image, _ in part] for part in (train, test)]
    probes = {
        "kernel": nd.Probe(rng=seed),
        "kernel, prior as painted": nd.Probe(prior="scribbles", rng=seed),
        "linear": nd.LinearProbe(rng=seed),
    }
    for name, probe in probes.items():
        probe.fit(maps[0], [labels[None] for labels in painted])
        results[name] = mean_f1([probe.predict_plane(features, 0).astype(int) - 1 for features in maps[1]], truth)
    return results


def convpaint(train: Pairs, test: Pairs, painted: list[np.ndarray]) -> list[np.ndarray]:
    from napari_convpaint.convpaint_model import ConvpaintModel

    rgb = train[0][0].ndim == 3
    model = ConvpaintModel("gaussian")
    model.set_params(channel_mode="rgb" if rgb else "single")
    first = [[np.moveaxis(image, -1, 0) if rgb else np.asarray(image, np.float32) for image, _ in part] for part in (train, test)]
    with contextlib.redirect_stdout(io.StringIO()):
        model.train(first[0], painted)
    return [model.segment(image).astype(int) - 1 for image in first[1]]


def score_extras(train: Pairs, test: Pairs, paint: Paint, seed: int) -> dict[str, float]:
    """Compare what may follow the scores of a kernel probe, and a second backbone beside the filter bank."""
    painted = [paint(truth, np.random.default_rng([seed, plane]))[None] for plane, (_, truth) in enumerate(train)]
    truth = [labels for _, labels in test]
    second = "random-projection-cnx-tiny+filter-bank"
    results = {}
    for name, backbone, options in (
        ("kernel", "filter-bank", {}),
        ("refine=2", "filter-bank", {"refine": 2.0}),
        ("refine=4", "filter-bank", {"refine": 4.0}),
        ("refine=8", "filter-bank", {"refine": 8.0}),
        ("median=3", "filter-bank", {"median": 3}),
        ("median=5", "filter-bank", {"median": 5}),
        ("with random projection", second, {}),
    ):
        maps = [[nd.extract(image, backbone=backbone) for image, _ in part] for part in (train, test)]
        probe = nd.Probe(rng=seed, **options).fit(maps[0], painted)
        found = [probe.predict_plane(m, 0, image=image).astype(int) - 1 for m, (image, _) in zip(maps[1], test, strict=True)]
        results[name] = mean_f1(found, truth)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--extras", action="store_true", help="compare what may follow the scores instead of classifiers")
    options = parser.parse_args()
    one = score_extras if options.extras else score
    header = False
    for name in options.sets:
        train, test = SETS[name](options.data)
        for kind, paint in (("even", paint_evenly), ("strokes", paint_strokes)):
            runs = [one(train, test, paint, seed) for seed in range(options.seeds)]
            if not header:
                print("| set | scribbles | " + " | ".join(runs[0]) + " |\n|---|---|" + "---|" * len(runs[0]))
                header = True
            figures = (f"{np.mean([run[key] for run in runs]):.3f}" for key in runs[0])
            print(f"| {name} | {kind} | " + " | ".join(figures) + " |", flush=True)


if __name__ == "__main__":
    main()
