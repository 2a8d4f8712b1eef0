"""Time and memory of opening large data: folders of thousands of planes, and a pyramid of 100,000 x 80,000 pixels.

Each case runs in a process of its own, so that its peak memory is its own:

    python benchmarks/bench_files.py            # all cases, as a Markdown table
    python benchmarks/bench_files.py pyramid    # one case

The data are made first, in a temporary folder, and are small on disk: constant tiles compress to nothing.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

PLANES, SIDE = 5_000, 256
ROWS, COLS, TILE, LEVELS = 80_000, 100_000, 512, 7


def make_tiff_folder(path: Path) -> None:
    import tifffile

    path.mkdir()
    plane = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE), np.uint8)
    for i in range(PLANES):
        tifffile.imwrite(path / f"plane{i}.tif", np.roll(plane, i, axis=0), metadata=None)


def make_png_folder(path: Path) -> None:
    from PIL import Image

    path.mkdir()
    plane = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE), np.uint8)
    for i in range(PLANES):
        Image.fromarray(np.roll(plane, i, axis=0)).save(path / f"plane{i}.png", compress_level=1)


def make_stack(path: Path) -> None:
    import tifffile

    plane = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE), np.uint8)
    planes = (np.roll(plane, i, axis=0) for i in range(PLANES))
    tifffile.imwrite(
        path, planes, shape=(PLANES, SIDE, SIDE), dtype=np.uint8, ome=True, metadata={"axes": "ZYX"}, contiguous=False
    )


def make_pyramid(path: Path) -> None:
    """Write tiles of one grey each, squeezed once a grey and written as bytes."""
    import zlib

    import tifffile

    squeezed = {grey: zlib.compress(np.full((TILE, TILE), grey, np.uint8).tobytes(), 9) for grey in range(0, 256, 16)}

    def tiles(rows: int, cols: int) -> Iterator[bytes]:
        for row in range(0, rows, TILE):
            for col in range(0, cols, TILE):
                yield squeezed[(row + col) // TILE % 16 * 16]

    options = {"tile": (TILE, TILE), "compression": "zlib", "dtype": np.uint8, "photometric": "minisblack"}
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        size = {"PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.25, "PhysicalSizeYUnit": "µm"}
        for level in range(LEVELS):
            rows, cols = ROWS >> level, COLS >> level
            place = (
                {"subifds": LEVELS - 1, "metadata": {"axes": "YX", **size}}
                if level == 0
                else {"subfiletype": 1, "metadata": None}
            )
            writer.write(tiles(rows, cols), shape=(rows, cols), **place, **options)


CASES = {
    "tiff-folder": ("folder of 5,000 TIFF slices, 256 x 256", make_tiff_folder, "tiff"),
    "png-folder": ("folder of 5,000 PNG slices, 256 x 256", make_png_folder, "png"),
    "stack": ("OME-TIFF of 5,000 planes, 256 x 256", make_stack, "stack.ome.tif"),
    "pyramid": ("tiled pyramid of 100,000 x 80,000 pixels, seven levels", make_pyramid, "slide.ome.tif"),
}


def measure(path: Path) -> dict[str, float]:
    """Open, look at one plane or region, scroll through twenty, open as napari layers, and extract a region."""
    import tifffile

    import napari_dinov3 as nd

    with tempfile.TemporaryDirectory() as folder:  # so that importing dask, zarr and tifffile is not counted as opening
        tifffile.imwrite(Path(folder, "small.tif"), np.zeros((4, 4), np.uint8))
        np.asarray(nd.read(Path(folder, "small.tif")))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    image = nd.read(path)
    opened = time.perf_counter() - start
    flat = image.ndim == 2
    start = time.perf_counter()
    for k in range(20):
        part = image.data[3000 * k : 3000 * k + 1000, 4000 * k : 4000 * k + 1000] if flat else image.data[240 * k]
        np.asarray(part)
    look = (time.perf_counter() - start) / 20

    from napari.components import ViewerModel

    from napari_dinov3._napari.file_hooks import get_reader

    viewer = ViewerModel()
    viewer.add_image(np.zeros((4, 4)))
    start = time.perf_counter()
    for data, options, kind in get_reader(str(path))(str(path)):
        getattr(viewer, f"add_{kind}")(data, **options)
    shown = time.perf_counter() - start
    start = time.perf_counter()
    if flat:
        nd.extract(image, backbone="filter-bank", region=(40_000, 50_000, 40_512, 50_512))
    else:
        nd.extract(image.data[100:101], backbone="filter-bank")
    task = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"open": opened, "look": look, "napari": shown, "task": task, "peak": peak, "before": before}


def main(names: list[str]) -> None:
    if len(names) == 2 and names[0] == "--measure":
        print(json.dumps(measure(Path(names[1]))))
        return
    print("| what | open | one plane or 1000 x 1000 | as napari layers | filter-bank features of 512 x 512 | peak memory |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, (what, make, where) in CASES.items():
            if names and name not in names:
                continue
            path = Path(folder, where)
            make(path)
            ran = subprocess.run([sys.executable, __file__, "--measure", str(path)], capture_output=True, text=True, check=True)
            t = json.loads(ran.stdout.splitlines()[-1])
            print(
                f"| {what} | {t['open']:.2f} s | {t['look'] * 1e3:.0f} ms | {t['napari']:.2f} s | {t['task']:.2f} s "
                f"| {t['peak']:.0f} MB ({t['before']:.0f} MB before opening) |",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
