"""How alike the patches of a feature map are: the histogram in which tau is a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_dinov3.discover.affinity import normalise_rows
from napari_dinov3.discover.cut import Scaling
from napari_dinov3.discover.solve_patches import scaling_of
from napari_dinov3.features.feature_map import FeatureMap

_PLANES, _PATCHES = 3, 512


@dataclass(frozen=True, slots=True)
class Similarities:
    """Histogram of cosines.

    Parameters
    ----------
    shares : tuple of float
        Part of the pairs in each of equal bins from -1 to 1; their sum is 1, or 0 where there is no pair.
    """

    shares: tuple[float, ...]

    def bars(self) -> list[tuple[float, float, float]]:
        """List start, end and share of each bin."""
        width = 2 / len(self.shares)
        return [(-1 + i * width, -1 + (i + 1) * width, share) for i, share in enumerate(self.shares)]

    def above(self, tau: float) -> float:
        """Tell which part of the pairs has a cosine above tau, to within a bin."""
        at = (tau + 1) / 2 * len(self.shares)
        whole = min(max(int(at), 0), len(self.shares))
        rest = self.shares[whole] * (1 - (at - whole)) if whole < len(self.shares) else 0.0
        return rest + sum(self.shares[whole + 1 :])


def similarities(features: FeatureMap, *, scaling: Scaling = "auto", bins: int = 80) -> Similarities:
    """Compare a sample of the patches with each other, as the cut does.

    Parameters
    ----------
    features : FeatureMap
        Up to three planes and 512 patches of each are read.
    scaling : str
        As in :class:`~napari_dinov3.discover.cut.CutOptions`.
    bins : int
        Of the histogram.

    Returns
    -------
    similarities : Similarities
        Of pairs of different patches of one plane.
    """
    mean, spread = scaling_of(features, scaling)
    counts = np.zeros(bins)
    for index in np.unique(np.linspace(0, len(features) - 1, _PLANES).round().astype(int)):
        flat = ((features.plane(int(index)) - mean) / spread).reshape(-1, features.dim)
        flat = flat[np.isfinite(flat).all(axis=1)]
        unit = normalise_rows(np.asarray(flat[:: max(1, -(-len(flat) // _PATCHES))], np.float32))
        cosine = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
        counts += np.histogram(np.clip(cosine, -1, 1), bins, (-1, 1))[0]
    return Similarities(tuple((counts / max(1.0, counts.sum())).tolist()))
