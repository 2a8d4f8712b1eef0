"""Real images with reference labels, and scribbles painted from them, for the benchmarks of probes.

A set is a few planes to paint on and a few to test on. Where the planes come from a stack, each test plane is given with the
plane before and after it, for what looks along z.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from skimage.io import imread
from skimage.segmentation import find_boundaries

Pairs = list[tuple[np.ndarray, np.ndarray]]
Paint = Callable[[np.ndarray, np.random.Generator], np.ndarray]

TRAIN, TEST = (0, 10, 20), (120, 180, 240)  # slices of FlyEM
TISSUE = {
    1: (4, 43, 14, 15, 24, 5, 44),
    2: (3, 42, 8, 47, 10, 49, 11, 50, 12, 51, 13, 52, 17, 53, 18, 54),
    3: (2, 41, 7, 46, 16, 28, 60, 251, 252, 253, 254, 255),
}
VENTRICLES = {1: (4, 43, 5, 44)}
DEEP_NUCLEI = {1: (10, 49), 2: (11, 50), 3: (12, 51), 4: (13, 52)}  # thalamus, caudate, putamen, pallidum
HIPPOCAMPUS = {1: (17, 53)}
SAGITTAL, AXIAL, CORONAL = 0, 1, 2  # axes of the volume
ALLEN = (382, 961, 672, 733, 1097)  # CA1, piriform area, caudoputamen, VPM of the thalamus, hypothalamus


@dataclass(frozen=True)
class LabelledSet:
    """Images and labels, (H, W[, channels]) and (H, W) each; `stacks`: (3, H, W) around each test plane, or none."""

    train: Pairs
    test: Pairs
    stacks: list[np.ndarray] = field(default_factory=list)


def membranes(folder: Path, numbers: tuple[int, ...]) -> Pairs:
    import h5py

    with gzip.open(folder / "groundtruth.h5.gz") as packed, h5py.File(io.BytesIO(packed.read())) as file:
        pieces, bodies = file["stack"][:], file["transforms"][:]
    body_of = np.zeros(pieces.max() + 1, np.int64)
    body_of[bodies[:, 0]] = bodies[:, 1]
    return [(_flyem_slice(folder, z), find_boundaries(body_of[pieces[z]], mode="thick")) for z in numbers]


def _flyem_slice(folder: Path, z: int) -> np.ndarray:
    return imread(sorted((folder / "grayscale_maps").glob("*.png"))[z])


def flyem(data: Path) -> LabelledSet:
    folder = data / "em" / "flyem_medulla_fibsem"
    stacks = [np.stack([_flyem_slice(folder, z + step) for step in (-1, 0, 1)]) for z in TEST]
    return LabelledSet(membranes(folder, TRAIN), membranes(folder, TEST), stacks)


def nuclei(kind: str, group: str, train: int) -> Callable[[Path], LabelledSet]:
    def load(data: Path) -> LabelledSet:
        pairs = []
        for path in sorted((data / kind / "derived_labels" / group).glob("*.tif")):
            image = imread(data / kind / group / path.stem / "images" / f"{path.stem}.png")[..., :3]
            pairs.append((image[..., 0] if "fluorescence" in kind else image, imread(path) > 0))
        return LabelledSet(pairs[:train], pairs[train:])

    return load


def brain(groups: dict[int, tuple[int, ...]], axis: int) -> Callable[[Path], LabelledSet]:
    def load(data: Path) -> LabelledSet:
        archive = np.load(data / "mri" / "voxelmorph_t1_aseg" / "test_scan.npz")
        ids = archive["seg"].astype(int)
        classes = np.zeros(ids.shape, np.uint8)
        for value, members in groups.items():
            classes[np.isin(ids, members)] = value
        return _planes_of(archive["vol"].astype(np.float32), classes, axis)

    return load


def mni152(data: Path) -> LabelledSet:
    """Background, grey and white matter, whichever is most probable, in axial planes of an average of many brains."""
    import nibabel

    folder = data / "mri" / "mni152_2009a_nilearn"
    image, grey, white = (
        np.asarray(nibabel.load(folder / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz").dataobj, np.float32)
        for kind in ("t1", "gm", "wm")
    )
    return _planes_of(image, np.stack([255 - grey - white, grey, white]).argmax(axis=0).astype(np.uint8), 2)


def _planes_of(volume: np.ndarray, classes: np.ndarray, axis: int) -> LabelledSet:
    """Take planes evenly from those with much in them: three to paint on, and three others to test on."""
    volume, classes = np.moveaxis(volume, axis, 0), np.moveaxis(classes, axis, 0)
    area = (classes > 0).sum(axis=(1, 2))
    rich = np.flatnonzero(area > 0.4 * area.max())
    planes = rich[np.linspace(0, len(rich) - 1, 8).round().astype(int)]
    train, test = (planes[[1, 3, 6]], planes[[2, 4, 5]])
    pairs = [[(volume[z], classes[z]) for z in part] for part in (train, test)]
    return LabelledSet(*pairs, [volume[z - 1 : z + 2] for z in test])


def allen(data: Path) -> LabelledSet:
    """Train on the left half of a coronal section, test on the right one: five large regions and the rest."""
    folder = data / "atlas" / "mouse_slice_with_allen_labels" / "brainglobe_registration"
    image, ids = imread(folder / "downsampled.tiff"), imread(folder / "registered_atlas.tiff")
    classes = np.zeros(ids.shape, np.uint8)
    for value, region in enumerate(ALLEN, start=1):
        classes[ids == region] = value
    middle = ids.shape[1] // 2
    return LabelledSet([(image[:, :middle], classes[:, :middle])], [(image[:, middle:], classes[:, middle:])])


SETS: dict[str, Callable[[Path], LabelledSet]] = {
    "FlyEM membranes": flyem,
    "stained nuclei, purple on white": nuclei("histology/dsb2018_stained", "purple_on_white", 3),
    "stained nuclei, purple on purple": nuclei("histology/dsb2018_stained", "purple_on_purple", 3),
    "fluorescent nuclei": nuclei("cells/dsb2018_fluorescence", "256x256", 2),
    "Allen regions of a mouse section, 6 classes": allen,
    "MRI tissue, 4 classes, coronal": brain(TISSUE, CORONAL),
    "MRI tissue, 4 classes, axial": brain(TISSUE, AXIAL),
    "MRI tissue, 4 classes, sagittal": brain(TISSUE, SAGITTAL),
    "MRI ventricles, 1 % of the plane, coronal": brain(VENTRICLES, CORONAL),
    "MRI ventricles, axial": brain(VENTRICLES, AXIAL),
    "MRI ventricles, sagittal": brain(VENTRICLES, SAGITTAL),
    "MRI deep nuclei, 5 classes, coronal": brain(DEEP_NUCLEI, CORONAL),
    "MRI hippocampus, coronal": brain(HIPPOCAMPUS, CORONAL),
    "MNI152 grey and white matter, axial": mni152,
}


def paint_evenly(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Label 3,000 pixels of a plane, the same number of each class."""
    scribbles = np.zeros(truth.shape, np.uint8)
    values = np.unique(truth)
    for value in values:
        pixels = np.flatnonzero(truth == value)
        scribbles.flat[rng.choice(pixels, min(len(pixels), 3000 // len(values)), replace=False)] = int(value) + 1
    return scribbles


def paint_strokes(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw eight strokes of up to 20 pixels for each class."""
    scribbles = np.zeros(truth.shape, np.uint8)
    for value in np.unique(truth):
        for _ in range(8):
            at = np.array(np.unravel_index(rng.choice(np.flatnonzero(truth == value)), truth.shape), float)
            angle = rng.uniform(0, 2 * np.pi)
            for _ in range(20):
                row, col = np.rint(at).astype(int)
                if not (0 <= row < truth.shape[0] and 0 <= col < truth.shape[1]) or truth[row, col] != value:
                    break
                scribbles[row, col] = int(value) + 1
                angle += rng.normal(0, 0.2)
                at += np.sin(angle), np.cos(angle)
    return scribbles


PAINTS: dict[str, Paint] = {"even": paint_evenly, "strokes": paint_strokes}
