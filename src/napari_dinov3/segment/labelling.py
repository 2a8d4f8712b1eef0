"""From a fitted probe and a feature map to the labels and probabilities of a plane.

Scores are computed on the patch grid, averaged along z where that is asked for, and interpolated to pixels: all of this is
linear, so that for a linear head it equals a 1x1 convolution of the interpolated features. The parts of a joint feature map
are scored on their own grids by a linear head, and by the others in bands of rows of the finest grid. Then, where asked for,
probabilities follow the edges of the image (guided filter), and labels the majority of their neighbours (the median of classes).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import InputError
from napari_dinov3.features.combine import JointArray
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.features.guided_filter import guide_for, guided
from napari_dinov3.features.upsample import upsample
from napari_dinov3.image import Planes, as_planes
from napari_dinov3.parallel import one_library_thread
from napari_dinov3.segment.fitted_probe import FittedProbe, Labels
from napari_dinov3.segment.heads import FloatArray, GridHead, LinearHead
from napari_dinov3.segment.probe_options import ProbeOptions

_BAND_BYTES = 1 << 26
_SURE = 1e-4  # filtered probabilities of 0 and 1 stand for at most these odds
_REACH = 2.5  # standard deviations of the smoothing along z


@dataclass(frozen=True, slots=True)
class ScoreGrid:
    """Scores of a plane on a patch grid: ``(rows, cols, k)``, with the grid's stride and first centre in pixels."""

    scores: FloatArray
    stride: float
    first_centre: float


class Labeller:
    """Label planes of one feature map with a fitted probe.

    Parameters
    ----------
    fitted : FittedProbe
        What was learned.
    features : FeatureMap
        Made as the one the probe was trained on.
    options : ProbeOptions
        Of the probe: `smooth_z`, `refine` and `median` are applied here.
    image : array-like or Planes, optional
        The image the features were made from; needed where `refine` is above 0.
    coarse : bool
        Only coarse answers will be asked for (`step` above 1), which need no image.

    Raises
    ------
    FeatureMismatchError
        If the features were made differently.
    InputError
        If the image is missing, or has another size.
    """

    def __init__(
        self, fitted: FittedProbe, features: FeatureMap, options: ProbeOptions, image: Any = None, *, coarse: bool = False
    ) -> None:
        features.check_fits(fitted.signature, "The probe and these features")
        self.fitted, self.features, self.options = fitted, features, options
        self.image = _checked_image(image, features) if options.refine > 0 and not coarse else None
        self._kept: OrderedDict[int, list[ScoreGrid]] = OrderedDict()

    def labels(self, plane: int, *, step: int = 1) -> Labels:
        """Label a plane: ``(H, W)``. With `step` above 1 only every so-many-th patch is scored, and nothing is refined."""
        labels = self.fitted.values(self.scores(plane, step=step))
        return _majority(labels, self.options.median) if self.options.median and step == 1 else labels

    def probabilities(self, plane: int, *, step: int = 1) -> FloatArray:
        """Give the probabilities of a plane: ``(classes, H, W)`` float32."""
        chances = self.fitted.probabilities(self.scores(plane, step=step))
        return np.ascontiguousarray(np.moveaxis(chances, -1, 0))

    def scores(self, plane: int, *, step: int = 1) -> FloatArray:
        """Score every pixel of a plane: ``(H, W, k)`` float32, refined where that is asked for."""
        features = self.features
        if not 0 <= plane < len(features):
            raise InputError(f"Plane {plane}", f"one of the planes 0..{len(features) - 1}", "Choose a plane of the stack")
        with one_library_thread():
            grids = score_plane(self.fitted, features, plane, step=step) if step > 1 else self._smoothed(plane)
            layers = (
                upsample(g.scores, image_shape=features.image_shape, stride=g.stride, first_centre=g.first_centre) for g in grids
            )
            scores = next(layers)
            for layer in layers:
                scores += layer
        if step == 1 and self.image is not None and self.fitted.head is not None:
            return self._refined(scores, self.image.plane(plane))
        return scores

    def _smoothed(self, plane: int) -> list[ScoreGrid]:
        """Average the scores of a plane and its neighbours with Gaussian weights."""
        sigma = self.options.smooth_z
        reach = int(_REACH * sigma)
        if reach == 0 or self.fitted.head is None:
            return score_plane(self.fitted, self.features, plane)
        near = [z for z in range(plane - reach, plane + reach + 1) if 0 <= z < len(self.features)]
        weights = np.exp(-0.5 * ((np.array(near) - plane) / sigma) ** 2)
        weights /= weights.sum()
        stacks = [self._kept_scores(z, 2 * reach + 1) for z in near]
        return [
            ScoreGrid(
                np.sum([grid.scores * np.float32(weight) for grid, weight in zip(same, weights, strict=True)], axis=0),
                same[0].stride,
                same[0].first_centre,
            )
            for same in zip(*stacks, strict=True)
        ]

    def _kept_scores(self, plane: int, most: int) -> list[ScoreGrid]:
        found = self._kept.get(plane)
        if found is None:
            found = self._kept[plane] = score_plane(self.fitted, self.features, plane)
        self._kept.move_to_end(plane)
        while len(self._kept) > most:
            self._kept.popitem(last=False)
        return found

    def _refined(self, scores: FloatArray, pixels: npt.NDArray[Any]) -> FloatArray:
        """Let the probability of each class follow the edges of the image."""
        pixels = np.nan_to_num(np.asarray(pixels, np.float32))
        chances = self.fitted.probabilities(scores)
        best = chances.argmax(axis=-1)
        two = chances.shape[-1] == 2
        for code in [1] if two else range(chances.shape[-1]):
            mask = best == code
            if mask.any() and not mask.all():
                chances[..., code] = guided(chances[..., code], guide_for(mask, pixels), radius=self.options.refine)
        np.clip(chances, _SURE, 1 - _SURE, out=chances)
        if two:
            second = chances[..., 1:]
            return np.asarray(np.log(second / (1 - second)), np.float32)
        return np.asarray(np.log(chances), np.float32)


def score_plane(fitted: FittedProbe, features: FeatureMap, plane: int, *, step: int = 1) -> list[ScoreGrid]:
    """Score the patches of a plane, every `step`-th of each axis; grids of several parts add up once interpolated.

    Raises
    ------
    InputError
        If the features are not finite.
    """
    joint, head = features.array, fitted.head
    if isinstance(joint, JointArray) and isinstance(head, LinearHead):
        grids, first = [], 0
        for part in joint.parts:
            every = step if part.stride == features.stride else 1
            grid = finite(part.plane(plane)[::every, ::every], plane)
            grids.append(ScoreGrid(fitted.part_scores(grid, first), part.stride * every, part.first_centre))
            first += part.dim
        return grids
    if isinstance(head, GridHead):
        scores = fitted.scores(finite(features.plane(plane), plane))[::step, ::step]
    elif isinstance(joint, JointArray):
        scores = _in_bands(fitted, joint, plane, step)
    else:
        scores = fitted.scores(finite(features.plane(plane)[::step, ::step], plane))
    return [ScoreGrid(scores, features.stride * step, features.first_centre)]


def finite(features: FloatArray, plane: int) -> FloatArray:
    """Refuse features that are not finite."""
    # a sum is finite where all are, costs a third of asking each, and only overflow beyond any feature could deceive it
    if not np.isfinite(features.sum()) and not np.isfinite(features).all():
        raise InputError(
            f"Features of plane {plane} hold NaN or infinite values", "finite features", "Extract the features again"
        )
    return features


def _in_bands(fitted: FittedProbe, joint: JointArray, plane: int, step: int) -> FloatArray:
    _, rows, cols, dim = joint.shape
    band = max(1, _BAND_BYTES // (4 * cols * dim) // step) * step
    parts = [
        fitted.scores(finite(joint.rows(plane, start, min(start + band, rows))[::step, ::step], plane))
        for start in range(0, rows, band)
    ]
    return np.concatenate(parts)


def _majority(labels: Labels, size: int) -> Labels:
    """Give every pixel the class most frequent in the square around it; for two classes this is the median."""
    from scipy import ndimage

    values = np.unique(labels)
    if len(values) == 1:
        return labels
    most = np.full(labels.shape, -1, np.float32)
    chosen = labels.copy()
    for value in values:
        share = ndimage.uniform_filter((labels == value).astype(np.float32), size, mode="nearest")
        better = share > most + np.float32(1e-4)  # rounding decides no tie
        most[better], chosen[better] = share[better], value
    return chosen


def _checked_image(image: Any, features: FeatureMap) -> Planes:
    if image is None:
        raise InputError(
            "This probe follows the edges of the image (refine above 0), and no image was given",
            "the image the features were made from",
            "Pass image=..., or train with refine=0",
        )
    planes = image if isinstance(image, Planes) else as_planes(image)
    if planes.shape != (len(features), *features.image_shape):
        raise InputError(
            f"An image of shape {planes.shape} beside features of {len(features)} planes of {features.image_shape}",
            "the image the features were made from",
            "Pass that image, with the same axes",
        )
    return planes
