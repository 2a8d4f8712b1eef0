"""Which backbone and head suit these labels: the same planes held out for all, with spread and time.

Only labelled planes are read and embedded, at most `max_planes` of them, drawn evenly: a stack of any size is compared in the
memory of a few planes. The intensity window is therefore that of these planes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.backbones.registry import backbone_facts, choose_backbone, readiness
from napari_dinov3.errors import InputError
from napari_dinov3.evaluate.cross_validation import MEASURES, cross_validate_steps
from napari_dinov3.evaluate.metrics import Report
from napari_dinov3.evaluate.tables import rows_to_csv, rows_to_markdown
from napari_dinov3.features.extract import extract_steps
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.image import Planes, as_planes
from napari_dinov3.progress import Job, collect, part_of
from napari_dinov3.segment.heads import HeadName
from napari_dinov3.segment.probe import Probe
from napari_dinov3.segment.scribbles import Scribbles, labelled_planes

NAN = float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class BackboneScore:
    """One backbone with one head.

    Parameters
    ----------
    backbone, head : str
        Which.
    stride : float
        Pixels between patch centres.
    values : mapping of str to (folds,) float64
        ``accuracy``, ``f1`` and ``iou`` (means over classes) of each fold; empty where it failed.
    extract_seconds, probe_seconds : float
        To embed one plane, and to train and label in one fold.
    report : Report or None
        Of all folds together.
    problem : str
        Why there is nothing; empty where all went well.
    told : str
        What was held out, and what to beware of.
    """

    backbone: str
    head: str
    stride: float = NAN
    values: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict, repr=False)
    extract_seconds: float = NAN
    probe_seconds: float = NAN
    report: Report | None = field(default=None, repr=False)
    problem: str = ""
    told: str = ""

    def mean(self, measure: str = "f1") -> float:
        """Give the mean over folds; NaN where it failed."""
        return float(np.nanmean(self.values[measure])) if measure in self.values else NAN

    def spread(self, measure: str = "f1") -> float:
        """Give the standard deviation over folds."""
        return float(np.nanstd(self.values[measure])) if measure in self.values else NAN

    @property
    def name(self) -> str:
        """Backbone and head in a few letters."""
        return f"{self.backbone}, {self.head}"


@dataclass(frozen=True, slots=True, eq=False)
class BackboneComparison:
    """Backbones and heads on the same labels, the best mean F1 first.

    Parameters
    ----------
    scores : tuple of BackboneScore
        One a backbone and head; those that failed come last.
    planes : tuple of int
        Planes that were used.
    folds : int
        Blocks of planes, or parts of a single one, that were held out in turn.
    """

    scores: tuple[BackboneScore, ...]
    planes: tuple[int, ...]
    folds: int

    @property
    def best(self) -> BackboneScore:
        """The one with the highest mean F1."""
        return self.scores[0]

    def as_rows(self) -> list[dict[str, Any]]:
        """List one row a backbone and head."""
        return [
            {
                "backbone": one.backbone, "head": one.head, "stride": one.stride,
                **{name: one.mean(name) for name in MEASURES}, **{f"{name}_sd": one.spread(name) for name in MEASURES},
                "extract_s_per_plane": one.extract_seconds, "probe_s_per_fold": one.probe_seconds, "problem": one.problem,
            }
            for one in self.scores
        ]  # fmt: skip

    def to_csv(self) -> str:
        """Write the rows as comma-separated text."""
        return rows_to_csv(self.as_rows())

    def to_markdown(self) -> str:
        """Write a table with mean ± standard deviation over the folds."""
        rows = [
            {
                "backbone": one.backbone, "head": one.head, "stride": f"{one.stride:g}",
                **{name: f"{one.mean(name):.3f} ± {one.spread(name):.3f}" for name in MEASURES},
                "extract (s a plane)": one.extract_seconds, "probe (s a fold)": one.probe_seconds,
            }
            if not one.problem
            else {
                "backbone": one.backbone, "head": one.head, "stride": "", **dict.fromkeys(MEASURES, ""),
                "extract (s a plane)": one.problem, "probe (s a fold)": "",
            }
            for one in self.scores
        ]  # fmt: skip
        return f"{rows_to_markdown(rows)}\n\n{self.summary()}"

    def summary(self) -> str:
        """Say what was compared on what."""
        return f"{self.best.told} Mean and standard deviation over the folds."


def compare_backbones(image: Any, labels: Scribbles, **options: Any) -> BackboneComparison:
    """Compare backbones and heads on labels of an image, cross-validated by plane.

    Parameters
    ----------
    image : array-like, Planes or opened file
        Anything :func:`napari_dinov3.as_planes` accepts.
    labels : (planes, H, W) array-like or mapping
        Scribbles or dense labels, best of two planes or more, see :func:`~napari_dinov3.evaluate.cross_validate`.
    **options
        Of :func:`compare_backbones_steps`.

    Examples
    --------
    >>> import napari_dinov3 as nd
    >>> sample = nd.synthetic.em(planes=4, size=64, rng=0)
    >>> found = nd.evaluate.compare_backbones(sample.images, sample.masks, backbones=["filter-bank"], heads=["linear"], folds=2)
    >>> found.best.mean("f1") > 0.9
    True
    """
    return collect(compare_backbones_steps(image, labels, **options))


def compare_backbones_steps(
    image: Any,
    labels: Scribbles,
    *,
    backbones: Sequence[str] = ("filter-bank",),
    heads: Sequence[HeadName] = ("linear", "kernel"),
    strides: Sequence[int | None] = (None,),
    folds: int = 5,
    max_planes: int = 20,
    memory_gb: float = 2.0,
    **image_options: Any,
) -> Job[BackboneComparison]:
    """Compare step by step; see :func:`compare_backbones`.

    Parameters
    ----------
    image, labels
        As in :func:`compare_backbones`.
    backbones, heads : sequence of str
        Every backbone with every head. A backbone that is not ready, or fails, is named in the result and does not stop the rest.
    strides : sequence of int or None
        Every backbone at these strides as far as it offers them; None for its own.
    folds : int
        Blocks of neighbouring labelled planes.
    max_planes : int
        Most labelled planes used.
    memory_gb : float
        Memory the features of one backbone may take.
    **image_options
        Of :func:`napari_dinov3.as_planes`.

    Raises
    ------
    InputError
        If nothing is to be compared, a name is unknown, nothing or only one class is labelled, or every backbone failed.
    """
    chosen = [(choose_backbone(name)[0], stride) for name in dict.fromkeys(backbones) for stride in dict.fromkeys(strides)]
    chosen = [(name, stride) for name, stride in chosen if stride is None or stride in backbone_facts(name).strides]
    if not chosen or not heads:
        raise InputError("No backbone and head to compare", "at least one of each", "Choose a backbone and a stride it offers")
    planes, numbers, painted = labelled_part(image, labels, max_planes=max_planes, **image_options)
    scores: list[BackboneScore] = []
    for number, (name, stride) in enumerate(chosen):
        one = _one_backbone_steps(planes, painted, name, stride, heads, folds, memory_gb)
        scores += yield from part_of(one, start=100 * number, span=100, total=100 * len(chosen))
    if all(score.problem for score in scores):
        raise InputError(f"No backbone could be used: {scores[0].problem}", "at least one", "Choose another backbone")
    scores.sort(key=lambda score: -np.nan_to_num(score.mean("f1"), nan=-1.0))
    return BackboneComparison(tuple(scores), numbers, len(scores[0].values["f1"]))


def labelled_part(
    image: Any, labels: Scribbles, *, max_planes: int, **image_options: Any
) -> tuple[Planes, tuple[int, ...], dict[int, npt.NDArray[Any]]]:
    """Read the labelled planes of an image, at most `max_planes` of them drawn evenly.

    Returns
    -------
    planes : Planes
        Those, in memory.
    numbers : tuple of int
        Which planes of the image they are.
    labels : dict
        ``{position in planes: (H, W)}``.
    """
    whole = as_planes(image, **image_options)
    count, *shape = whole.shape
    stack = labels if hasattr(labels, "shape") or isinstance(labels, dict) else np.asarray(labels)
    painted = [one.plane for one in labelled_planes(stack, planes=count, shape=(shape[0], shape[1]))]
    if not painted:
        raise InputError(f"No plane of {whole.name!r} with labels", "one or more, better two", "Label some pixels of each class")
    picks = np.unique(np.linspace(0, len(painted) - 1, min(max_planes, len(painted))).round().astype(int))
    numbers = tuple(painted[at] for at in picks)
    images = np.stack([whole.plane(number) for number in numbers])
    flat = not isinstance(stack, dict) and len(stack.shape) == 2
    kept = {at: np.asarray(stack if flat else stack[number]) for at, number in enumerate(numbers)}
    return replace(whole, data=images), numbers, kept


def _one_backbone_steps(
    planes: Planes,
    labels: dict[int, npt.NDArray[Any]],
    backbone: str,
    stride: int | None,
    heads: Sequence[HeadName],
    folds: int,
    memory_gb: float,
) -> Job[list[BackboneScore]]:
    state = readiness(backbone)
    if not state.ready:
        return [BackboneScore(backbone, head, problem=state.message) for head in heads]
    begun = time.perf_counter()
    try:
        extract = extract_steps(planes, backbone=backbone, stride=stride, memory_gb=memory_gb)
        features: FeatureMap = yield from part_of(extract, start=0, span=50, total=100)
    except (InputError, RuntimeError, MemoryError) as error:  # torch says RuntimeError where its memory ends
        return [BackboneScore(backbone, head, problem=_first_line(error)) for head in heads]
    seconds = (time.perf_counter() - begun) / len(planes)
    scores = []
    for number, head in enumerate(heads):
        run = cross_validate_steps(features, labels, probe=Probe(head=head), folds=folds)
        try:
            found = yield from part_of(run, start=50 + 50 * number // len(heads), span=50 // len(heads), total=100)
        except (RuntimeError, MemoryError) as error:
            scores.append(BackboneScore(features.backbone, head, problem=_first_line(error)))
            continue
        values = {name: found.values(name) for name in MEASURES}
        each = found.seconds / len(found.folds)
        told = found.summary()
        scores.append(BackboneScore(features.backbone, head, features.stride, values, seconds, each, found.report, told=told))
    return scores


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
