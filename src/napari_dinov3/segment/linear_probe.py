"""The linear probe: logistic regression on patch features, a 1x1 convolution followed by bilinear interpolation.

References
----------
.. [1] G. Alain, Y. Bengio, "Understanding intermediate layers using linear classifier probes", arXiv:1610.01644.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_dinov3.errors import InputError
from napari_dinov3.segment.heads import ClassWeight, FloatArray, LinearHead
from napari_dinov3.segment.operating_point import Prior
from napari_dinov3.segment.probe import Probe
from napari_dinov3.segment.probe_options import PerClass, Strength

_OF_OTHER_HEADS = ("landmarks", "loss", "epochs", "device")


class LinearProbe(Probe):
    """Learn classes from scribbles with logistic regression on standardised features.

    Parameters
    ----------
    C, class_weight, prior, thresholds, max_samples, smooth_z, refine, median, rng
        As in :class:`~napari_dinov3.segment.probe.Probe`.

    Examples
    --------
    >>> import numpy as np, napari_dinov3 as nd
    >>> image = np.zeros((64, 64)); image[:, 32:] = 1
    >>> scribbles = np.zeros((64, 64), int); scribbles[8, 4:20] = 1; scribbles[8, 44:60] = 2
    >>> features = nd.extract(image, backbone="filter-bank")
    >>> nd.LinearProbe().fit(features, scribbles).predict(features)[0, 50, [5, 60]]
    array([1, 2], dtype=uint8)
    """

    def __init__(
        self,
        *,
        C: Strength = None,
        class_weight: ClassWeight | PerClass = "balanced",
        prior: Prior = "estimated",
        thresholds: PerClass | None = None,
        max_samples: int = 20_000,
        smooth_z: float = 0.0,
        refine: float = 0.0,
        median: int = 0,
        rng: int | np.random.Generator = 0,
    ) -> None:
        super().__init__(
            head="linear",
            C=C,
            class_weight=class_weight,
            prior=prior,
            thresholds=thresholds,
            max_samples=max_samples,
            smooth_z=smooth_z,
            refine=refine,
            median=median,
            rng=rng,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Options it was made with: JSON-able."""
        return {name: value for name, value in super().settings.items() if name not in _OF_OTHER_HEADS}

    def convolution(self) -> tuple[FloatArray, FloatArray]:
        """Return the probe as a 1x1 convolution of the features as they are.

        Returns
        -------
        weights : (dim, k) float32
            ``k`` is 1 for two classes (positive: the second), else the number of classes.
        bias : (k,) float32
            ``features @ weights + bias`` are the scores.
        """
        fitted = self.fitted
        if not isinstance(fitted.head, LinearHead):
            raise InputError(
                "This probe saw one class only",
                "two classes, so that there is something to weigh",
                "Paint a second class and fit again",
            )
        weights = fitted.head.weights / fitted.scale[:, None]
        return weights, fitted.head.bias + fitted.offset - fitted.mean @ weights
