"""Fit a head to training samples: weights of classes, the strength of the penalty, and where to start from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import FallbackWarning
from napari_dinov3.parallel import one_library_thread
from napari_dinov3.progress import Job
from napari_dinov3.segment.example_heads import PrototypeHead, TreeHead
from napari_dinov3.segment.fitted_probe import FittedProbe
from napari_dinov3.segment.heads import ClassWeight, FloatArray, Head, KernelHead, LinearHead
from napari_dinov3.segment.probe_options import DEFAULT_C, ProbeOptions
from napari_dinov3.segment.regions import held_out, label_regions
from napari_dinov3.segment.strength import choose_strength_steps
from napari_dinov3.segment.training import TrainingSet


def fit_head_steps(
    options: ProbeOptions,
    samples: TrainingSet,
    *,
    scaling: tuple[FloatArray, FloatArray],
    stride: float,
    rng: np.random.Generator,
    start: FittedProbe | None = None,
) -> Job[tuple[Head | None, dict[str, Any]]]:
    """Fit the head that the options name.

    Parameters
    ----------
    options : ProbeOptions
        Any head but the decoder, which takes whole planes.
    samples : TrainingSet
        Standardised.
    scaling : (mean, scale)
        As the samples were standardised: ``(dim,)`` each.
    stride : float
        Pixels between patches.
    rng : numpy Generator
        Landmarks, folds and seeds.
    start : FittedProbe, optional
        Solution of an earlier fit of the same head to the same classes.

    Returns
    -------
    head : Head or None
        None where there is one class only.
    report : dict
        What was chosen on the way, JSON-able.
    """
    if len(samples.classes) == 1:
        return None, {}
    features, codes = samples.features, samples.codes
    weight = sample_weights(codes, samples.classes, options.class_weight)
    if options.head == "prototypes":
        return PrototypeHead.fit(features, codes, weight), {}
    if options.head in ("forest", "boosting"):
        kind = options.head
        return TreeHead("forest" if kind == "forest" else "boosting", features, codes, weight, seed=int(rng.integers(2**31))), {}
    with one_library_thread():
        span = None
        if options.head == "kernel":
            span = KernelHead.span(features, codes, landmarks=options.landmarks, rng=rng)
        inputs = features if span is None else span.scores(features)
    strength, report = yield from _strength_steps(options, samples, inputs, weight, stride, rng)
    with one_library_thread():
        first = _start(start, span, scaling) if start is not None else None
        linear = LinearHead.fit(inputs, codes, weight=weight, strength=strength, start=first)
    return (linear if span is None else span.with_linear(linear)), {"C": strength, **report}


def _strength_steps(
    options: ProbeOptions,
    samples: TrainingSet,
    inputs: FloatArray,
    weight: npt.NDArray[np.float64],
    stride: float,
    rng: np.random.Generator,
) -> Job[tuple[float, dict[str, Any]]]:
    """Take C as given, or choose it on held-out regions."""
    if isinstance(options.C, float | int):
        return float(options.C), {}
    fold = held_out(samples.codes, label_regions(samples.where, samples.codes, stride=stride), rng)
    if fold is None:
        default = DEFAULT_C[options.head]
        warnings.warn(
            f"C cannot be cross-validated: a class is painted in one place only. C={default:g} is used. "
            "Paint each class in two places or more that are apart.",
            FallbackWarning,
            stacklevel=2,
        )
        return default, {}
    choice = yield from choose_strength_steps(inputs, samples.codes, weight, fold, default=DEFAULT_C[options.head])
    return choice.strength, {"C_losses": {f"{strength:g}": loss for strength, loss in choice.losses.items()}}


def _start(start: FittedProbe, span: KernelHead | None, scaling: tuple[FloatArray, FloatArray]) -> LinearHead | None:
    """Express an earlier solution in the present scaling, and for a kernel in the span of the present landmarks."""
    mean, scale = scaling
    if span is None and isinstance(start.head, LinearHead):
        weights = start.head.weights * (scale / start.scale)[:, None]
        bias = start.head.bias + ((mean - start.mean) / start.scale) @ start.head.weights
        return LinearHead(weights.astype(np.float32), bias.astype(np.float32))
    if span is not None and isinstance(start.head, KernelHead):
        landmarks = (span.landmarks * scale + mean - start.mean) / start.scale
        linear = span.like(start.head.scores(landmarks) - start.head.bias)
        return LinearHead(linear.weights, start.head.bias)
    return None


def sample_weights(codes: npt.NDArray[np.intp], classes: tuple[int, ...], class_weight: ClassWeight) -> npt.NDArray[np.float64]:
    """Weigh samples by class, with a mean of 1.

    Parameters
    ----------
    codes : (n,) ints
        Class index of each sample.
    classes : tuple of int
        Label values.
    class_weight : {"balanced"}, mapping from label value to weight, or None
        As in :class:`~napari_dinov3.segment.probe.Probe`; classes a mapping leaves out weigh 1.
    """
    weight = class_weights(codes, classes, class_weight)[codes]
    normalised: npt.NDArray[np.float64] = weight / weight.mean()
    return normalised


def class_weights(codes: npt.NDArray[np.intp], classes: tuple[int, ...], class_weight: ClassWeight) -> npt.NDArray[np.float64]:
    """Weigh classes: ``(classes,)``; see :func:`sample_weights`."""
    if class_weight is None:
        return np.ones(len(classes))
    if isinstance(class_weight, Mapping):
        return np.array([class_weight.get(value, 1.0) for value in classes])
    each: npt.NDArray[np.float64] = len(codes) / len(classes) / np.maximum(np.bincount(codes, minlength=len(classes)), 1)
    return each


def class_shares(codes: npt.NDArray[np.intp], classes: tuple[int, ...], class_weight: ClassWeight) -> npt.NDArray[np.float64]:
    """Share of each class in the samples, as weighted: ``(classes,)``, summing to 1."""
    totals = np.bincount(codes, weights=sample_weights(codes, classes, class_weight), minlength=len(classes))
    shares: npt.NDArray[np.float64] = totals / totals.sum()
    return shares
