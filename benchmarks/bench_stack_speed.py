"""Time of a stack: affine, three links a section, beside itk-elastix with one link a section.

One command, on as many cores as are given to the process::

    OMP_NUM_THREADS=2 python benchmarks/bench_stack_speed.py --sections 20

Sections are planes of a synthetic stack of 1024 x 1024, each moved and turned a little. Ours compares every section with those
at distances 1, 2 and 3 and solves for all poses; itk-elastix (its default rigid and affine parameter maps) registers each
section to the one before. Prints wall and processor time of either, and what that makes for 100 sections.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np

import napari_dinov3 as nd
from napari_dinov3.align.links import planned_links
from napari_dinov3.align.transforms import rotation_matrix, translation_matrix
from napari_dinov3.align.warp import warp


def sections(count: int, side: int) -> np.ndarray:
    """Draw a stack, (count, side, side) float32."""
    rng = np.random.default_rng(0)
    centre = ((side - 1) / 2,) * 2
    planes = nd.synthetic.em(planes=count, size=side, rng=0).images.astype(np.float32)
    moves = [translation_matrix(*rng.uniform(-10, 10, 2)) @ rotation_matrix(rng.uniform(-3, 3), centre) for _ in planes]
    return np.stack([warp(plane, move, fill=90) for plane, move in zip(planes, moves, strict=True)])


def ours(images: np.ndarray) -> int:
    path = nd.align_stack(images, model="affine", backbone=None)
    return len(path.links)


def elastix(images: np.ndarray) -> int:
    import itk

    parameters = itk.ParameterObject.New()
    for kind in ("rigid", "affine"):
        parameters.AddParameterMap(parameters.GetDefaultParameterMap(kind, 4))
    for a, b in pairwise(images):
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # elastix leaves files where it runs
            fixed, moving = itk.image_from_array(a), itk.image_from_array(b)
            itk.elastix_registration_method(fixed, moving, parameter_object=parameters, log_to_console=False)
    return len(images) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sections", type=int, default=20)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--tools", nargs="+", choices=("ours", "elastix"), default=["ours", "elastix"])
    options = parser.parse_args()
    images = sections(options.sections, options.side)
    tools: dict[str, Callable[[np.ndarray], int]] = {"ours": ours, "elastix": elastix}
    print("| tool | links | wall s | processor s | 100 sections: links | wall s | processor s |\n|---|---|---|---|---|---|---|")
    for name in options.tools:
        if name == "elastix" and not importlib.util.find_spec("itk"):
            print("itk-elastix is not installed")
            continue
        wall, processor = time.perf_counter(), time.process_time()
        links = tools[name](images)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        whole = len(planned_links(100)) if name == "ours" else 99
        scale = whole / links
        print(
            f"| {name} | {links} | {wall:.0f} | {processor:.0f} | {whole} | {wall * scale:.0f} | {processor * scale:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
