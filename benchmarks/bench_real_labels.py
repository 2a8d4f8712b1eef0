"""Probes on the filter bank against classifiers on full-resolution features, on real images with reference labels.

    python benchmarks/bench_real_labels.py [--data FOLDER] [--table NAME] [--columns NAME ...] [--sets NAME ...] [--seeds N]

All columns get the same scribbles: `even`, 3,000 labelled pixels a plane shared out evenly between the classes; `strokes`, eight
strokes of up to 20 pixels a class and plane. F1 of the foreground; the mean over classes where there are more than two.
Tables: `peers`, other programs' ways beside the probes; `heads`, the heads of a probe and their options; `extras`, what may
follow the scores, and a second backbone. Forest: 100 trees on `skimage.feature.multiscale_basic_features`, as
`skimage.future.TrainableSegmenter`. `convpaint`: the Gaussian features and CatBoost of napari-convpaint; left out where it is
not installed, as is the decoder without torch.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from real_labels import PAINTS, SETS, LabelledSet, Paint
from skimage.feature import multiscale_basic_features
from sklearn.ensemble import RandomForestClassifier

import napari_dinov3 as nd

Found = list[np.ndarray]


class Case:
    """A set with its features, computed when first asked for, and the scribbles of a seed."""

    def __init__(self, labelled: LabelledSet) -> None:
        self.set = labelled
        self.truth = [labels for _, labels in labelled.test]
        self._maps: dict[Any, Any] = {}
        self._probes: dict[Any, nd.Probe] = {}

    def paint(self, paint: Paint, seed: int) -> Case:
        self.seed = seed
        self.painted = [paint(truth, np.random.default_rng([seed, plane])) for plane, (_, truth) in enumerate(self.set.train)]
        self._probes.clear()
        return self

    @cached_property
    def full(self) -> list[Found]:
        axis = -1 if self.set.train[0][0].ndim == 3 else None
        parts = (self.set.train, self.set.test)
        return [[multiscale_basic_features(image, channel_axis=axis) for image, _ in part] for part in parts]

    def maps(self, backbone: str, stride: int | None) -> list[list[nd.FeatureMap]]:
        if (backbone, stride) not in self._maps:
            self._maps[backbone, stride] = [
                [nd.extract(image, backbone=backbone, stride=stride) for image, _ in part]
                for part in (self.set.train, self.set.test)
            ]
        return self._maps[backbone, stride]

    @cached_property
    def stacks(self) -> list[nd.FeatureMap]:
        return [nd.extract(stack, backbone="filter-bank") for stack in self.set.stacks]

    def probe(self, backbone: str, stride: int | None, **options: Any) -> nd.Probe:
        key = (backbone, stride, *sorted(options.items()))
        if key not in self._probes:
            probe = nd.Probe(rng=self.seed, **options)
            self._probes[key] = probe.fit(self.maps(backbone, stride)[0], [labels[None] for labels in self.painted])
        return self._probes[key]


def probe(backbone: str = "filter-bank", stride: int | None = None, **options: Any) -> Callable[[Case], Found]:
    def run(case: Case) -> Found:
        fitted = case.probe(backbone, stride, **options)
        return [fitted.predict_plane(features, 0).astype(int) - 1 for features in case.maps(backbone, stride)[1]]

    return run


def after_scores(**options: Any) -> Callable[[Case], Found]:
    """Apply the kernel probe with options that do not change what it learns."""

    def run(case: Case) -> Found:
        fitted = nd.Probe(rng=case.seed, **options).restored(case.probe("filter-bank", None).fitted)
        planes = zip(case.maps("filter-bank", None)[1], case.set.test, strict=True)
        return [fitted.predict_plane(features, 0, image=image).astype(int) - 1 for features, (image, _) in planes]

    return run


def along_z(case: Case) -> Found:
    fitted = nd.Probe(rng=case.seed, smooth_z=0.7).restored(case.probe("filter-bank", None).fitted)
    return [fitted.predict_plane(features, 1).astype(int) - 1 for features in case.stacks]


def on_full_resolution(new_model: Callable[[], Any]) -> Callable[[Case], Found]:
    def run(case: Case) -> Found:
        pairs = list(zip(case.full[0], case.painted, strict=True))
        samples, classes = (np.concatenate(parts) for parts in zip(*((f[p > 0], p[p > 0]) for f, p in pairs), strict=True))
        model = new_model().fit(samples, classes)
        return [model.predict(f.reshape(-1, f.shape[-1])).reshape(f.shape[:2]).astype(int) - 1 for f in case.full[1]]

    return run


def forest() -> RandomForestClassifier:
    return RandomForestClassifier(100, n_jobs=-1, random_state=0)


def convpaint(case: Case) -> Found:
    from napari_convpaint.convpaint_model import ConvpaintModel

    rgb = case.set.train[0][0].ndim == 3
    model = ConvpaintModel("gaussian")
    model.set_params(channel_mode="rgb" if rgb else "single")
    parts = (case.set.train, case.set.test)
    train, test = ([np.moveaxis(i, -1, 0) if rgb else np.asarray(i, np.float32) for i, _ in part] for part in parts)
    with contextlib.redirect_stdout(io.StringIO()):
        model.train(train, case.painted)
    return [model.segment(image).astype(int) - 1 for image in test]


JOINT = "random-projection-cnx-tiny+filter-bank"
TABLES: dict[str, dict[str, Callable[[Case], Found]]] = {
    "peers": {
        "forest": on_full_resolution(forest),
        "convpaint": convpaint,
        "kernel": probe(),
        "kernel, prior as painted": probe(prior="scribbles"),
        "linear": probe(head="linear"),
    },
    "heads": {
        "kernel": probe(),
        "kernel, stride 1": probe(stride=1),
        "kernel, C=cv": probe(C="cv"),
        "linear": probe(head="linear"),
        "linear, C=cv": probe(head="linear", C="cv"),
        "boosting": probe(head="boosting"),
        "forest head": probe(head="forest"),
        "prototypes": probe(head="prototypes"),
        "decoder": probe(head="decoder", epochs=25),
    },
    "extras": {
        "kernel": probe(),
        "refine=2": after_scores(refine=2.0),
        "refine=4": after_scores(refine=4.0),
        "refine=8": after_scores(refine=8.0),
        "median=3": after_scores(median=3),
        "median=5": after_scores(median=5),
        "z": along_z,
        "with random projection": probe(JOINT),
    },
}
COLUMNS = {name: column for table in TABLES.values() for name, column in table.items()}
NEEDS = {"convpaint": "napari_convpaint", "decoder": "torch"}


def mean_f1(found: Found, truth: Found) -> float:
    guess, true = (np.concatenate([part.ravel() for part in parts]).astype(int) for parts in (found, truth))
    values = np.unique(true) if true.max() > 1 else [1]
    return float(np.mean([2 * ((guess == v) & (true == v)).sum() / ((guess == v).sum() + (true == v).sum()) for v in values]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--table", default="peers", choices=list(TABLES))
    parser.add_argument("--columns", nargs="*", choices=list(COLUMNS), help="some columns only, of whichever table")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    names = options.columns or list(TABLES[options.table])
    names = [name for name in names if name not in NEEDS or importlib.util.find_spec(NEEDS[name])]
    print("| set | scribbles | " + " | ".join(names) + " |\n|---|---|" + "---|" * len(names))
    means, spreads = [], []
    for name in options.sets:
        case = Case(SETS[name](options.data))
        for kind, paint in PAINTS.items():
            scores = np.full((options.seeds, len(names)), np.nan)
            for seed in range(options.seeds):
                case.paint(paint, seed)
                for at, column in enumerate(names):
                    if column != "z" or case.set.stacks:
                        scores[seed, at] = mean_f1(COLUMNS[column](case), case.truth)
            means.append(scores.mean(axis=0))
            spreads.append(scores.std(axis=0))
            print(f"| {name} | {kind} | {_row(means[-1])} |", flush=True)
    print(f"| mean | | {_row(np.nanmean(means, axis=0))} |")
    print(f"Standard deviation between the {options.seeds} seeds, mean over the rows: {_row(np.nanmean(spreads, axis=0))}")


def _row(values: np.ndarray) -> str:
    return " | ".join("" if np.isnan(value) else f"{value:.3f}" for value in values)


if __name__ == "__main__":
    main()
