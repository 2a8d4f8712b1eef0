"""Base images of the alignment benchmark: three that scikit-image brings, and any found in folders of real images.

An image serves where it is large enough to be cropped after warping, and is no table of labels. Of each folder, a few spread
over it are taken (the first, the last and between), so that a series of near-equal planes does not outweigh the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from skimage import data
from skimage.io import imread

SIZE = 512
_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_FLATTEST = 0.8  # part of the pixels that equal both neighbours: labels and masks have more


class Base(NamedTuple):
    name: str
    image: np.ndarray  # (512, 512), stretched to 0..1


def chosen(folders: Iterable[Path], *, each: int = 2) -> list[Base]:
    """List the three, then those of the folders that are none of the three."""
    bases = bundled()
    bases += [b for b in from_folders(folders, each=each) if not any(np.array_equal(b.image, known.image) for known in bases)]
    return bases


def bundled() -> list[Base]:
    """Immunohistochemistry, the retina's middle and a cell."""
    cell = data.cell()[20 : 20 + SIZE, 20 : 20 + SIZE]
    retina = data.retina()[450 : 450 + SIZE, 450 : 450 + SIZE]
    images = {"ihc": data.immunohistochemistry(), "retina": retina, "cell": cell}
    return [Base(name, stretched(image)) for name, image in images.items()]


def from_folders(folders: Iterable[Path], *, each: int = 2) -> list[Base]:
    """Take up to `each` images of every folder and subfolder."""
    places: dict[Path, list[Path]] = {}
    for folder in folders:
        for path in sorted([folder] if folder.is_file() else folder.rglob("*")):
            if path.suffix.lower() in _SUFFIXES:
                places.setdefault(path.parent, []).append(path)
    return [base for paths in places.values() for base in _spread(list(_usable(paths)), each)]


def stretched(image: np.ndarray) -> np.ndarray:
    """Make it grey, and 0..1 between the 0.5 and 99.5 percentiles."""
    grey = image[..., :3].astype(float).mean(-1) if image.ndim == 3 else image.astype(float)
    low, high = np.percentile(grey, (0.5, 99.5))
    return np.clip((grey - low) / (high - low), 0, 1)


def _usable(paths: Iterable[Path]) -> Iterator[Base]:
    for path in paths:
        image = imread(path)
        if image.ndim not in (2, 3) or min(image.shape[:2]) < SIZE or (image.ndim == 3 and image.shape[2] not in (3, 4)):
            continue
        first = [(n - SIZE) // 2 for n in image.shape[:2]]
        middle = image[first[0] : first[0] + SIZE, first[1] : first[1] + SIZE]
        flat = np.mean((middle[1:, 1:] == middle[:-1, 1:]) & (middle[1:, 1:] == middle[1:, :-1]))
        if flat < _FLATTEST and np.ptp(np.percentile(middle, (0.5, 99.5))) > 0:
            yield Base(path.stem[:24], stretched(middle))


def _spread(bases: list[Base], count: int) -> list[Base]:
    return [bases[i] for i in sorted(set(np.linspace(0, len(bases) - 1, min(count, len(bases))).round().astype(int)))]
