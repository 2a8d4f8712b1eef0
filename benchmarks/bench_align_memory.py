"""Peak memory of aligning a stack that is never in memory: match, solve, resample and write it, plane by plane.

    python benchmarks/bench_align_memory.py [--planes 1000] [--size 1024] [--model translation] [--reach 1 2 3]

The stack is a dask array (16 bit) whose planes are made when they are read: one synthetic image, moved by a known random walk,
with noise of its own. Prints the peak resident memory of the whole process beside the size of the stack, how far the poses are
off, and the time.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import dask.array
import numpy as np
from tqdm import tqdm

import napari_dinov3 as nd
from napari_dinov3.align.drift import centred
from napari_dinov3.align.stack import align_stack_steps
from napari_dinov3.align.transforms import translation_matrix
from napari_dinov3.align.warp import warp

MARGIN = 40


def lazy_stack(planes: int, size: int) -> tuple[dask.array.Array, np.ndarray]:
    """Make the stack and the place of each plane, ``(planes, 2)`` pixels."""
    content = nd.synthetic.em(planes=1, size=size + 2 * MARGIN, rng=0).images[0].astype(np.float32)
    walk = np.cumsum(np.random.default_rng(1).uniform(-4, 4, (planes, 2)), axis=0)
    places = MARGIN - np.abs((walk + MARGIN) % (4 * MARGIN) - 2 * MARGIN)  # turned back at the border
    places *= (MARGIN - 2) / MARGIN

    def plane(block_info: dict | None = None) -> np.ndarray:
        at = block_info[None]["chunk-location"][0]
        moved = warp(content, translation_matrix(*(MARGIN + places[at])), shape=(size, size))
        noisy = moved + np.random.default_rng(at).normal(0, 4, moved.shape)
        return np.clip(noisy * 100, 0, 65535).astype(np.uint16)[None]

    chunks = ((1,) * planes, (size,), (size,))
    return dask.array.map_blocks(plane, chunks=chunks, dtype=np.uint16, meta=np.empty((0, 0, 0), np.uint16)), places


def peak_gb() -> float:
    """Peak resident memory of this process in gigabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planes", type=int, default=1000)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--model", default="translation")
    parser.add_argument("--reach", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--backbone", default=None, help="registry name; pixels alone by default")
    chosen = parser.parse_args()
    stack, places = lazy_stack(chosen.planes, chosen.size)
    bar = tqdm(unit="link", mininterval=5)

    def show(event: nd.Progress) -> None:
        bar.total = event.total
        bar.update(event.done - bar.n)

    start = time.perf_counter()
    options = {"model": chosen.model, "reach": chosen.reach, "backbone": chosen.backbone}
    path = nd.collect(align_stack_steps(stack, **options), show)
    bar.close()
    spent, before = time.perf_counter() - start, peak_gb()
    truth = np.stack([translation_matrix(*(place - places[0])) for place in -places])
    moved = [centred(poses, (chosen.size,) * 2, model="translation")[:, :2, 2] for poses in (path.transforms, truth)]
    off = min(np.linalg.norm(moved[0] - sign * moved[1], axis=1).max() for sign in (1, -1))
    print(f"stack {stack.shape} uint16, {stack.nbytes / 1e9:.2f} GB; {len(path.links)} links, bad sections: {len(path.bad)}")
    print(f"align: {spent:.0f} s, worst section {off:.3f} px off, peak {before:.2f} GB")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        nd.write(Path(folder) / "aligned.ome.tif", path.apply(stack))
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    print(f"resample and write {size / 1e9:.2f} GB: {time.perf_counter() - start:.0f} s, peak {peak_gb():.2f} GB")


if __name__ == "__main__":
    main()
