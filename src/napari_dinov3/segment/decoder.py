"""A light convolutional decoder: a small network on the patch grid, which looks at the neighbours of a patch too.

Trained on labelled pixels only: its scores are interpolated bilinearly at them, unlabelled pixels do not count, and dense masks
are the case where all are labelled. A fifth of the regions of each class is held out; the state with the best mean IoU there is
kept, and training stops when it has not been beaten for a while.

torch is needed to train and to apply it, and is loaded only then.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_dinov3.errors import MissingDependencyError
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import Job, Progress
from napari_dinov3.segment.decoder_windows import Window, cut_windows
from napari_dinov3.segment.fitting import class_weights
from napari_dinov3.segment.heads import Arrays, FloatArray
from napari_dinov3.segment.probe_options import ProbeOptions
from napari_dinov3.segment.regions import held_out, label_regions
from napari_dinov3.segment.training import TrainingSet

PATIENCE = 12  # epochs without a better mean IoU
BATCH = 8
_SURE = 0.01  # held-out loss below which there is nothing left to learn
LEAST_STEPS = 8  # a small set is gone through several times an epoch
_MOST_SURROUND = 20_000


@dataclass(frozen=True, slots=True)
class EpochProgress(Progress):
    """One epoch of training.

    Parameters
    ----------
    epoch : int
        Its number, from 1.
    loss : float
        Mean over its batches.
    miou : float
        Mean over classes of the intersection over union at the held-out pixels (at all, where none could be held out).
    """

    epoch: int = 0
    loss: float = float("nan")
    miou: float = float("nan")


class DecoderHead:
    """Convolutions, norms and activations, from the features of a plane to scores.

    Parameters
    ----------
    weights : dict of name to float32 array
        State of the network.
    device : str
        Where it runs; see :func:`~napari_dinov3.backbones.device.choose_device`.
    """

    def __init__(self, weights: Arrays, device: str = "auto") -> None:
        need_torch()
        from napari_dinov3.segment.decoder_network import build, load

        self._weights = {name: np.asarray(array, np.float32) for name, array in weights.items()}
        first, last = self._weights["reduce.weight"], self._weights["classify.weight"]
        blocks = sum(name.startswith("blocks.") and name.endswith(".mix.weight") for name in self._weights)
        self._network = build(dim=first.shape[1], width=first.shape[0], blocks=blocks, columns=last.shape[0])
        self._device = load(self._network, self._weights, device)

    def grid_scores(self, features: FloatArray) -> FloatArray:
        """Score a plane: ``(rows, cols, dim)`` standardised features to ``(rows, cols, k)``."""
        from napari_dinov3.segment.decoder_network import apply

        return apply(self._network, features, self._device)

    def scores(self, features: FloatArray) -> FloatArray:
        """Score patches without neighbours: ``(n, dim)`` to ``(n, k)``, each as a plane of its own colour."""
        return np.concatenate([self.grid_scores(row[None, None])[0] for row in features])

    def arrays(self) -> Arrays:
        """Return the state of the network."""
        return dict(self._weights)


def need_torch() -> None:
    """Refuse to go on without torch.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingDependencyError(
            "The decoder head needs torch, which is not installed",
            "torch, or another head: 'kernel' and 'linear' need nothing more",
            'Run: pip install "napari-dinov3[dinov3]"',
        )


def fit_decoder_steps(
    options: ProbeOptions,
    maps: Sequence[FeatureMap],
    samples: TrainingSet,
    *,
    scaling: tuple[FloatArray, FloatArray],
    on_patches: bool,
    rng: np.random.Generator,
) -> Job[tuple[DecoderHead, dict[str, Any], FloatArray]]:
    """Train a decoder.

    Parameters
    ----------
    options : ProbeOptions
        `loss`, `epochs`, `device` and `class_weight` count.
    maps : sequence of FeatureMap
        Those that the samples come from.
    samples : TrainingSet
        As gathered, not standardised.
    scaling : (mean, scale)
        Features are standardised by these: ``(dim,)`` each.
    on_patches : bool
        The samples lie on the patch grid instead of the pixels.
    rng : numpy Generator
        Which regions are held out, the order of batches and the first weights.

    Returns
    -------
    head : DecoderHead
        With the best state.
    report : dict
        ``epochs``, a list of (loss, mIoU), ``best_epoch`` and ``held_out``, the number of held-out pixels; JSON-able.
    surround : (m, k) float32
        Scores of patches drawn evenly from the painted planes.
    """
    from napari_dinov3.segment.decoder_network import Training

    regions = label_regions(samples.where, samples.codes, stride=maps[0].stride if not on_patches else 1)
    fold = held_out(samples.codes, regions, rng)
    out = np.zeros(len(samples.codes), bool) if fold is None else fold == 0
    yield Progress(0, options.epochs, "Cutting windows around the labels")
    windows = cut_windows(maps, samples, out, scaling=scaling, on_patches=on_patches, rng=rng)
    weights = class_weights(samples.codes, samples.classes, options.class_weight)
    training = Training(
        dim=samples.features.shape[1],
        classes=len(samples.classes),
        weights=weights,
        loss=options.loss,
        device=options.device,
        epochs=options.epochs,
        seed=int(rng.integers(2**31)),
    )
    curve: list[tuple[float, float]] = []
    best, best_epoch, kept = (-1.0, 0.0), 0, training.state()
    for epoch in range(1, options.epochs + 1):
        loss = float(np.nanmean([training.step(batch) for batch in _batches(windows, rng)]))
        miou, beside = training.measure(windows, held_out=bool(out.any()))
        curve.append((round(loss, 5), round(miou, 5)))
        if (round(miou, 4), -beside) > best:  # of equal mean IoU, the surer one
            best, best_epoch, kept = (round(miou, 4), -beside), epoch, training.state()
        message = f"Epoch {epoch}: loss {loss:.3f}, mIoU {miou:.3f} on {'held-out' if out.any() else 'the'} strokes"
        yield EpochProgress(epoch, options.epochs, message, epoch, loss, miou)
        if epoch - best_epoch >= PATIENCE or (miou > 0.999 and beside < _SURE):
            break
    head = DecoderHead(kept, options.device)
    report = {"epochs": [list(point) for point in curve], "best_epoch": best_epoch, "held_out": int(out.sum())}
    return head, report, _surround(head, maps, samples, scaling, rng)


def _batches(windows: Sequence[Window], rng: np.random.Generator) -> list[list[Window]]:
    """Deal the windows to batches in a new order; few windows come several times."""
    rounds = -(-LEAST_STEPS * min(BATCH, len(windows)) // len(windows))
    order = np.concatenate([rng.permutation(len(windows)) for _ in range(rounds)])
    return [[windows[at] for at in order[start : start + BATCH]] for start in range(0, len(order), BATCH)]


def _surround(
    head: DecoderHead,
    maps: Sequence[FeatureMap],
    samples: TrainingSet,
    scaling: tuple[FloatArray, FloatArray],
    rng: np.random.Generator,
) -> FloatArray:
    """Score patches drawn evenly from the painted planes."""
    painted = np.unique(samples.where[:, :2], axis=0)
    share = max(1, _MOST_SURROUND // len(painted))
    found = []
    for number, plane in painted:
        scores = head.grid_scores((maps[number].plane(int(plane)) - scaling[0]) / scaling[1])
        scores = scores.reshape(-1, scores.shape[-1])
        found.append(scores if len(scores) <= share else scores[rng.choice(len(scores), share, replace=False)])
    every = np.concatenate(found)
    return every[np.isfinite(every).all(axis=1)]
