"""What the reference experiments repeat, and what they measure: plain data, for the run, its tables and its pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.evaluate.published import CNX, VIT
from napari_dinov3.synthetic import MODALITIES

if TYPE_CHECKING:
    from napari_dinov3.segment.heads import ClassWeight

FloatArray = npt.NDArray[np.float64]
SEEDS_A_REPEAT = 1000


@dataclass(frozen=True, slots=True)
class ExperimentConfig:
    """What is repeated, and how often.

    Parameters
    ----------
    seeds : tuple of int
        One repeat each; image `i` of repeat `s` has the seed ``1000 * s + i``.
    modalities, backbones : tuple of str
        Names of generators and of backbones whose patches tile the image.
    training, test : int
        Images of each modality.
    size : int
        Side of an image in pixels.
    shifts : tuple of (rows, cols)
        Registration: whole patches the content is moved by.
    C : float
        Inverse strength of the probe's L2 penalty. 0.1 because an image of 128 pixels has 64 patches and a projection up to
        1,024 numbers each: at 1 the probe follows the noise of the 640 training patches.
    class_weight : {"balanced"}, mapping or None
        As in :class:`~napari_dinov3.segment.linear_probe.LinearProbe`.
    """

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    modalities: tuple[str, ...] = tuple(MODALITIES)
    backbones: tuple[str, ...] = (CNX, VIT)
    training: int = 10
    test: int = 5
    size: int = 128
    shifts: tuple[tuple[int, int], ...] = ((1, 1), (0, 2), (-2, -1))
    C: float = 0.1
    class_weight: ClassWeight = "balanced"

    def __post_init__(self) -> None:
        unknown = set(self.modalities) - set(MODALITIES)
        if unknown or not self.modalities or not self.backbones or not self.seeds:
            raise InputError(
                f"Modalities {self.modalities}, backbones {self.backbones}, seeds {self.seeds}",
                f"at least one of each, modalities out of {', '.join(MODALITIES)}",
                "Correct the names",
            )
        if not 1 <= self.training + self.test <= SEEDS_A_REPEAT or min(self.training, self.test) < 1:
            raise InputError(
                f"{self.training} training and {self.test} test images",
                f"at least one of each, at most {SEEDS_A_REPEAT} together",
                "Choose other numbers",
            )


@dataclass(frozen=True, slots=True, eq=False)
class ExperimentResult:
    """What was measured. Axes follow the order of the configuration.

    Parameters
    ----------
    config : ExperimentConfig
        What was run.
    accuracy, f1 : (seeds, backbones, trained, tested) float64
        Of patches of all test images together; F1 of the positive class.
    positives : (seeds, modalities) float64
        Part of the test patches that is positive.
    shift_error : (seeds, backbones, modalities, shifts, rules) float64
        Absolute row error plus absolute column error, in patches; rules are ``"median"`` and ``"diagonal"``.
    """

    config: ExperimentConfig
    accuracy: FloatArray = field(repr=False)
    f1: FloatArray = field(repr=False)
    positives: FloatArray = field(repr=False)
    shift_error: FloatArray = field(repr=False)
