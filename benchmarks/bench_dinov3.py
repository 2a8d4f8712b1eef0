"""DINOv3 on this computer: the pipeline against the bare network, bfloat16 against float32, stored maps, memory of a long stack.

Run: ``python benchmarks/bench_dinov3.py [speed] [cosine] [pipeline] [stack] [--planes N] [--size N] [--model NAME]
[--device DEVICE]``, or, of a graphics card, ``python benchmarks/bench_dinov3.py card --device cuda --size 1024 --planes 64``.
Weights are random and of full size: time and memory do not depend on their values. Everything is timed in one run, in turns,
the best of several; ratios by the clock on the wall and, on a processor, by processor time, which other programs disturb less.
Prints Markdown rows.
"""

from __future__ import annotations

import argparse
import copy
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from napari_dinov3.backbones.throughput import work_of_tile

PARTS = ["speed", "cosine", "pipeline", "stack"]


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


@dataclass
class Time:
    """Seconds by the clock on the wall, and of the processor (on a card the same as on the wall)."""

    wall: float
    work: float


def measure(job: Callable[[], object], device: str) -> Time:
    """Time a job once; a card is waited for."""
    on_card = device.startswith("cuda")
    if on_card:
        torch.cuda.synchronize()
    wall, work = time.perf_counter(), time.process_time()
    job()
    if on_card:
        torch.cuda.synchronize()
    wall, work = time.perf_counter() - wall, time.process_time() - work
    return Time(wall, wall if on_card else work)


def in_turns(jobs: dict[str, Callable[[], object]], device: str, rounds: int) -> dict[str, Time]:
    """Best times of each job, one after the other in every round."""
    best = {name: Time(float("inf"), float("inf")) for name in jobs}
    for turn in range(rounds + 1):
        for name, job in jobs.items():
            took = measure(job, device)
            if turn:  # the first round warms up
                best[name] = Time(min(best[name].wall, took.wall), min(best[name].work, took.work))
    return best


def speed(backbone: DINOv3, sizes: list[int], rounds: int) -> None:
    """The network at its own precision against transformers' float32 forward."""
    device, precision = backbone.network.device, backbone.network.precision
    config = copy.deepcopy(backbone.network.module.config)  # a network reads its attention from it
    attention = {"attn_implementation": "sdpa"} if backbone.spec.family == "vit" else {}
    plain = transformers.AutoModel.from_config(config, **attention).eval().to(device)
    threads = f"{torch.get_num_threads()} threads" if device == "cpu" else device
    print(f"\n| {backbone.spec.label}, {threads} | transformers float32 | {precision} | ratio | processor time |")
    print("|---|---|---|---|---|")
    for size in sizes:
        pixels = torch.randn(1, 3, size, size, device=device)

        def reference(pixels: torch.Tensor = pixels) -> None:
            with torch.inference_mode():
                plain(pixel_values=pixels)

        best = in_turns({"plain": reference, "ours": lambda pixels=pixels: backbone.network.run(pixels)}, device, rounds)
        slow, quick = best["plain"], best["ours"]
        print(
            f"| {size} | {slow.wall * 1e3:.0f} ms | {quick.wall * 1e3:.0f} ms | {slow.wall / quick.wall:.2f} "
            f"| {slow.work / quick.work:.2f} |"
        )


def cosine(backbone: DINOv3, weights: Path, size: int) -> None:
    """Features at the network's own precision against float32, patch by patch."""
    exact = load_backbone(backbone.facts.name, weights=weights, device=backbone.network.device, precision="float32")
    tile = np.random.default_rng(0).random((1, size, size), dtype=np.float32)
    quick, slow = (torch.from_numpy(model.embed(tile).patches) for model in (backbone, exact))
    alike = torch.nn.functional.cosine_similarity(quick, slow, dim=-1)
    print(f"\n| {backbone.spec.label}, {size} | precision | smallest cosine with float32 | median |\n|---|---|---|---|")
    print(f"| | {backbone.network.precision} | {alike.min():.6f} | {alike.median():.6f} |")


def card(names: list[str], folder: Path, options: argparse.Namespace) -> None:
    """Planes a second of extract() onto disk, against the bare forward in equal batches and what the card can multiply."""
    print(
        "\n| model | batch | extract | bare forward | share | of the limit of products | memory |\n|---|---|---|---|---|---|---|"
    )
    stack = np.random.default_rng(0).integers(0, 255, (options.planes, options.size, options.size), dtype=np.uint8)
    for name in names:
        weights = random_weights(spec_of(name), folder / name)
        backbone = load_backbone(name, weights=weights, device=options.device, precision=options.precision)
        device, batch = backbone.network.device, max(1, min(options.planes, backbone.batch_pixels // options.size**2))
        pixels = torch.randn(batch, 3, options.size, options.size, device=device)
        fresh = iter(range(1000))

        def bare(backbone: DINOv3 = backbone, pixels: torch.Tensor = pixels, batch: int = batch) -> None:
            for _ in range(-(-options.planes // batch)):
                backbone.network.run(pixels)

        def ours(backbone: DINOv3 = backbone, fresh: Iterator[int] = fresh, batch: int = batch, name: str = name) -> None:
            into = folder / f"{name}-map-{next(fresh)}"
            nd.extract(stack, backbone=backbone, folder=into, batch_size=batch, tile_size=options.size)
            shutil.rmtree(into)

        best = in_turns({"bare": bare, "extract": ours}, device, options.rounds)
        whole = -(-options.planes // batch) * batch / options.planes  # the last bare batch is a full one
        seconds = best["bare"].wall / whole
        work = options.planes * work_of_tile(backbone.facts, (options.size, options.size), backbone.options)
        reached = work / best["extract"].wall / limit(device, backbone.network.precision)
        print(
            f"| {backbone.spec.label} | {batch} | {options.planes / best['extract'].wall:.2f} planes/s "
            f"| {options.planes / seconds:.2f} planes/s | {seconds / best['extract'].wall:.3f} "
            f"| {reached:.0%} | {peak_bytes(device) / 1e9:.2f} GB |"
        )
        del backbone


def limit(device: str, precision: str) -> float:
    """Floating-point operations a second of one large matrix product: the most that a network could reach."""
    side = 8192 if device.startswith("cuda") else 2048
    left, right = (torch.randn(side, side, device=device).to(getattr(torch, precision)) for _ in range(2))
    return 2 * side**3 / in_turns({"product": lambda: left @ right}, device, 5)["product"].wall


def peak_bytes(device: str) -> float:
    """Most memory taken so far: of the card, else of this process."""
    if device.startswith("cuda"):
        peak = float(torch.cuda.max_memory_allocated(device))
        torch.cuda.reset_peak_memory_stats(device)
        return peak
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))


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
    bare_s, extract_s, again_s = (best[name].work for name in ("bare", "extract", "again"))
    print(
        f"| {planes} x {size}x{size} | {bare_s:.2f} s | {extract_s:.2f} s | {bare_s / extract_s:.3f} "
        f"| {again_s:.3f} s | {again_s / extract_s:.2%} |"
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
    peak = peak_bytes("cpu")
    print("\n| lazy stack | time | planes kept at the stop | equal bit for bit | peak memory |\n|---|---|---|---|---|")
    print(f"| {planes} x {size}x{size} | {seconds:.0f} s | {taken} | {'yes' if equal else 'NO'} | {peak / 1e9:.2f} GB |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS, "card"], help="all but the card's by default")
    parser.add_argument("--model", default="dinov3-vits16")
    parser.add_argument("--models", nargs="+", default=["dinov3-vits16plus", "dinov3-vitb16", "dinov3-vitl16"], help="of card")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--planes", type=int, default=8)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 512])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    parts = options.parts or PARTS
    with tempfile.TemporaryDirectory() as folder:
        if "card" in parts:
            card(options.models, Path(folder), options)
        if parts == ["card"]:
            return
        weights = random_weights(spec_of(options.model), Path(folder) / options.model)
        backbone = load_backbone(options.model, weights=weights, device=options.device, precision=options.precision)
        if "speed" in parts:
            speed(backbone, options.sizes, options.rounds)
        if "cosine" in parts:
            cosine(backbone, weights, options.sizes[0])
        if "pipeline" in parts:
            pipeline(backbone, options.planes, options.size, options.rounds)
        if "stack" in parts:
            stack(backbone, options.planes, options.size)


if __name__ == "__main__":
    main()
