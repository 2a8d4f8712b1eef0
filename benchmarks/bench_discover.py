"""How well the defaults of TokenCut find what stands out, against labels: the table of docs/discover.md.

    python benchmarks/bench_discover.py DATA [--half held|train] [--only SET ...]

DATA is a folder of real images with labels: DSB 2018 tiles (cells/dsb2018_fluorescence and histology/dsb2018_stained, each
image beside derived_labels/GROUP/ID.tif), a T1 volume with labels (mri/voxelmorph_t1_aseg/test_scan.npz), brain sections
(alignment/glta_mouse_coronal_series/GLTa, atlas/brainreg_mouse_whole_brain/brain), a neuron with its tracing
(connectomics/rivulet_neuron_stack, seen along each axis). What is missing is left out; the synthetic modalities need no file.
Every second image of each set is the held-out half. The truth of brain sections is a threshold, filled and cleaned.
"""

from __future__ import annotations

import argparse
import io
import time
import warnings
import zipfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import tifffile
from scipy import ndimage
from skimage.filters import threshold_otsu

import napari_dinov3 as nd
from napari_dinov3.evaluate.corloc import Truth, score_discovery

Case = tuple[str, np.ndarray, np.ndarray]  # set, image, labels


def nuclei(data: Path) -> Iterator[Case]:
    """DSB 2018: fluorescent and stained nuclei."""
    for name, folder in (("fluorescent nuclei", "cells/dsb2018_fluorescence"), ("stained nuclei", "histology/dsb2018_stained")):
        for path in sorted((data / folder / "derived_labels").glob("*/*.tif")):
            image = iio.imread(next((data / folder / path.parent.name / path.stem / "images").glob("*.png")))[..., :3]
            grey = bool((image == image[..., :1]).all())
            yield name, image[..., 0] if grey else image, tifffile.imread(path)


def heads(data: Path) -> Iterator[Case]:
    """Slices of a skull-stripped T1 volume."""
    path = data / "mri/voxelmorph_t1_aseg/test_scan.npz"
    if path.exists():
        with np.load(path) as archive:
            volume, labels = archive["vol"].astype(np.float32), archive["seg"] > 0
        for at in range(60, 150, 6):
            yield "MRI head", volume[:, :, at], labels[:, :, at].astype(np.uint8)


def largest_piece(mask: np.ndarray) -> np.ndarray:
    labels, _ = ndimage.label(ndimage.binary_fill_holes(mask))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (labels == sizes.argmax()).astype(np.uint8)


def sections(data: Path) -> Iterator[Case]:
    """Brain sections on a slide, and planes of a whole brain."""
    for path in sorted((data / "alignment/glta_mouse_coronal_series/GLTa").glob("*.png")):
        image = iio.imread(path)[::2, ::2, :3]
        dark = ndimage.gaussian_filter(image.min(axis=2).astype(float), 3)
        yield "brain sections", image, largest_piece(ndimage.binary_closing(dark < threshold_otsu(dark), iterations=4))
    for path in sorted((data / "atlas/brainreg_mouse_whole_brain/brain").glob("*.tif"))[::16]:
        image = tifffile.imread(path)
        bright = np.log1p(ndimage.gaussian_filter(image.astype(float), 2))
        yield "brain sections", image, largest_piece(bright > threshold_otsu(bright))


def pieces_of_clusters(labels: np.ndarray) -> np.ndarray:
    """Number the pieces of all clusters but the largest, which is background."""
    made, count = np.zeros(labels.shape, np.int32), 0
    for cluster in range(2, labels.max() + 1):
        pieces, found = ndimage.label(labels == cluster)
        made[pieces > 0] = pieces[pieces > 0] + count
        count += found
    return made


def neurons(data: Path) -> Iterator[Case]:
    """A confocal stack of a neuron and a crop of it, the brightest along each axis; the truth is the tracing with its radii."""
    folder = data / "connectomics/rivulet_neuron_stack"
    for stack, tracing in (("test.tif.zip", "test-expected.swc"), ("test.small.tif", "test.small.swc")):
        if not (folder / stack).exists():
            continue
        pixels = (folder / stack).read_bytes()
        if stack.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(pixels)) as archive:
                pixels = archive.read(archive.namelist()[0])
        volume = tifffile.imread(io.BytesIO(pixels))
        rows = np.loadtxt(folder / tracing, comments="#")
        truth = drawn_tracing(rows, volume.shape)
        for axis in range(3):
            yield "neurons", volume.max(axis=axis), truth.max(axis=axis)


def drawn_tracing(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Draw the segments of an SWC table (id, type, x, y, z, radius, parent) as cubes of their radius."""
    at = {int(row[0]): row for row in rows}
    truth = np.zeros(shape, np.uint8)
    for row in rows:
        start, end = row[4:1:-1], at.get(int(row[6]), row)[4:1:-1]
        reach = max(1, round(row[5]))
        for part in np.linspace(0, 1, 1 + int(np.linalg.norm(end - start))):
            middle = np.rint(start + part * (end - start)).astype(int)
            truth[tuple(slice(max(0, x - reach), x + reach + 1) for x in middle)] = 1
    return truth


def synthetic() -> Iterator[Case]:
    """Four planes of each synthetic modality."""
    for name, make in nd.synthetic.MODALITIES.items():
        sample = make(planes=4, size=256, rng=5)
        for image, mask in zip(sample.images, sample.masks, strict=True):
            yield f"synthetic {name}", image, ndimage.label(mask)[0]


def measured(image: np.ndarray) -> tuple[float, list]:
    """Return the processor time of the default cut, and boxes and labels of five ways to find objects."""
    features = nd.extract(image)
    start = time.process_time()
    cut = nd.tokencut(features, image=image)
    spent = time.process_time() - start
    plain = cut.with_masks(refine=0)
    paper = cut.with_masks(bipartition="mean", side="seed", component="seed", refine=0)
    made = [(c.boxes[0], c.mask(0)) for c in (cut, plain, paper)]
    several = nd.maskcut(features, bipartition="otsu", side="border", component="largest", rounds=8, least_share=0.002)
    clusters = nd.spectral_clusters(features)
    made.append((several.boxes[0][:, 1:], several.label(0)))
    made.append((np.zeros((0, 4), int), pieces_of_clusters(clusters.label(0))))
    return spent, made


def print_row(name: str, results: list) -> None:
    if not any(len(truth.boxes) for truth, _, _ in results):
        return  # nothing to find in these planes
    truths = [truth for truth, _, _ in results]
    first, second, third, repeated, clustered = (
        score_discovery([made[k][0] for _, _, made in results], truths, masks=[made[k][1] for _, _, made in results])
        for k in range(5)
    )
    cells = (
        name,
        len(results),
        f"{first.corloc:.2f}",
        f"{first.mean_mask_iou:.3f}",
        f"{first.precision:.2f} / {first.recall:.2f}",
        f"{second.mean_mask_iou:.3f}",
        f"{third.mean_mask_iou:.3f}",
        f"{np.median([seconds for _, seconds, _ in results]):.1f}",
        *(f"{score.mask_precision:.2f} / {score.mask_recall:.2f}" for score in (first, repeated, clustered)),
    )
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--half", choices=("held", "train"), default="held")
    parser.add_argument("--only", nargs="*", metavar="SET", help="names of sets, such as neurons")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore", nd.errors.IllPosedWarning)
    columns = ("images", "number", "CorLoc", "mask IoU", "box precision / recall", "no refining", "paper's rules", "CPU s")
    columns += ("objects found: pieces", "maskcut", "clusters")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    name, seen, results = "", 0, []
    for this, image, labels in chain(*(cases(chosen.data) for cases in (nuclei, heads, sections, neurons)), synthetic()):
        if chosen.only and this not in chosen.only:
            continue
        if this != name:
            print_row(name, results)
            name, seen, results = this, 0, []
        if seen % 2 == (chosen.half == "held"):
            results.append((Truth.from_labels(labels), *measured(image)))
        seen += 1
    print_row(name, results)


if __name__ == "__main__":
    main()
