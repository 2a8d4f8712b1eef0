"""Pictures of the reference experiments: transfer as heat maps, and one example of each modality with its mask."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import MissingDependencyError
from napari_dinov3.evaluate.experiment_result import ExperimentResult
from napari_dinov3.synthetic import MODALITIES

_LABELS = {"accuracy": "accuracy", "f1": "F1"}
_DPI = 120


def save_figures(result: ExperimentResult, folder: Path) -> tuple[Path, ...]:
    """Draw every picture.

    Parameters
    ----------
    result : ExperimentResult
        What to draw.
    folder : Path
        Where to; it must exist.

    Returns
    -------
    written : tuple of Path

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError("matplotlib is not installed", "the optional package that draws the heat maps",
                                     'Install it with: pip install "napari-dinov3[plots]"') from None  # fmt: skip
    written = [_heat_map(Figure, result, metric, b, folder) for b in range(len(result.config.backbones)) for metric in _LABELS]
    return (*written, _examples(Figure, result, folder))


def _heat_map(figure_class: Any, result: ExperimentResult, metric: str, backbone: int, folder: Path) -> Path:
    values: npt.NDArray[np.float64] = getattr(result, metric)[:, backbone]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty slice")  # a cell without any positive patch stays empty
        mean = np.nanmean(values, axis=0)
    names, name = result.config.modalities, result.config.backbones[backbone]
    figure = figure_class(figsize=(6, 5.2), layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(mean, vmin=0, vmax=1, cmap="viridis")
    for (row, col), value in np.ndenumerate(mean):
        if np.isfinite(value):
            axes.text(col, row, f"{value:.2f}", ha="center", va="center", color="black" if value > 0.6 else "white")
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="tested on", ylabel="trained on", title=f"{_LABELS[metric]}, {name}")
    figure.colorbar(picture, ax=axes, label=f"mean {_LABELS[metric]} of {len(values)} repeats")
    path = folder / f"transfer_{metric}_{name}.png"
    figure.savefig(path, dpi=_DPI)
    return path


def _examples(figure_class: Any, result: ExperimentResult, folder: Path) -> Path:
    names = result.config.modalities
    figure = figure_class(figsize=(2.1 * len(names), 4.6), layout="constrained")
    grid = np.atleast_2d(figure.subplots(2, len(names), squeeze=False))
    for col, name in enumerate(names):
        sample = MODALITIES[name](size=result.config.size, rng=1000 * result.config.seeds[0])
        grid[0, col].imshow(sample.images[0], cmap="gray", vmin=0, vmax=255)
        grid[0, col].set_title(name)
        grid[1, col].imshow(sample.masks[0], cmap="gray")
        for axes in grid[:, col]:
            axes.set_axis_off()
    path = folder / "examples.png"
    figure.savefig(path, dpi=_DPI)
    return path
