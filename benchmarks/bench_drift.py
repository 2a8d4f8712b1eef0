"""A long stack with bad sections: how far is the last section off the first, and are the bad ones named?

One command::

    python benchmarks/bench_drift.py                              # 100 sections, three bad, three seeds
    python benchmarks/bench_drift.py --case covered --peers all   # 60 sections, one missing, one 60 % covered

Sections are planes of a synthetic stack (`napari_dinov3.synthetic.em`: bodies that come and go, texture that keeps 0.8 of itself
from plane to plane), each turned by up to 5 degrees and moved by up to 10 px, warped once with a quintic spline, cropped to
256 x 256 afterwards, and given its own gamma (0.8 to 1.25), shading and noise. Errors are those of a 24-px grid seen from the
first section.

Peers (taken when they can be imported) chain neighbours, as they are used: pystackreg and itk-elastix.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import ndimage

import napari_dinov3 as nd
from napari_dinov3.align.transforms import point_grid, rotation_matrix, translation_matrix
from napari_dinov3.geometry import transform_points

SIDE, MARGIN = 256, 48
CENTRE = ((SIDE - 1) / 2,) * 2
POINTS = point_grid((SIDE, SIDE), 24)


class Stack(NamedTuple):
    images: np.ndarray  # (planes, SIDE, SIDE) float32
    truth: np.ndarray  # (planes, 3, 3) common frame to section
    bad: tuple[int, ...]


def drifting(planes: int, rng: np.random.Generator) -> Stack:
    """Turn and move the planes of a stack whose content changes by and by."""
    content = nd.synthetic.em(planes=planes, size=SIDE + 2 * MARGIN, rng=int(rng.integers(2**31))).images / np.float32(255)
    truth = [translation_matrix(*rng.uniform(-10, 10, 2)) @ rotation_matrix(rng.uniform(-5, 5), CENTRE) for _ in range(planes)]
    margin = translation_matrix(MARGIN, MARGIN)
    y, x = np.indices((SIDE, SIDE)) / SIDE - 0.5
    images = []
    for plane, pose in zip(content, truth, strict=True):
        back = margin @ np.linalg.inv(pose)
        moved = ndimage.affine_transform(plane, back[:2, :2], back[:2, 2], output_shape=(SIDE, SIDE), order=5, mode="mirror")
        toned = np.clip(moved, 0, 1) ** rng.uniform(0.8, 1.25) * (1 + rng.uniform(-0.2, 0.2) * y + rng.uniform(-0.2, 0.2) * x)
        images.append(toned + rng.normal(0, 0.02, toned.shape))
    return Stack(np.stack(images).astype(np.float32), np.stack(truth), ())


def three_bad(rng: np.random.Generator) -> Stack:
    """Make 100 sections, of which one is blank, one noise and one shows something else."""
    stack = drifting(100, rng)
    bad = tuple(sorted(int(z) for z in rng.choice(np.arange(5, 95), 3, replace=False)))
    blank, noise, other = (stack.images[z] for z in rng.permutation(bad))
    blank[:] = blank.mean()
    noise[:] = rng.normal(0.4, 0.1, noise.shape)
    other[:] = drifting(1, rng).images[0]
    return stack._replace(bad=bad)


def covered(rng: np.random.Generator) -> Stack:
    """Make 60 sections, of which one is missing and one is covered to 60 %."""
    stack = drifting(60, rng)
    missing, dirty = (int(z) for z in rng.choice(np.arange(5, 55), 2, replace=False))
    stack.images[missing] = 0
    spots = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 24)
    stack.images[dirty][spots < np.quantile(spots, 0.6)] = 0.05
    return stack._replace(bad=(missing, dirty))


def ours(backbone: str | None) -> Callable[[np.ndarray], tuple[np.ndarray, tuple[int, ...]]]:
    def run(images: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
        path = nd.align_stack(images, model="rigid", backbone=backbone)
        return path.transforms, path.bad

    return run


def stackreg(images: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    from pystackreg import StackReg

    swap = np.eye(3)[[1, 0, 2]]
    found = StackReg(StackReg.RIGID_BODY).register_stack(images, reference="previous")
    return swap @ found @ swap, ()


def elastix(images: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    import itk

    parameters = itk.ParameterObject.New()
    parameters.AddParameterMap(parameters.GetDefaultParameterMap("rigid", 4))
    poses = [np.eye(3)]
    for a, b in pairwise(images):
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # elastix leaves files where it runs
            fixed, moving = itk.image_from_array(a), itk.image_from_array(b)
            _, result = itk.elastix_registration_method(fixed, moving, parameter_object=parameters, log_to_console=False)
        angle, x, y = (float(v) for v in result.GetParameterMap(0)["TransformParameters"])
        centre = [float(v) for v in result.GetParameterMap(0)["CenterOfRotationPoint"]][::-1]
        turn = rotation_matrix(-np.rad2deg(angle), centre)
        poses.append(translation_matrix(y, x) @ turn @ poses[-1])
    return np.stack(poses), ()


def tools(peers: str, backbones: list[str]) -> Iterator[tuple[str, Callable[[np.ndarray], tuple[np.ndarray, tuple[int, ...]]]]]:
    for backbone in backbones:
        yield f"napari-dinov3 ({backbone})", ours(None if backbone == "pixels" else backbone)
    if peers == "all" and importlib.util.find_spec("pystackreg"):
        yield "pystackreg, neighbours in turn", stackreg
    if peers == "all" and importlib.util.find_spec("itk"):
        yield "itk-elastix, neighbours in turn", elastix


def from_first(poses: np.ndarray) -> np.ndarray:
    return poses @ np.linalg.inv(poses[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=["three-bad", "covered"], default="three-bad")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--backbones", nargs="+", default=["pixels"], help="registry names, or 'pixels'")
    parser.add_argument("--peers", choices=["all", "none"], default="none")
    options = parser.parse_args()
    print("| case | seed | tool | end drift px | worst good section px | bad | named | s |\n|---|---|---|---|---|---|---|---|")
    for seed in options.seeds:
        stack = (three_bad if options.case == "three-bad" else covered)(np.random.default_rng(seed))
        good = [z for z in range(len(stack.images)) if z not in stack.bad]
        for name, run in tools(options.peers, options.backbones):
            start = time.perf_counter()
            poses, named = run(stack.images)
            seconds = time.perf_counter() - start
            errors = [
                np.linalg.norm(transform_points(found, POINTS) - transform_points(true, POINTS), axis=1).mean()
                for found, true in zip(from_first(poses), from_first(stack.truth), strict=True)
            ]
            print(
                f"| {options.case} | {seed} | {name} | {errors[-1]:.3f} | {max(errors[z] for z in good):.3f} "
                f"| {stack.bad} | {named} | {seconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
