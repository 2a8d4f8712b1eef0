"""The reference experiments: probes on six synthetic modalities, their transfer to each other, and registration by whole patches.

One repeat draws training and test images of every modality, embeds them with each backbone, trains a linear probe on patches
(a patch is positive when any of its pixels is), tests it on every modality, and registers a test image with copies of itself
shifted by whole patches. Repeats differ in their seeds only; everything is reported as mean and standard deviation over them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from napari_dinov3.align.correlation import Rule, estimate_translation
from napari_dinov3.errors import InputError
from napari_dinov3.evaluate.experiment_figures import save_figures
from napari_dinov3.evaluate.experiment_result import SEEDS_A_REPEAT, ExperimentConfig, ExperimentResult, FloatArray
from napari_dinov3.evaluate.experiment_tables import save_tables
from napari_dinov3.evaluate.metrics import evaluate_labels
from napari_dinov3.features.extract import extract
from napari_dinov3.features.feature_map import FeatureMap
from napari_dinov3.progress import Job, Progress, collect
from napari_dinov3.segment.linear_probe import LinearProbe
from napari_dinov3.segment.patch_labels import patch_labels
from napari_dinov3.synthetic import MODALITIES

RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True, slots=True, eq=False)
class _Images:
    """Images of one modality in one repeat, and their patch labels."""

    training: npt.NDArray[np.uint8]
    test: npt.NDArray[np.uint8]
    training_masks: npt.NDArray[np.bool_]
    test_masks: npt.NDArray[np.bool_]


def run_experiments(
    *,
    seeds: int = 5,
    out: str | Path | None = None,
    config: ExperimentConfig | None = None,
    on_progress: Callable[[Progress], object] | None = None,
) -> ExperimentResult:
    """Redo the reference experiments.

    Parameters
    ----------
    seeds : int
        Repeats, with the seeds 0, 1, 2, ...; spread is reported over them.
    out : path, optional
        Folder for tables and pictures; nothing is written by default.
    config : ExperimentConfig, optional
        Anything else that can be chosen; its seeds are replaced by `seeds`.
    on_progress : callable, optional
        Called with each :class:`~napari_dinov3.progress.Progress`.

    Returns
    -------
    result : ExperimentResult
        :func:`~napari_dinov3.evaluate.experiment_tables.to_markdown` writes it as a report.

    Raises
    ------
    InputError
        For fewer than one repeat.
    MissingDependencyError
        If pictures are asked for and matplotlib is missing.
    """
    if seeds < 1:
        raise InputError(f"seeds={seeds}", "at least one repeat", "Choose 5 for a mean and a spread")
    chosen = replace(config or ExperimentConfig(), seeds=tuple(range(seeds)))
    result = collect(run_experiments_steps(chosen), on_progress)
    if out is not None:
        save_report(result, out)
    return result


def save_report(result: ExperimentResult, folder: str | Path) -> tuple[Path, ...]:
    """Write all tables as Markdown and CSV and the heat maps as PNG.

    Parameters
    ----------
    result : ExperimentResult
        What was measured.
    folder : path
        Made if it is not there.

    Returns
    -------
    written : tuple of Path

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed; the tables are written nevertheless.
    """
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    return (*save_tables(result, out), *save_figures(result, out))


def run_experiments_steps(config: ExperimentConfig | None = None) -> Job[ExperimentResult]:
    """Redo the reference experiments step by step; see :func:`run_experiments`.

    Yields
    ------
    progress : Progress
        After each modality of each backbone and repeat.
    """
    config = config or ExperimentConfig()
    kinds, nets, repeats = len(config.modalities), len(config.backbones), len(config.seeds)
    accuracy, f1 = np.full((2, repeats, nets, kinds, kinds), np.nan)
    positives = np.empty((repeats, kinds))
    errors = np.empty((repeats, nets, kinds, len(config.shifts), len(RULES)))
    total = repeats * nets * kinds
    yield Progress(0, total, "Drawing images")
    for s, seed in enumerate(config.seeds):
        drawn = [_draw(modality, seed, config) for modality in config.modalities]
        for b, backbone in enumerate(config.backbones):
            tests = [extract(images.test, backbone=backbone) for images in drawn]
            truths = [_on_patches(images.test_masks, maps) for images, maps in zip(drawn, tests, strict=True)]
            positives[s] = [truth.mean() for truth in truths]
            for m, images in enumerate(drawn):
                probe = _train(images, backbone, config)
                for t, (maps, truth) in enumerate(zip(tests, truths, strict=True)):
                    report = evaluate_labels(probe.predict_patches(maps).astype(bool), truth, ignore_label=None)
                    accuracy[s, b, m, t] = report.accuracy
                    f1[s, b, m, t] = report.f1[report.classes.index(1)] if 1 in report.classes else np.nan
                errors[s, b, m] = _register(images.test[0], backbone, config.shifts)
                done = (s * nets + b) * kinds + m + 1
                yield Progress(done, total, f"{config.modalities[m]}, {backbone}, repeat {s + 1} of {repeats}")
    return ExperimentResult(config, accuracy, f1, positives, errors)


def shift_by_patches(image: npt.NDArray[np.uint8], rows: int, cols: int, patch: int) -> npt.NDArray[np.uint8]:
    """Move an image's content by whole patches and blacken what comes into view.

    Parameters
    ----------
    image : (H, W) or (H, W, 3)
        Any image.
    rows, cols : int
        Patches down and to the right; negative up and to the left.
    patch : int
        Pixels a patch.
    """
    moved = np.zeros_like(image)
    to, source = [], []
    for step, length in ((rows * patch, image.shape[0]), (cols * patch, image.shape[1])):
        to.append(slice(max(step, 0), length + min(step, 0)))
        source.append(slice(max(-step, 0), length - max(step, 0)))
    moved[tuple(to)] = image[tuple(source)]
    return moved


def _draw(modality: str, seed: int, config: ExperimentConfig) -> _Images:
    count = config.training + config.test
    samples = [MODALITIES[modality](size=config.size, rng=SEEDS_A_REPEAT * seed + i) for i in range(count)]
    images = np.concatenate([sample.images for sample in samples])
    masks = np.concatenate([sample.masks for sample in samples])
    cut = config.training
    return _Images(images[:cut], images[cut:], masks[:cut], masks[cut:])


def _train(images: _Images, backbone: str, config: ExperimentConfig) -> LinearProbe:
    maps = extract(images.training, backbone=backbone)
    probe = LinearProbe(C=config.C, class_weight=config.class_weight)
    probe.fit_patches(maps, _on_patches(images.training_masks, maps))
    return probe


def _on_patches(masks: npt.NDArray[np.bool_], maps: FeatureMap) -> npt.NDArray[np.bool_]:
    labels: npt.NDArray[np.bool_] = patch_labels(masks, maps.grid, round(maps.stride))
    return labels


def _register(image: npt.NDArray[np.uint8], backbone: str, shifts: tuple[tuple[int, int], ...]) -> FloatArray:
    """Return the error of every shift and rule: ``(shifts, rules)``, in patches."""
    fixed = extract(image[None], backbone=backbone)
    errors = np.empty((len(shifts), len(RULES)))
    for i, (rows, cols) in enumerate(shifts):
        moving = extract(shift_by_patches(image, rows, cols, round(fixed.stride))[None], backbone=backbone)
        for j, rule in enumerate(RULES):
            found = estimate_translation(fixed, moving, rule=rule)
            errors[i, j] = abs(found.rows - rows) + abs(found.cols - cols)
    return errors
