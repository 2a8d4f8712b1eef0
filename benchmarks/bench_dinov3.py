"""DINOv3 on this computer: the pipeline against the bare network, bfloat16 against float32, stored maps, memory of a long stack.

Run: ``python benchmarks/bench_dinov3.py [speed] [pipeline] [stack] [--planes N] [--size N] [--model NAME] [--device DEVICE]``.
Weights are random and of full size: time and memory do not depend on their values. Everything is timed in one run, in turns,
the best of several; on a processor in processor time, which other programs disturb less. Prints Markdown rows.
"""

from __future__ import annotations

import argparse
import copy
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dask.array
import numpy as np
import torch
import transformers
from safetensors.torch import save_file

import napari_dinov3 as nd
from napari_dinov3.backbones.dinov3 import DINOv3
from napari_dinov3.backbones.dinov3_models import ModelSpec, spec_of
from napari_dinov3.backbones.dinov3_network import build_module
from napari_dinov3.backbones.registry import load_backbone


def random_weights(spec: ModelSpec, folder: Path) -> Path:
    """Write weights of the right shapes in transformers' layout."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, tensor in build_module(spec).state_dict().items():
        fan_in = max(1, tensor[0].numel()) if tensor.ndim > 1 else 1
        state[name] = torch.randn(tensor.shape, generator=generator) / fan_in**0.5
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "model.safetensors")
    return folder


def clock(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def in_turns(jobs: dict[str, Callable[[], object]], device: str, rounds: int) -> dict[str, float]:
    """Best time of each job in seconds, one after the other in every round."""
    best = dict.fromkeys(jobs, float("inf"))
    for turn in range(rounds + 1):
        for name, job in jobs.items():
            start = clock(device)
            job()
            if turn:  # the first round warms up
                best[name] = min(best[name], clock(device) - start)
    return best


def speed(backbone: DINOv3, sizes: list[int], rounds: int) -> None:
    """The network at its own precision against transformers' float32 forward."""
    device = backbone.network.device
    config = copy.deepcopy(backbone.network.module.config)  # a network reads its attention from it
    plain = transformers.AutoModel.from_config(config, attn_implementation="sdpa").eval().to(device)
    print(f"\n| {backbone.spec.label}, {device} | transformers float32 | {backbone.network.precision} | ratio |")
    print("|---|---|---|---|")
    for size in sizes:
        pixels = torch.randn(1, 3, size, size, device=device)

        def reference(pixels: torch.Tensor = pixels) -> None:
            with torch.inference_mode():
                plain(pixel_values=pixels)

        best = in_turns({"plain": reference, "ours": lambda pixels=pixels: backbone.network.run(pixels)}, device, rounds)
        print(f"| {size} | {best['plain'] * 1e3:.0f} ms | {best['ours'] * 1e3:.0f} ms | {best['plain'] / best['ours']:.2f} |")


def pipeline(backbone: DINOv3, planes: int, size: int, rounds: int) -> None:
    """extract() onto disk against the bare forward pass of the same planes, and finding the map again."""
    device = backbone.network.device
    stack = np.random.default_rng(0).integers(0, 255, (planes, size, size), dtype=np.uint8)
    pixels = torch.randn(1, 3, size, size, device=device)

    def bare() -> None:
        for _ in range(planes):
            backbone.network.run(pixels)

    with tempfile.TemporaryDirectory() as folder:
        fresh = iter(range(1000))

        def into(name: object) -> None:
            nd.extract(stack, backbone=backbone, folder=f"{folder}/{name}", batch_size=1)

        best = in_turns({"bare": bare, "extract": lambda: into(next(fresh))}, device, rounds)
        best |= in_turns({"again": lambda: into(0)}, device, rounds)
    print("\n| planes | bare forward | extract | bare / extract | found again | share |\n|---|---|---|---|---|---|")
    print(
        f"| {planes} x {size}x{size} | {best['bare']:.2f} s | {best['extract']:.2f} s | {best['bare'] / best['extract']:.3f} "
        f"| {best['again']:.3f} s | {best['again'] / best['extract']:.2%} |"
    )


def stack(backbone: DINOv3, planes: int, size: int) -> None:
    """A lazy stack, stopped half way and resumed, against the same without a stop."""
    random = dask.array.random.default_rng(0)
    lazy = (random.random((planes, size, size), chunks=(1, size, size)) * 255).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        whole = nd.extract(lazy, backbone=backbone, folder=f"{folder}/whole")
        seconds = time.perf_counter() - start
        job = nd.extract_steps(lazy, backbone=backbone, folder=f"{folder}/stopped")
        while next(job).done < planes // 2:
            pass
        job.close()
        resumed = nd.extract(lazy, backbone=backbone, folder=f"{folder}/stopped")
        equal = all(np.array_equal(whole.array[plane], resumed.array[plane]) for plane in range(planes))
        taken = resumed.provenance["planes_from_cache"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print("\n| lazy stack | time | planes kept at the stop | equal bit for bit | peak memory |\n|---|---|---|---|---|")
    print(f"| {planes} x {size}x{size} | {seconds:.0f} s | {taken} | {'yes' if equal else 'NO'} | {peak / 1e9:.2f} GB |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], "speed", "pipeline", "stack"], help="all by default")
    parser.add_argument("--model", default="dinov3-vits16")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--planes", type=int, default=8)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 512])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    parts = options.parts or ["speed", "pipeline", "stack"]
    with tempfile.TemporaryDirectory() as folder:
        weights = random_weights(spec_of(options.model), Path(folder) / options.model)
        backbone = load_backbone(options.model, weights=weights, device=options.device, precision=options.precision)
        if "speed" in parts:
            speed(backbone, options.sizes, options.rounds)
        if "pipeline" in parts:
            pipeline(backbone, options.planes, options.size, options.rounds)
        if "stack" in parts:
            stack(backbone, options.planes, options.size)


if __name__ == "__main__":
    main()
