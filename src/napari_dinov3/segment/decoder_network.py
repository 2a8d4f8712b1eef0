"""The network of the decoder and how it is trained; the one module of segmentation that loads torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as functional
from torch import nn

from napari_dinov3.backbones.device import choose_device
from napari_dinov3.segment.decoder_windows import Window
from napari_dinov3.segment.heads import Arrays, FloatArray
from napari_dinov3.segment.probe_options import Loss

WIDTH = 32
BLOCKS = 2
RATE = 3e-3
DECAY = 1e-2


class _Norm(nn.Module):
    """Normalise each patch over its channels, so that a patch does not depend on what is far away in its plane."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        return self.norm(grid.movedim(1, -1)).movedim(-1, 1)


class _Block(nn.Module):
    """3 x 3 convolution, norm and activation, added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate")
        self.norm = _Norm(width)

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        return grid + functional.gelu(self.norm(self.mix(grid)))


class _Network(nn.Module):
    def __init__(self, dim: int, width: int, blocks: int, columns: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(dim, width, 1)
        self.norm = _Norm(width)
        self.blocks = nn.Sequential(*(_Block(width) for _ in range(blocks)))
        self.direct = nn.Conv2d(dim, columns, 1)  # a linear probe beside it, so that it never has less to go by
        self.classify = nn.Conv2d(width, columns, 1)

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        deep = self.blocks(functional.gelu(self.norm(self.reduce(grid))))
        return self.classify(deep) + self.direct(grid)


def build(*, dim: int, width: int, blocks: int, columns: int) -> Any:
    """Make a network with fresh weights."""
    with torch.random.fork_rng(devices=[]):  # the user's own random numbers go on as before
        return _Network(dim, width, blocks, columns)


def load(network: Any, weights: Arrays, device: str) -> str:
    """Put weights in, move the network to its device, and say which; ValueError where names or shapes do not fit."""
    try:
        network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit together: {error}") from error
    chosen = choose_device(device)
    network.to(chosen).eval()
    return chosen


def apply(network: Any, features: FloatArray, device: str) -> FloatArray:
    """Score a plane: ``(rows, cols, dim)`` to ``(rows, cols, k)``."""
    with torch.inference_mode(), _threads():
        grid = torch.from_numpy(np.ascontiguousarray(features, np.float32)).to(device)
        scores: FloatArray = network(grid.movedim(-1, 0)[None])[0].movedim(0, -1).float().cpu().numpy()
        return np.ascontiguousarray(scores)


class Training:
    """A network in training.

    Parameters
    ----------
    dim, classes : int
        Numbers a patch, and classes.
    weights : (classes,) float64
        Weight of each class.
    loss : {"cross-entropy", "dice"}
        What is made small.
    device, epochs, seed
        Where, for how long at most, and the first weights.
    """

    def __init__(
        self, *, dim: int, classes: int, weights: npt.NDArray[np.float64], loss: Loss, device: str, epochs: int, seed: int
    ) -> None:
        self._device, self._loss, self._classes = choose_device(device), loss, classes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._network = _Network(dim, WIDTH, BLOCKS, classes if classes > 2 else 1).to(self._device)
        self._weights = torch.tensor(weights, dtype=torch.float32, device=self._device)
        self._optimizer = torch.optim.AdamW(self._network.parameters(), lr=RATE, weight_decay=DECAY)
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, epochs, eta_min=RATE / 20)
        self._flips = np.random.default_rng(seed)

    def step(self, windows: Sequence[Window]) -> float:
        """Learn from a batch, and return its loss; NaN where nothing in it is there to learn from."""
        self._network.train()
        chosen = [window for window in windows if not window.held_out.all()]
        if not chosen:
            return float("nan")
        with _threads():
            logits, codes = self._logits(chosen, [~window.held_out for window in chosen], mirrored=True)
            loss = self._value(logits, codes)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
            self._optimizer.step()
        return float(loss.detach())

    def measure(self, windows: Sequence[Window], *, held_out: bool) -> tuple[float, float]:
        """Measure the mean intersection over union of the classes, and the loss; and end the epoch."""
        self._schedule.step()
        self._network.eval()
        table = np.zeros((self._classes, self._classes), np.int64)
        losses = []
        with torch.inference_mode(), _threads():
            for window in windows:
                chosen = window.held_out if held_out else np.ones(len(window.codes), bool)
                if chosen.any():
                    logits, codes = self._logits([window], [chosen], mirrored=False)
                    losses.append((float(functional.cross_entropy(logits, codes, weight=self._weights)), int(chosen.sum())))
                    np.add.at(table, (codes.cpu().numpy(), logits.argmax(dim=1).cpu().numpy()), 1)
        both = np.diag(table)
        either = table.sum(axis=0) + table.sum(axis=1) - both
        values, counts = np.array(losses).T
        return float((both[either > 0] / either[either > 0]).mean()), float(np.average(values, weights=counts))

    def state(self) -> Arrays:
        """Copy the weights."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self._network.state_dict().items()}

    def _logits(
        self, windows: Sequence[Window], chosen: Sequence[npt.NDArray[np.bool_]], *, mirrored: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Score labelled pixels of windows, mirrored at random or not: ``(n, classes)``, and their classes ``(n,)``."""
        logits, codes = [], []
        for shape in dict.fromkeys(window.features.shape for window in windows):
            same = [at for at, window in enumerate(windows) if window.features.shape == shape]
            flips = [tuple(np.flatnonzero(self._flips.integers(2, size=2)).tolist()) if mirrored else () for _ in same]
            grids = np.stack([np.flip(windows[at].features, axes) for at, axes in zip(same, flips, strict=True)])
            scores = self._network(torch.from_numpy(grids).to(self._device).movedim(-1, 1))
            for plane, at, axes in zip(scores, same, flips, strict=True):
                places = windows[at].at[chosen[at]].copy()
                for axis in axes:
                    places[:, axis] = shape[axis] - 1 - places[:, axis]
                logits.append(_sampled(plane, places))
                codes.append(torch.from_numpy(windows[at].codes[chosen[at]]))
        every = torch.cat(logits)
        every = torch.cat([torch.zeros_like(every), every], dim=1) if every.shape[1] == 1 else every
        return every, torch.cat(codes).to(self._device)

    def _value(self, logits: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        if self._loss == "cross-entropy":
            return functional.cross_entropy(logits, codes, weight=self._weights)
        chances = logits.softmax(dim=1)
        truth = functional.one_hot(codes, self._classes).float()
        overlap, total = (chances * truth).sum(dim=0), (chances + truth).sum(dim=0)
        present = truth.sum(dim=0) > 0
        weights = self._weights * present
        return 1 - ((2 * overlap + 1) / (total + 1) * weights).sum() / weights.sum()


def _sampled(scores: torch.Tensor, places: npt.NDArray[np.float32]) -> torch.Tensor:
    """Interpolate scores ``(k, rows, cols)`` at places ``(n, 2)`` in patches: ``(n, k)``."""
    size = np.maximum(np.array(scores.shape[1:], np.float32) - 1, 1)
    # places are (row, col), torch samples at (x, y); the outermost patches lie at -1 and 1
    at = torch.from_numpy(np.ascontiguousarray((places / size * 2 - 1)[:, ::-1])).to(scores.device)
    return functional.grid_sample(scores[None], at[None, None], align_corners=True, padding_mode="border")[0, :, 0].T


@contextmanager
def _threads() -> Iterator[None]:
    """Leave one processor core to the rest of the program, such as its window; few cores shared are slower than one."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, (os.cpu_count() or 1) - 1)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
