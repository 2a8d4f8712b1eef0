"""Images with their scribbles that train a probe together with the image in view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import FeatureMismatchError
from napari_dinov3.features.feature_map import FeatureMap

SCALE_TOLERANCE = 1.5  # pixel sizes that differ by more are worth a word


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One image of a training set.

    Parameters
    ----------
    image, layer : str
        Names of the image layer and of the scribbles layer, as they were when it was added.
    features : FeatureMap
        Of the image; only painted planes are read.
    planes : mapping from plane to (rows, cols) array
        The scribbles.
    counts : mapping from label value to int
        Painted pixels of each class.
    lines : tuple of str
        Python that makes ``features`` and ``scribbles`` of it.
    """

    image: str
    layer: str
    features: FeatureMap
    planes: Mapping[int, npt.NDArray[Any]]
    counts: Mapping[int, int]
    lines: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Say what it is in one line."""
        pixels = sum(self.counts.values())
        return f"{self.image} + {self.layer}: {pixels:,} px, classes {', '.join(map(str, self.counts))}"

    def check_fits(self, features: FeatureMap) -> None:
        """Refuse an image whose features were made otherwise.

        Raises
        ------
        FeatureMismatchError
            Naming the image and each difference: backbone, revision (weights, layers, preprocessing), stride, width.
        """
        try:
            features.check_fits(self.features)
        except FeatureMismatchError as error:
            raise FeatureMismatchError(
                f"The training image {self.image!r} does not fit this one: {error.problem.partition(': ')[2]}",
                error.expected,
                "Choose the backbone and stride it was added with, or remove it from the training set",
            ) from error


def scale_warning(examples: Sequence[Example], features: FeatureMap) -> str:
    """Say which training images have pixels of another size; empty where none has."""
    mine = np.array(features.spacing[1:])
    other = [
        example.image
        for example in examples
        if example.features.units[1:] == features.units[1:]
        and np.any(np.abs(np.log(np.array(example.features.spacing[1:]) / mine)) > np.log(SCALE_TOLERANCE))
    ]
    if not other:
        return ""
    return f"Pixels of {', '.join(other)} have another size; the probe may not carry over."


def training_lines(examples: Sequence[Example]) -> list[str]:
    """Write how the maps and scribbles of a training set are made as Python: two lists, `maps` and `painted`."""
    lines = ["maps, painted = [], []"]
    for example in examples:
        lines += [*example.lines, "maps.append(features)", "painted.append(scribbles)"]
    return lines
