"""Normalised cuts of a stack: how they are wanted, what a solve gives, and what it has done so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args
from weakref import ref

import numpy as np
import numpy.typing as npt

from napari_dinov3.discover.affinity import EPSILON, FloatArray, Weighting
from napari_dinov3.errors import InputError
from napari_dinov3.features.feature_map import FeatureMap

Scaling = Literal["auto", "none", "standardize"]
Stack = Literal["planes", "matched", "joint"]

LEAST_DISTANCE = 0.1
"""At some place along the axis, a tenth of the patches are not where a normal distribution has them."""
LEAST_RATIO = 1.5
"""To the surrogate that goes farthest."""


@dataclass(frozen=True, slots=True)
class CutOptions:
    """How patches are linked, and how the cut is solved.

    Parameters
    ----------
    tau : float or "auto"
        Cosine above which two patches are linked, -1..1. ``"auto"`` tries 0..0.95, and the deciles above, on a sample of
        each plane and takes the threshold with the widest eigengap.
    scaling : {"auto", "none", "standardize"}
        Whether each feature is brought to mean 0 and variance 1 over the stack before the cosine. ``"auto"`` does so for the
        filter bank, whose features have all kinds of sizes (their plain cosines all lie near 1), and takes of it only the
        intensities blurred by 1 to 8 pixels: edges and textures split outlines off from their objects. Features of other
        backbones are compared as they are.
    weighting : {"binary", "cosine"}
        Whether a link counts 1 (the paper) or its cosine.
    epsilon : float
        Affinity of patches that are not linked.
    vectors : int
        How many eigenvectors are kept.
    max_patches : int or "auto"
        Most patches solved directly (see :mod:`napari_dinov3.discover.solve`). ``"auto"``: 65,536, or 8,192 where patches are
        closer than 8 pixels, since features on so fine a grid repeat each other; larger planes are solved on a coarser grid of
        at most 16,384 patches.
    memory_gb : float
        Most memory for the links.
    stack : {"planes", "matched", "joint"}
        ``"planes"``: each plane is cut on its own, as in the paper. ``"matched"``: the same, but each eigenvector takes the sign
        (and the place) that fits the plane before, and all planes have the same side as foreground. ``"joint"``: all planes
        together: one graph, one set of eigenvectors, one split, so that objects keep their side along z or t.
    window : int, optional
        Of the joint graph: only patches of planes at most this far apart are linked. By default a sample of the patches of all
        planes is linked whatever their distance, which suits stacks whose objects look alike throughout; a window suits those
        that change on the way. Binary graph only.
    """

    tau: float | Literal["auto"] = "auto"
    scaling: Scaling = "auto"
    weighting: Weighting = "binary"
    epsilon: float = EPSILON
    vectors: int = 2
    max_patches: int | Literal["auto"] = "auto"
    memory_gb: float = 2.0
    stack: Stack = "planes"
    window: int | None = None

    def __post_init__(self) -> None:
        if self.tau != "auto" and not _is_number(self.tau, -1, 1):
            raise InputError(f"tau={self.tau!r}", "a cosine in -1..1, or 'auto'", "Try tau='auto', or values around 0.2 and 0.9")
        for name, allowed in (("scaling", Scaling), ("weighting", Weighting), ("stack", Stack)):
            if getattr(self, name) not in get_args(allowed):
                raise InputError(f"{name}={getattr(self, name)!r}", f"one of {', '.join(get_args(allowed))}", "Choose another")
        if not 0 < self.epsilon < 1:
            raise InputError(f"epsilon={self.epsilon}", "an affinity in 0..1, without the ends", "Use the paper's 1e-5")
        if self.vectors < 1:
            raise InputError(f"vectors={self.vectors}", "at least one eigenvector", "Use 2")
        if self.max_patches != "auto" and not _is_number(self.max_patches, 4, math.inf):
            raise InputError(f"max_patches={self.max_patches!r}", "at least 4 patches, or 'auto'", "Use 'auto'")
        if not self.memory_gb > 0:
            raise InputError(f"memory_gb={self.memory_gb}", "a positive number of gigabytes", "Use 2")
        self._check_window()

    def _check_window(self) -> None:
        if self.window is None:
            return
        if isinstance(self.window, bool) or not isinstance(self.window, int | np.integer) or self.window < 1:
            raise InputError(f"window={self.window!r}", "a whole number of planes, 1 or more, or None", "Use 2, or leave it out")
        if self.weighting == "cosine":
            raise InputError(
                f"window={self.window} with weighting='cosine'",
                "the binary graph, which alone is kept plane by plane",
                "Leave out the window, or use weighting='binary'",
            )
        if self.stack != "joint":
            raise InputError(
                f"window={self.window} with stack={self.stack!r}", "stack='joint', whose planes are linked", "Add stack='joint'"
            )


@dataclass(frozen=True, slots=True, eq=False)
class NormalisedCut:
    """Solved cuts of all planes.

    Parameters
    ----------
    eigenvectors : (planes, rows, cols, k) float32
        Generalised eigenvectors ``v``, the second smallest eigenvalue first; the entry of largest magnitude is positive.
    eigenvalues : (planes, k) float64
        NaN where the plane has no such eigenvector.
    well_posed : (planes,) bool
        Whether the second eigenvalue stands apart from the third; a mask made otherwise is arbitrary.
    tau : (planes,) float64
        Threshold used.
    density : (planes,) float64
        Part of the pairs of patches that are linked.
    valid : (planes, rows, cols) bool
        Patches that took part: those without NaN.
    stride, first_centre, image_shape
        Where the patches lie, as in :class:`~napari_dinov3.features.feature_map.FeatureMap`.
    options : CutOptions
        How it was solved.
    distance, chance : (planes,) float64
        How far the patches are from one structureless cloud, and how far noise of the same texture comes by chance; see
        :mod:`napari_dinov3.discover.clarity`. NaN where tau was given: the question is asked with ``tau="auto"``.
    clear : (planes,) bool
        Whether the cut is well posed and, with ``tau="auto"``, something stands out. What is cut in noise is not clear.
    """

    eigenvectors: FloatArray = field(repr=False)
    eigenvalues: npt.NDArray[np.float64]
    well_posed: npt.NDArray[np.bool_]
    tau: npt.NDArray[np.float64]
    density: npt.NDArray[np.float64] = field(repr=False)
    valid: npt.NDArray[np.bool_] = field(repr=False)
    stride: float
    first_centre: float
    image_shape: tuple[int, int]
    options: CutOptions
    distance: npt.NDArray[np.float64] = field(repr=False)
    chance: npt.NDArray[np.float64] = field(repr=False)
    clear: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.eigenvectors)


def _is_number(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and low <= float(value) <= high


class Clarity(NamedTuple):
    """How far the patches of a plane are from one cloud, and how far chance takes noise of the same texture.

    Both are Kolmogorov distances from the normal distribution, 0..1, of the patches along the axis of the cut; 0 where there is
    no cut. NaN where the question was not asked.
    """

    distance: float
    chance: float

    @property
    def clear(self) -> bool:
        """Whether something stands out; also where it was not asked."""
        return math.isnan(self.distance) or self.distance >= max(LEAST_DISTANCE, LEAST_RATIO * self.chance)


class PlaneCut(NamedTuple):
    """Solved cut of one plane: ``vectors`` (n, k) at its ``valid`` (rows, cols) patches, and what was found with them."""

    vectors: FloatArray
    values: npt.NDArray[np.float64]
    well_posed: bool
    tau: float
    density: float
    valid: npt.NDArray[np.bool_]
    clarity: Clarity


class SolvedPlanes:
    """What a solve has done so far. Hand the same one to the next run, and a cancelled one goes on where it was.

    It forgets everything when it is used for other features or other options.
    """

    def __init__(self) -> None:
        self._features: Any = None
        self._options: CutOptions | None = None
        self.planes: dict[int, PlaneCut] = {}
        self.shared: Any = None

    def __len__(self) -> int:
        """Count the planes that are finished."""
        return len(self.planes)

    def begin(self, features: FeatureMap, options: CutOptions) -> None:
        """Say what is solved now."""
        known = None if self._features is None else self._features()
        if known is not features or self._options != options:
            self.planes.clear()
            self.shared = None
        self._features, self._options = ref(features), options


def assemble(features: FeatureMap, options: CutOptions, planes: dict[int, PlaneCut]) -> NormalisedCut:
    """Put the cuts of all planes together."""
    rows, cols = features.grid
    vectors = np.zeros((len(features), rows, cols, options.vectors), np.float32)
    for index, plane in planes.items():
        vectors[index][plane.valid] = plane.vectors
    ordered = [planes[index] for index in range(len(features))]
    return NormalisedCut(
        vectors,
        np.stack([plane.values for plane in ordered]),
        np.array([plane.well_posed for plane in ordered], bool),
        np.array([plane.tau for plane in ordered], np.float64),
        np.array([plane.density for plane in ordered], np.float64),
        np.stack([plane.valid for plane in ordered]),
        features.stride,
        features.first_centre,
        features.image_shape,
        options,
        np.array([plane.clarity.distance for plane in ordered], np.float64),
        np.array([plane.clarity.chance for plane in ordered], np.float64),
        np.array([plane.well_posed and plane.clarity.clear for plane in ordered], bool),
    )
