"""Figures of docs/classify.md and docs/evaluate.md, on real images and on the synthetic six.

    python benchmarks/bench_evaluate.py [--data FOLDER] [--only images compare transfer synthetic]

`images`: classes of whole images, cross-validated by group. `compare`: backbones and heads on the membranes of ten FlyEM
sections, 3,000 labelled pixels each, half of them membrane. `transfer`: nuclei of three stains, train on one and test on another.
`synthetic`: the same on the six modalities.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from bench_probe import membranes, paint
from skimage.io import imread

import napari_dinov3 as nd
from napari_dinov3.evaluate.image_classification import cross_validate_images
from napari_dinov3.io.labelled_images import LabelledImage
from napari_dinov3.progress import collect
from napari_dinov3.recipe.image_run import plane_groups
from napari_dinov3.recipe.image_vectors import VectorConfig, embed_images_steps, embed_planes_steps

SECTIONS = range(0, 250, 25)
STAINS = ("he_pink", "purple_on_purple", "purple_on_white")
BLOCKS = 6


def tiles(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/images/*.png"))


def modality(data: Path) -> list[LabelledImage]:
    """Five sources; ten images or sections of each, neighbouring sections in one group."""
    sources = {
        "electron microscopy": sorted((data / "em/flyem_medulla_fibsem/grayscale_maps").glob("*.png"))[::25],
        "stained tissue": [path for stain in STAINS for path in tiles(data / "histology/dsb2018_stained" / stain)][:10],
        "fluorescence": [path for size in ("256x256", "360x360") for path in tiles(data / "cells/dsb2018_fluorescence" / size)][
            :10
        ],
    }
    images = [LabelledImage(path, kind, group=str(path)) for kind, paths in sources.items() for path in paths]
    whole = next((data / "atlas/brainreg_mouse_whole_brain").rglob("*.tif"), None)
    if whole is not None and whole.parent.name != "brainreg_mouse_whole_brain":
        planes = sorted(whole.parent.glob("*.tif"))[10:70:6]
        images += [LabelledImage(path, "light sheet", group=f"brain {at // 2}") for at, path in enumerate(planes)]
    return images


def whole_images(data: Path) -> None:
    stains = [
        LabelledImage(path, stain, group=str(path))
        for stain in STAINS
        for path in tiles(data / "histology/dsb2018_stained" / stain)
    ]
    for name, images, how in (
        ("source of the image", modality(data), VectorConfig()),
        ("stain, colours", stains, VectorConfig()),
        ("stain, grey", stains, VectorConfig(colour="grey")),
    ):
        vectors = collect(embed_images_steps(images, how))
        result = cross_validate_images(vectors.vectors, vectors.labels, groups=vectors.groups, names=vectors.names)
        print(f"\n{name}\n\n{result.to_markdown()}", flush=True)
    slices = sorted((data / "atlas/brainreg_mouse_whole_brain").rglob("*.tif"))
    brain = nd.read(slices[0].parent if len(slices) > 1 else slices[0]).planes()
    labels = {plane: f"block {plane * BLOCKS // len(brain)}" for plane in range(len(brain))}
    groups = plane_groups(labels, 3)
    opened = [(LabelledImage(Path(brain.name), labels[plane], plane, groups[plane]), brain) for plane in labels]
    vectors = collect(embed_planes_steps(opened, VectorConfig()))
    result = cross_validate_images(vectors.vectors, vectors.labels, groups=vectors.groups, folds=3)
    print(f"\nplace along one brain\n\n{result.to_markdown()}", flush=True)


def compare(data: Path) -> None:
    pairs = membranes(data / "em/flyem_medulla_fibsem", SECTIONS)
    rng = np.random.default_rng(0)
    images, labels = np.stack([image for image, _ in pairs]), np.stack([paint(mask, rng) for _, mask in pairs])
    names, heads = ("filter-bank", "random-projection-cnx-tiny"), ("linear", "kernel", "prototypes")
    found = nd.evaluate.compare_backbones(images, labels, backbones=names, heads=heads, strides=(2, 4, 16))
    print(f"\n{len(pairs)} FlyEM sections of {images.shape[1]} x {images.shape[2]}\n\n{found.to_markdown()}", flush=True)


def nuclei(data: Path, kind: str, group: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    pairs = []
    for path in sorted((data / kind / "derived_labels" / group).glob("*.tif")):
        mask = imread(path) > 0
        pairs.append((imread(data / kind / group / path.stem / "images" / f"{path.stem}.png")[..., :3], mask))
    shape = min(image.shape for image, _ in pairs)
    kept = [(image, mask) for image, mask in pairs if image.shape == shape][:count]
    return np.stack([image for image, _ in kept]), np.stack([mask for _, mask in kept])


def transfer(data: Path) -> None:
    sets = {
        "purple on white": nuclei(data, "histology/dsb2018_stained", "purple_on_white", 6),
        "purple on purple": nuclei(data, "histology/dsb2018_stained", "purple_on_purple", 6),
        "fluorescence": nuclei(data, "cells/dsb2018_fluorescence", "256x256", 6),
    }
    for head in ("linear", "kernel"):
        found = nd.evaluate.transfer(sets, backbone="filter-bank", probe=nd.Probe(head=head), colour="grey")
        print(f"\nF1 of the nuclei, {head} head, grey\n\n{found.to_markdown(label=1)}", flush=True)


def synthetic(data: Path) -> None:
    names = ("em", "mri", "histology", "connectomics", "atlas", "calcium")
    samples = {name: getattr(nd.synthetic, name)(planes=10, size=128, rng=0) for name in names}
    sets = {name: (sample.images, sample.masks) for name, sample in samples.items()}
    found = nd.evaluate.transfer(sets, backbone="filter-bank", probe=nd.Probe(head="kernel"))
    print(f"\nF1 of the mask on the synthetic six, filter bank, kernel head\n\n{found.to_markdown(label=1)}", flush=True)


PARTS = {"images": whole_images, "compare": compare, "transfer": transfer, "synthetic": synthetic}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    chosen = parser.parse_args()
    for name in chosen.only:
        PARTS[name](chosen.data)


if __name__ == "__main__":
    main()
