"""Peak memory of a stack that is never in memory: extract, train, label every plane, compare, all plane by plane.

    python benchmarks/bench_lazy_stack.py [--planes 2000] [--size 512] [--backbone filter-bank]

The stack is a dask array whose planes are made when they are read; it stands for a folder of slices on disk. Prints the peak
resident memory of the whole process beside the size of the stack and of its feature map, and the time a plane. Memory-mapped
and temporary files count as the operating system counts them.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import dask.array
import numpy as np
from tqdm import tqdm

import napari_dinov3 as nd


def lazy_stack(planes: int, size: int) -> dask.array.Array:
    """Make a stack of cells on noise; each plane is computed when it is read."""

    def plane(block_info: dict | None = None) -> np.ndarray:
        at = block_info[None]["chunk-location"][0]
        rng = np.random.default_rng(at)
        rows, cols = np.mgrid[:size, :size]
        image = rng.normal(90, 12, (size, size))
        for centre in np.random.default_rng(0).random((12, 2)) * size:
            image[(rows - centre[0]) ** 2 + (cols - centre[1] - at % 7) ** 2 < (size / 24) ** 2] += 60
        return np.clip(image, 0, 255).astype(np.uint8)[None]

    chunks = ((1,) * planes, (size,), (size,))
    return dask.array.map_blocks(plane, chunks=chunks, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))


def peak_gb() -> float:
    """Peak resident memory of this process in gigabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planes", type=int, default=2000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--backbone", default="filter-bank")
    chosen = parser.parse_args()
    stack = lazy_stack(chosen.planes, chosen.size)
    bar = tqdm(unit="tile", mininterval=2)

    def show(event: nd.Progress) -> None:
        bar.total = event.total
        bar.update(event.done - bar.n)

    start = time.perf_counter()
    features = nd.collect(nd.extract_steps(stack, backbone=chosen.backbone), show)
    bar.close()
    extracted = time.perf_counter() - start
    print(
        f"stack {stack.shape} {stack.nbytes / 1e9:.2f} GB, map {np.prod(features.array.shape) * 4 / 1e9:.2f} GB as float32, "
        f"{'in memory' if features.in_memory else 'on disk'}"
    )
    print(f"extract: {extracted / chosen.planes * 1e3:.0f} ms a plane, peak {peak_gb():.2f} GB")
    scribbles = np.zeros(stack.shape[1:], np.uint8)
    first = np.asarray(stack[0])
    scribbles[::4, ::4] = np.where(first[::4, ::4] > 130, 2, 1)
    probe = nd.Probe().fit(features, {0: scribbles})
    labels = probe.predict(features, lazy=True)
    start = time.perf_counter()
    planes = (labels[plane].compute(scheduler="synchronous") for plane in range(chosen.planes))
    found = sum(int((plane == 2).sum()) for plane in planes)
    spent = (time.perf_counter() - start) / chosen.planes
    print(f"predict: {spent * 1e3:.0f} ms a plane, {found} pixels of class 2, peak {peak_gb():.2f} GB")
    start = time.perf_counter()
    heat = features.similarity(plane=0, row=chosen.size // 2, col=chosen.size // 2, planes=range(0, chosen.planes, 10))
    print(f"similarity: {(time.perf_counter() - start) / len(heat) * 1e3:.0f} ms a plane, peak {peak_gb():.2f} GB")


if __name__ == "__main__":
    main()
