"""Landmark error between differently stained sections, beside SIFT + RANSAC and itk-elastix in the same run.

One command, on a folder of the ANHIR data set (https://anhir.grand-challenge.org; also in https://github.com/Borda/BIRL)::

    python benchmarks/bench_landmarks.py data-images/lesions_/scale-5pc data-images/rat-kidney_/scale-5pc

Each folder holds images with a ``.csv`` of landmarks (index, X, Y) beside each; every ordered pair of images in a folder is one
case. All tools get the same pixels; landmarks only measure. Errors are distances in pixels of the moving image; rTRE is the
median divided by the moving image's diagonal.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from skimage.color import rgb2gray
from skimage.io import imread

import napari_dinov3 as nd

MODELS = ("rigid", "affine", "elastic")
SUFFIXES = (".jpg", ".png", ".tif", ".tiff")
Tool = Callable[["Case"], np.ndarray]


class Case(NamedTuple):
    name: str
    fixed: np.ndarray
    moving: np.ndarray
    fixed_points: np.ndarray
    moving_points: np.ndarray


def landmarks(path: Path) -> np.ndarray:
    """Read (row, col) from a table of index, X, Y."""
    return np.loadtxt(path, delimiter=",", skiprows=1)[:, 2:0:-1]


def cases(folder: Path) -> Iterator[Case]:
    images = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES and p.with_suffix(".csv").exists())
    for a, b in permutations(images, 2):
        points = [landmarks(p.with_suffix(".csv")) for p in (a, b)]
        shared = min(map(len, points))
        yield Case(f"{a.stem} <- {b.stem}", imread(a), imread(b), points[0][:shared], points[1][:shared])


def ours(model: str, backbone: str | None) -> Tool:
    def run(case: Case) -> np.ndarray:
        return nd.align_pair(case.fixed, case.moving, model=model, backbone=backbone).map_points(case.fixed_points)

    return run


def sift(model: str) -> Tool:
    def run(case: Case) -> np.ndarray:
        from skimage.feature import SIFT, match_descriptors
        from skimage.measure import ransac
        from skimage.transform import AffineTransform, EuclideanTransform

        found = []
        for image in (case.fixed, case.moving):
            detector = SIFT()
            detector.detect_and_extract(rgb2gray(image))
            found.append(detector)
        pairs = match_descriptors(found[0].descriptors, found[1].descriptors, max_ratio=0.8, cross_check=True)
        here, there = found[0].keypoints[pairs[:, 0]], found[1].keypoints[pairs[:, 1]]
        kind = EuclideanTransform if model == "rigid" else AffineTransform
        fitted, _ = ransac((here, there), kind, min_samples=3, residual_threshold=5, max_trials=5000, rng=0)
        return np.asarray(fitted(case.fixed_points))

    return run


def elastix(model: str) -> Tool:
    def run(case: Case) -> np.ndarray:
        import itk

        parameters = itk.ParameterObject.New()
        for kind in {"rigid": ["rigid"], "affine": ["rigid", "affine"], "elastic": ["rigid", "affine", "bspline"]}[model]:
            parameters.AddParameterMap(parameters.GetDefaultParameterMap(kind, 4, 32.0))
        fixed, moving = (itk.image_from_array(rgb2gray(i).astype(np.float32)) for i in (case.fixed, case.moving))
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # elastix leaves files where it runs
            _, result = itk.elastix_registration_method(fixed, moving, parameter_object=parameters, log_to_console=False)
            field = np.asarray(itk.array_from_image(itk.transformix_deformation_field(fixed, result)))
        nearest = np.clip(case.fixed_points.round().astype(int), 0, np.array(field.shape[:2]) - 1)
        return case.fixed_points + field[nearest[:, 0], nearest[:, 1]][:, ::-1]

    return run


def tools(model: str, backbones: list[str], peers: str) -> Iterator[tuple[str, Tool]]:
    for backbone in backbones:
        yield f"napari-dinov3 ({backbone})", ours(model, None if backbone == "pixels" else backbone)
    if peers == "none":
        return
    if model != "elastic":
        yield "SIFT + RANSAC (scikit-image)", sift(model)
    if importlib.util.find_spec("itk"):
        yield "itk-elastix", elastix(model)


def report(case: Case, model: str, name: str, moved: np.ndarray, seconds: float) -> None:
    errors = np.linalg.norm(moved - case.moving_points, axis=1)
    median, high = np.quantile(errors, (0.5, 0.9))
    share = 100 * median / np.hypot(*case.moving.shape[:2])
    print(f"| {case.name} | {model} | {name} | {median:.2f} | {high:.2f} | {share:.2f} % | {seconds:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--backbones", nargs="+", default=["filter-bank"], help="registry names, or 'pixels'")
    parser.add_argument("--peers", choices=["all", "none"], default="all")
    options = parser.parse_args()
    print("| fixed <- moving | model | tool | median px | p90 px | rTRE | s |\n|---|---|---|---|---|---|---|")
    for case in (case for folder in options.folders for case in cases(folder)):
        report(case, "before", "", case.fixed_points, 0.0)
        for model in options.models:
            for name, run in tools(model, options.backbones, options.peers):
                start = time.perf_counter()
                try:
                    moved = run(case)
                except Exception as problem:  # a tool that gives up is a row of its own, whatever it raises
                    print(f"| {case.name} | {model} | {name} | {type(problem).__name__}: {str(problem)[:70]} | | | |", flush=True)
                    continue
                report(case, model, name, moved, time.perf_counter() - start)


if __name__ == "__main__":
    main()
