"""TokenCut at one tau after the other, scored against known objects: a table and a plot.

References
----------
Wang et al., "Self-supervised transformers for unsupervised object discovery using normalized cut", CVPR 2022, arXiv:2202.11539.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from napari_dinov3.errors import MissingDependencyError
from napari_dinov3.evaluate.corloc import BoolArray, Boxes, DiscoveryScore, Truth, score_discovery
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import Job, Progress, part_of
from napari_dinov3.wording import counted

SWEEP_TAUS = tuple(round(0.1 * step, 1) for step in range(1, 10))
_CURVES = (
    ("corloc", "CorLoc", "o-"),
    ("mean_box_iou", "IoU of the first box", "s--"),
    ("mean_mask_iou", "IoU of the mask", "^-"),
    ("mask_precision", "precision of masks", ":"),
    ("mask_recall", "recall of masks", "-."),
)


def figure_class() -> Any:
    """Give matplotlib's figure, or say that it is missing; call it before long work that ends in a plot."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError(
            "matplotlib is not installed",
            "the optional package that draws the sweep",
            'Install it with: pip install "napari-dinov3[plots]"; the table needs no package',
        ) from None
    return Figure


@dataclass(frozen=True, slots=True)
class TauSweep:
    """Scores at each tau.

    Parameters
    ----------
    taus : tuple of float
        Thresholds.
    scores : tuple of DiscoveryScore
        One a threshold.
    """

    taus: tuple[float, ...]
    scores: tuple[DiscoveryScore, ...]

    @property
    def best(self) -> float:
        """Threshold with the highest CorLoc; the mean box IoU decides between equals."""
        at = max(range(len(self.taus)), key=lambda i: (self.scores[i].corloc, self.scores[i].mean_box_iou))
        return self.taus[at]

    def markdown(self) -> str:
        """Write a table with one row a threshold."""
        names = ("tau", *(item.name for item in fields(DiscoveryScore)))
        lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
        for tau, score in zip(self.taus, self.scores, strict=True):
            planes, *rates = astuple(score)
            lines.append(f"| {tau:g} | {planes} | " + " | ".join(f"{rate:.4f}" for rate in rates) + " |")
        return "\n".join(lines) + "\n"

    def save_plot(self, path: str | Path) -> None:
        """Draw the rates over tau into a picture (PNG, SVG or PDF, by the ending).

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.
        """
        figure = figure_class()(figsize=(6, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for name, label, style in _CURVES:
            values = [getattr(score, name) for score in self.scores]
            if not np.isnan(values).all():
                axes.plot(self.taus, values, style, label=label)
        axes.axvline(self.best, color="0.7", zorder=0)
        axes.set(xlabel="tau (cosine)", ylim=(0, 1), title=f"{counted(self.scores[0].planes, 'plane')}; best tau {self.best:g}")
        axes.legend(fontsize="small")
        figure.savefig(path, dpi=120)

    def csv(self) -> str:
        """Write comma-separated values with a header."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["tau", *(item.name for item in fields(DiscoveryScore))])
        writer.writerows([tau, *astuple(score)] for tau, score in zip(self.taus, self.scores, strict=True))
        return text.getvalue()


def tau_sweep_steps(
    maps: Iterable[FeatureMap], truths: Sequence[Truth], *, taus: Sequence[float] = SWEEP_TAUS, **options: Any
) -> Job[TauSweep]:
    """Run TokenCut at every tau and score it.

    Parameters
    ----------
    maps : iterable of FeatureMap
        Features; their planes, one map after the other, go with `truths`. A generator may extract them one at a time.
    truths : sequence of Truth
        Known objects of each plane.
    taus : sequence of float
        Thresholds, 0.1 to 0.9 by default.
    **options
        Of :func:`napari_dinov3.tokencut`, except `tau`.

    Returns
    -------
    sweep : TauSweep
    """
    import warnings

    from napari_dinov3.discover.tokencut import tokencut_steps
    from napari_dinov3.errors import IllPosedWarning

    boxes: list[list[Boxes]] = [[] for _ in taus]
    masks: list[list[BoolArray]] = [[] for _ in taus]
    total, done = 1000 * len(truths), 0
    for features in maps:
        share = 1000 * len(features) // max(1, len(taus))
        for index, tau in enumerate(taus):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", IllPosedWarning)  # a sweep passes through thresholds that cut nothing
                job = tokencut_steps(features, tau=tau, **options)
                cut = yield from part_of(job, start=min(total, done + share * index), span=share, total=total)
            boxes[index] += list(cut.boxes)
            masks[index] += [cut.mask(plane) for plane in range(len(cut))]
        done += 1000 * len(features)
        yield Progress(min(done, total), total, f"{counted(len(masks[0]), 'plane')} swept")
    return TauSweep(
        tuple(taus), tuple(score_discovery(found, truths, masks=drawn) for found, drawn in zip(boxes, masks, strict=True))
    )
