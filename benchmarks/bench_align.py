"""Alignment error on known transforms, beside other tools where they are installed.

One command::

    python benchmarks/bench_align.py                 # all cases and levels
    python benchmarks/bench_align.py --pairs 3 --cases shift affine --peers none
    python benchmarks/bench_align.py --data FOLDER ... --each   # further base images, and figures of each

Protocol. A public image (scikit-image's immunohistochemistry, retina and cell, stretched to 0..1) is warped once with a quintic
spline and cropped to 384 x 384 afterwards, so that no border betrays the answer. Level 0 is clean; level 1 has gamma 0.7..1.4,
linear shading of up to 15 % and noise of 0.05; level 2 also a blur of 1 px and noise of 0.12. The error is measured on a 24-px
grid where both images have content: median and 90th percentile over all points of all pairs, in pixels.

The column "bound" is the median over the same pairs of the error that noise alone allows (Cramer-Rao, median over the grid): no
unbiased tool can do better; see `align_bound.py`. It is empty for elastic deformations.

Peers (taken when they can be imported): scikit-image's phase_cross_correlation, pystackreg, OpenCV's ECC and SIFT + RANSAC,
itk-elastix.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from align_bases import Base, chosen
from align_bound import typical_error
from scipy import ndimage

import napari_dinov3 as nd
from napari_dinov3.align.transforms import point_grid, rotation_matrix, translation_matrix
from napari_dinov3.geometry import transform_points

SIDE, MARGIN = 384, 64
CENTRE = ((SIDE - 1) / 2,) * 2
POINTS = point_grid((SIDE, SIDE), 24)
NOISE = (0.0, 0.05, 0.12)
Mapping = Callable[[np.ndarray], np.ndarray]


class Pair(NamedTuple):
    fixed: np.ndarray
    moving: np.ndarray
    truth: np.ndarray  # where POINTS lie in the moving image
    counted: np.ndarray  # points with content in both
    bound: float  # median error that noise allows, NaN where it is not known
    base: str


def affine_of(case: str, rng: np.random.Generator) -> np.ndarray:
    """Draw a transform, fixed to moving, in the cropped frame."""
    shift = translation_matrix(*rng.uniform(-40, 40, 2))
    if case in ("shift", "inverted"):
        return shift
    near = translation_matrix(*rng.uniform(-15, 15, 2))
    if case == "rigid":
        return near @ rotation_matrix(rng.uniform(-10, 10), CENTRE)
    if case == "rotation":
        return near @ rotation_matrix(rng.uniform(-180, 180), CENTRE)
    linear = np.eye(3)
    linear[:2, :2] += rng.uniform(-0.05, 0.05, (2, 2))
    to_centre = translation_matrix(*CENTRE)
    return near @ rotation_matrix(rng.uniform(-5, 5), CENTRE) @ to_centre @ linear @ np.linalg.inv(to_centre)


def degraded(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Change the tones; without noise."""
    if level:
        y, x = (np.indices(image.shape) / image.shape[0]) - 0.5
        image = np.clip(image, 0, 1) ** rng.uniform(0.7, 1.4) * (1 + rng.uniform(-0.3, 0.3) * y + rng.uniform(-0.3, 0.3) * x)
    if level == 2:
        image = ndimage.gaussian_filter(image, 1.0)
    return image


def draw(case: str, level: int, base: Base, rng: np.random.Generator) -> Pair:
    size = base.image.shape
    grid = np.indices(size).reshape(2, -1).T.astype(float)
    crop = (slice(MARGIN, MARGIN + SIDE),) * 2
    matrix = None
    if case == "elastic":
        field = np.stack([ndimage.gaussian_filter(rng.normal(size=size), 40, mode="reflect") for _ in range(2)])
        field *= 8 / np.abs(field).max()
        fixed = ndimage.map_coordinates(base.image, (grid + field.reshape(2, -1).T).T, order=5, mode="mirror").reshape(size)
        moving = base.image
        truth = POINTS + np.stack([ndimage.map_coordinates(f, (POINTS + MARGIN).T, order=3) for f in field], 1)
    else:
        matrix = affine_of(case, rng)
        whole = translation_matrix(MARGIN, MARGIN) @ matrix @ translation_matrix(-MARGIN, -MARGIN)
        back = np.linalg.inv(whole)
        fixed = base.image
        moving = ndimage.affine_transform(base.image, back[:2, :2], back[:2, 2], order=5, mode="mirror")
        truth = transform_points(matrix, POINTS)
    clean = [degraded(image[crop], level, rng) for image in (fixed, moving)]
    counted = np.all((truth >= 0) & (truth <= SIDE - 1), axis=1)
    bound = np.nan
    if matrix is not None:
        bound = typical_error(*clean, matrix, NOISE[level], model=model_of(case), points=POINTS[counted])
    fixed, moving = ((image + rng.normal(0, NOISE[level], image.shape)).astype(np.float32) for image in clean)
    if case == "inverted":
        moving = 1 - moving
    return Pair(fixed, moving, truth, counted, bound, base.name)


def model_of(case: str) -> str:
    return {"shift": "translation", "inverted": "translation", "rotation": "rigid"}.get(case, case)


def ours(model: str, backbone: str | None) -> Callable[[Pair], np.ndarray]:
    def run(pair: Pair) -> np.ndarray:
        found = nd.align_pair(pair.fixed, pair.moving, model=model, backbone=backbone)
        return np.full_like(POINTS, np.nan) if found.refused else found.map_points(POINTS)

    return run


def phase_correlation(pair: Pair) -> np.ndarray:
    from skimage.registration import phase_cross_correlation

    return POINTS - phase_cross_correlation(pair.fixed, pair.moving, upsample_factor=100)[0]


def stackreg(model: str) -> Callable[[Pair], np.ndarray]:
    def run(pair: Pair) -> np.ndarray:
        from pystackreg import StackReg

        kind = {"translation": StackReg.TRANSLATION, "rigid": StackReg.RIGID_BODY}.get(model, StackReg.AFFINE)
        matrix = StackReg(kind).register(pair.fixed, pair.moving)
        return (np.c_[POINTS[:, ::-1], np.ones(len(POINTS))] @ matrix.T)[:, 1::-1]

    return run


def eight_bit(image: np.ndarray) -> np.ndarray:
    return np.clip(image * 255, 0, 255).astype(np.uint8)


def ecc(model: str) -> Callable[[Pair], np.ndarray]:
    def run(pair: Pair) -> np.ndarray:
        import cv2

        kind = {"translation": cv2.MOTION_TRANSLATION, "rigid": cv2.MOTION_EUCLIDEAN}.get(model, cv2.MOTION_AFFINE)
        stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-7)
        start = np.eye(2, 3, dtype=np.float32)
        matrix = cv2.findTransformECC(pair.fixed, pair.moving, start, kind, stop, None, 5)[1]
        return (np.c_[POINTS[:, ::-1], np.ones(len(POINTS))] @ matrix.T)[:, ::-1]

    return run


def sift(pair: Pair) -> np.ndarray:
    import cv2

    detector = cv2.SIFT_create()
    (keys_a, a), (keys_b, b) = (detector.detectAndCompute(eight_bit(image), None) for image in (pair.fixed, pair.moving))
    matches = [m for m, n in cv2.BFMatcher().knnMatch(a, b, k=2) if m.distance < 0.8 * n.distance]
    here = np.array([keys_a[m.queryIdx].pt for m in matches], np.float32)
    there = np.array([keys_b[m.trainIdx].pt for m in matches], np.float32)
    matrix, _ = cv2.estimateAffine2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=3)
    return (np.c_[POINTS[:, ::-1], np.ones(len(POINTS))] @ matrix.T)[:, ::-1]


def elastix(model: str) -> Callable[[Pair], np.ndarray]:
    def run(pair: Pair) -> np.ndarray:
        import itk

        parameters = itk.ParameterObject.New()
        kinds = {
            "translation": ["translation"],
            "rigid": ["rigid"],
            "affine": ["rigid", "affine"],
            "elastic": ["affine", "bspline"],
        }[model]
        for kind in kinds:
            parameters.AddParameterMap(parameters.GetDefaultParameterMap(kind, 4, 32.0))
        fixed, moving = (itk.image_from_array(np.ascontiguousarray(i, np.float32)) for i in (pair.fixed, pair.moving))
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # elastix leaves files where it runs
            _, result = itk.elastix_registration_method(fixed, moving, parameter_object=parameters, log_to_console=False)
            field = np.asarray(itk.array_from_image(itk.transformix_deformation_field(moving, result)))
        at = tuple(POINTS.round().astype(int).T)
        return POINTS.round() + field[at][:, ::-1] + (POINTS - POINTS.round())

    return run


def tools(case: str, peers: str, backbones: list[str]) -> Iterator[tuple[str, Callable[[Pair], np.ndarray]]]:
    model = model_of(case)
    for backbone in backbones:
        yield f"napari-dinov3 ({backbone})", ours(model, None if backbone == "pixels" else backbone)
    if peers == "none":
        return
    if model == "translation":
        yield "phase_cross_correlation", phase_correlation
    if importlib.util.find_spec("pystackreg"):
        yield "pystackreg", stackreg(model)
    if importlib.util.find_spec("cv2"):
        if model != "elastic":
            yield "ECC", ecc(model)
        yield "SIFT + RANSAC", sift
    if importlib.util.find_spec("itk"):
        yield "itk-elastix", elastix(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=["shift", "rigid", "affine", "rotation", "inverted", "elastic"])
    parser.add_argument("--levels", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peers", choices=["all", "none"], default="all")
    parser.add_argument("--backbones", nargs="+", default=["filter-bank"], help="registry names, or 'pixels'")
    parser.add_argument("--data", nargs="+", type=Path, default=[], help="folders or files of further base images")
    parser.add_argument("--each", action="store_true", help="also print the figures of every base image")
    options = parser.parse_args()
    bases = chosen(options.data)
    print("<!-- bases: " + ", ".join(base.name for base in bases) + " -->")
    print("| case | level | tool | median px | p90 px | bound px | pairs > 1 px | s a pair |\n|---|---|---|---|---|---|---|---|")
    for case in options.cases:
        for level in options.levels:
            rng = np.random.default_rng((options.seed, level, len(case)))
            pairs = [draw(case, level, bases[i % len(bases)], rng) for i in range(options.pairs)]
            for name, run in tools(case, options.peers, options.backbones):
                report(case, level, name, run, pairs, each=options.each)


class Outcome(NamedTuple):
    base: str
    errors: np.ndarray  # at every counted point, infinite where nothing was found
    bound: float
    seconds: float


def report(case: str, level: int, name: str, run: Callable[[Pair], np.ndarray], pairs: list[Pair], *, each: bool) -> None:
    outcomes = []
    for pair in pairs:
        start = time.perf_counter()
        try:
            found = run(pair)
        except Exception as problem:  # a peer that gives up counts as a failure, whatever it raises
            print(f"<!-- {name}: {type(problem).__name__}: {str(problem)[:80]} -->")
            found = np.full_like(POINTS, np.nan)
        seconds = time.perf_counter() - start
        length = np.nan_to_num(np.linalg.norm(found - pair.truth, axis=1)[pair.counted], nan=np.inf)
        outcomes.append(Outcome(pair.base, length, pair.bound, seconds))
    row(case, level, name, outcomes)
    for base in dict.fromkeys(o.base for o in outcomes) if each else ():
        row(case, level, f"{name}: {base}", [o for o in outcomes if o.base == base])


def row(case: str, level: int, name: str, outcomes: list[Outcome]) -> None:
    median, high = np.quantile(np.concatenate([o.errors for o in outcomes]), (0.5, 0.9), method="lower")
    bound = np.median([o.bound for o in outcomes])
    failed = sum(bool(np.median(o.errors) > 1) for o in outcomes)
    seconds = np.mean([o.seconds for o in outcomes])
    print(
        f"| {case} | {level} | {name} | {median:.4f} | {high:.4f} | {'' if np.isnan(bound) else f'{bound:.4f}'} "
        f"| {failed} of {len(outcomes)} | {seconds:.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
