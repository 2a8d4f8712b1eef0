"""Objects from classes and from probabilities, their classes, and how long a click takes, on real images with reference labels.

    python benchmarks/bench_objects.py parting [--data FOLDER]    # average precision of ways to part objects
    python benchmarks/bench_objects.py classes [--data FOLDER]    # accuracy from 1, 2 and 5 examples a class
    python benchmarks/bench_objects.py clicks                     # time from an example to the class of every object

parting: a probe (filter bank, kernel head) learns nucleus, and background, from 3,000 pixels of each training image; objects are
made of its labels or its probability on the other images, at least 20 pixels large. The height of 1 pixel is the default.
classes: connected pieces of eight structures of a brain (FreeSurfer ids, both sides together) in every fourth plane; examples are
drawn from all pieces at random, accuracy is balanced over the classes, of the pieces that were no examples. Beside it a random
forest of scikit-learn on the object table (size, shape, mean and spread of the intensity, no position).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from skimage.io import imread

import napari_dinov3 as nd

SETS = {
    "fluorescence 256x256": ("cells/dsb2018_fluorescence", "256x256", 2),
    "fluorescence 520x696": ("cells/dsb2018_fluorescence", "520x696", 1),
    "purple on white": ("histology/dsb2018_stained", "purple_on_white", 4),
    "purple on purple": ("histology/dsb2018_stained", "purple_on_purple", 4),
}
WAYS = {
    "components of labels": ("labels", {}),
    "watershed of labels, height 1": ("labels", {"method": "watershed"}),
    "watershed of labels, height 0.5": ("labels", {"method": "watershed", "depth": 0.5}),
    "watershed of labels, seeds 5 px apart": ("labels", {"method": "watershed", "seeds": "peaks"}),
    "watershed of probability, height 0.1": ("probability", {"method": "watershed", "landscape": "probability"}),
    "watershed of probability, height 0.2": ("probability", {"method": "watershed", "landscape": "probability", "depth": 0.2}),
}
STRUCTURES = {
    "ventricle": (4, 43),
    "thalamus": (10, 49),
    "caudate": (11, 50),
    "putamen": (12, 51),
    "hippocampus": (17, 53),
    "brainstem": (16,),
    "cerebellar white matter": (7, 46),
    "corpus callosum": (251, 252, 253, 254, 255),
}
EXAMPLES = (1, 2, 5)
DRAWS = 10


def pairs_of(data: Path, kind: str, group: str) -> list[tuple[np.ndarray, np.ndarray]]:
    pairs = []
    for path in sorted((data / kind / "derived_labels" / group).glob("*.tif")):
        image = imread(data / kind / group / path.stem / "images" / f"{path.stem}.png")[..., :3]
        pairs.append((image[..., 0] if "fluorescence" in kind else image, imread(path).astype(np.int32)))
    return pairs


def scribbled(objects: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    marks = np.zeros(objects.shape, np.uint8)
    for value, mask in ((1, objects == 0), (2, objects > 0)):
        at = rng.permutation(np.flatnonzero(mask))[:1500]
        marks.flat[at] = value
    return marks


def parting(data: Path) -> None:
    for name, (kind, group, train) in SETS.items():
        pairs, rng = pairs_of(data, kind, group), np.random.default_rng(0)
        maps = [nd.extract(image, backbone="filter-bank") for image, _ in pairs]
        marks = [scribbled(objects, rng) for _, objects in pairs[:train]]
        probe = nd.Probe(head="kernel").fit(maps[:train], marks)
        tested = pairs[train:]
        sources = {
            "labels": [(probe.predict(features) == 2).astype(np.uint8) for features in maps[train:]],
            "probability": [probe.predict_proba(features)[:, 1] for features in maps[train:]],
        }
        print(f"\n{name}: {len(tested)} images, {sum(objects.max() for _, objects in tested)} objects")
        for way, (source, options) in WAYS.items():
            matched, false, missed = (np.zeros(9, int) for _ in range(3))
            for pixels, (_, reference) in zip(sources[source], tested, strict=True):
                made = nd.objects_from_labels(pixels, min_size=20, **options)
                score = nd.evaluate.object_scores(reference, made.labels[0]).total
                matched, false, missed = matched + score.matched, false + score.false, missed + score.missed
            precision = matched / (matched + false + missed)
            f1 = 2 * matched / (2 * matched + false + missed)
            print(f"{way:40s} F1@0.5 {f1[0]:.3f}  AP@0.5 {precision[0]:.3f}  mean AP {precision.mean():.3f}", flush=True)


def brain(data: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    archive = np.load(data / "mri" / "voxelmorph_t1_aseg" / "test_scan.npz")
    volume, ids = archive["vol"].astype(np.float32)[..., ::4], archive["seg"].astype(int)[..., ::4]
    image, ids = np.moveaxis(volume, -1, 0), np.moveaxis(ids, -1, 0)
    classes = np.zeros(ids.shape, np.uint8)
    for value, members in enumerate(STRUCTURES.values(), start=1):
        classes[np.isin(ids, members)] = value
    objects = nd.objects_from_labels(classes, min_size=10, connectivity="corners")
    return image, objects.labels, objects.classes


def classes(data: Path) -> None:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import balanced_accuracy_score

    image, objects, truth = brain(data)
    print(f"{len(truth)} objects; of each class {np.bincount(truth)[1:].tolist()}")
    table = nd.measure_objects(objects, image)
    names = ("pixels", "major_axis", "minor_axis", "eccentricity", "intensity_mean", "intensity_std")
    measures = np.stack([np.asarray(table[name], float) for name in names], axis=1)
    pooled = {f"stride {s}": nd.pool_objects(nd.extract(image, backbone="filter-bank", stride=s), objects) for s in (2, 4)}
    for each in EXAMPLES:
        scores: dict[str, list[float]] = {}
        for draw in range(DRAWS):
            order = np.random.default_rng(draw).permutation(len(truth))
            shown = np.concatenate([order[truth[order] == value][:each] for value in range(1, len(STRUCTURES) + 1)])
            rest = np.setdiff1d(order, shown)
            examples = {int(at) + 1: int(truth[at]) for at in shown}
            for name, features in pooled.items():
                for head, strength in (("prototypes", 1.0), ("logistic", 0.1), ("logistic", 1.0), ("logistic", 10.0)):
                    taught = nd.ObjectClassifier(head=head, C=strength).fit(features, examples)
                    found = taught.predict(features).classes
                    key = f"{head}{f' C={strength:g}' if head == 'logistic' else ''}, {name}"
                    scores.setdefault(key, []).append(balanced_accuracy_score(truth[rest], found[rest]))
            forest = RandomForestClassifier(200, class_weight="balanced", random_state=0).fit(measures[shown], truth[shown])
            scores.setdefault("forest on the table", []).append(
                balanced_accuracy_score(truth[rest], forest.predict(measures[rest]))
            )
        for name, values in scores.items():
            print(f"{each:3d} a class  {name:28s} {np.mean(values):.3f} +- {np.std(values):.3f}", flush=True)


def clicks() -> None:
    from napari_dinov3.objects.pooling import PooledObjects

    rng = np.random.default_rng(0)
    for count, width in ((1_000, 1152), (10_000, 96), (100_000, 96), (100_000, 1152)):
        truth = rng.integers(1, 4, count)
        features = rng.normal(size=(count, width)).astype(np.float32) + truth[:, None]
        pooled = PooledObjects.of(np.arange(1, count + 1), features, {"dim": width // 3})
        for each in (1, 10):
            examples = {int(at) + 1: value for value in (1, 2, 3) for at in np.flatnonzero(truth == value)[:each]}
            times = []
            for _ in range(5):
                start = time.perf_counter()
                nd.ObjectClassifier().fit(pooled, examples).predict(pooled).with_examples(examples)
                times.append(time.perf_counter() - start)
            print(f"{count:7,} objects, {width:4d} numbers each, {each:2d} examples a class: {np.median(times) * 1e3:.0f} ms")


def lattice() -> None:
    """100,000 objects in one plane: what comes before the first click."""
    cells = np.arange(1, 100_001).reshape(250, 400).repeat(6, 0).repeat(6, 1)
    cells[::6] = cells[:, ::6] = 0
    image = np.random.default_rng(0).random(cells.shape, dtype=np.float32)
    features = nd.extract(image, backbone="filter-bank")
    jobs = {
        "measured": lambda: nd.measure_objects(cells, image),
        "pooled": lambda: nd.pool_objects(features, cells),
        "made by connection": lambda: nd.objects_from_labels((cells > 0).astype(np.uint8)),
        "made by watershed": lambda: nd.objects_from_labels((cells > 0).astype(np.uint8), method="watershed"),
    }
    for name, job in jobs.items():
        start = time.perf_counter()
        job()
        print(
            f"100,000 objects in {cells.shape[0]} x {cells.shape[1]} pixels {name}: {time.perf_counter() - start:.1f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("parting", "classes", "clicks"))
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    options = parser.parse_args()
    if options.what == "clicks":
        clicks()
        lattice()
    else:
        {"parting": parting, "classes": classes}[options.what](options.data)


if __name__ == "__main__":
    main()
