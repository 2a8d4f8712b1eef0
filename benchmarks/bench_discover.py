"""How well the defaults of TokenCut find what stands out, against labels: the table of docs/discover.md.

    python benchmarks/bench_discover.py DATA [--half held|train]

DATA is a folder of real images with labels: DSB 2018 tiles (cells/dsb2018_fluorescence and histology/dsb2018_stained, each
image beside derived_labels/GROUP/ID.tif), a T1 volume with labels (mri/voxelmorph_t1_aseg/test_scan.npz), brain sections
(alignment/glta_mouse_coronal_series/GLTa, atlas/brainreg_mouse_whole_brain/brain), neurons with tracings
(connectomics/rivulet_neuron_stack). What is missing is left out; the synthetic modalities need no file. Every second image of
each set is the held-out half. The truth of brain sections is a threshold, filled and cleaned.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
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
    """Confocal stacks of single neurons, seen from above; the truth is the tracing drawn with its radii."""
    for path in sorted((data / "connectomics/rivulet_neuron_stack").rglob("*.swc")):
        stack = next((p for p in (*path.parent.glob(path.stem + "*.tif*"), *path.parent.glob("*.tif*"))), None)
        if stack is None:
            continue
        image = tifffile.imread(stack).max(axis=0)
        rows = np.loadtxt(path, comments="#")
        at = {int(row[0]): row for row in rows}
        truth = np.zeros(image.shape, np.uint8)
        for row in rows:
            parent = at.get(int(row[6]), row)
            for part in np.linspace(0, 1, 1 + int(np.hypot(*(row[2:4] - parent[2:4])))):
                col, line = row[2:4] * (1 - part) + parent[2:4] * part
                reach = max(1, round(row[5]))
                truth[max(0, int(line) - reach) : int(line) + reach + 1, max(0, int(col) - reach) : int(col) + reach + 1] = 1
        yield "neurons", image, truth


def synthetic() -> Iterator[Case]:
    """Four planes of each synthetic modality."""
    for name, make in nd.synthetic.MODALITIES.items():
        sample = make(planes=4, size=256, rng=5)
        for image, mask in zip(sample.images, sample.masks, strict=True):
            yield f"synthetic {name}", image, ndimage.label(mask)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--half", choices=("held", "train"), default="held")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore", nd.errors.IllPosedWarning)
    found: dict[str, list] = {}
    seen: dict[str, int] = {}
    for cases in (nuclei(chosen.data), heads(chosen.data), sections(chosen.data), neurons(chosen.data), synthetic()):
        for name, image, labels in cases:
            seen[name] = seen.get(name, -1) + 1
            if seen[name] % 2 != (chosen.half == "held"):
                continue
            features = nd.extract(image)
            start = time.process_time()
            cut = nd.tokencut(features, image=image)
            spent = time.process_time() - start
            plain = cut.with_masks(refine=0)
            paper = cut.with_masks(bipartition="mean", side="seed", component="seed", refine=0)
            made = [(c.boxes[0], c.mask(0)) for c in (cut, plain, paper)]
            several = nd.maskcut(features, bipartition="otsu", side="border", component="largest", rounds=8, least_share=0.002)
            clusters = nd.spectral_clusters(features)
            made += [(o.boxes[0][:, 1:], o.label(0)) for o in (several,)]
            made.append((np.zeros((0, 4), int), pieces_of_clusters(clusters.label(0))))
            found.setdefault(name, []).append((Truth.from_labels(labels), spent, made))
    columns = ("images", "number", "CorLoc", "mask IoU", "box precision / recall", "no refining", "paper's rules", "CPU s")
    columns += ("objects found: pieces", "maskcut", "clusters")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name, results in found.items():
        if not any(len(truth.boxes) for truth, _, _ in results):
            continue  # nothing to find in these planes
        truths = [truth for truth, _, _ in results]
        first, second, third, repeated, clustered = (
            score_discovery([made[k][0] for _, _, made in results], truths, masks=[made[k][1] for _, _, made in results])
            for k in range(5)
        )
        spent = np.median([seconds for _, seconds, _ in results])
        cells = (
            name,
            len(results),
            f"{first.corloc:.2f}",
            f"{first.mean_mask_iou:.3f}",
            f"{first.precision:.2f} / {first.recall:.2f}",
            f"{second.mean_mask_iou:.3f}",
            f"{third.mean_mask_iou:.3f}",
            f"{spent:.1f}",
            *(f"{score.mask_precision:.2f} / {score.mask_recall:.2f}" for score in (first, repeated, clustered)),
        )
        print(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()
