"""Pictures of results as PNG files: confusion matrices, compared backbones, transfer, thumbnails. They need matplotlib.

Matplotlib is an optional package; every function raises :class:`~napari_dinov3.errors.MissingDependencyError` without it, and
all numbers are in tables anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_dinov3.errors import MissingDependencyError
from napari_dinov3.evaluate.backbones import BackboneComparison
from napari_dinov3.io.atomic import written_whole

_DPI = 120
_MOST_NUMBERS = 25  # classes up to which cells have room for their number


def save_confusion(counts: npt.NDArray[np.int64], classes: Sequence[str], path: str | Path, *, overwrite: bool = False) -> Path:
    """Draw a confusion matrix, coloured by the part of each true class.

    Parameters
    ----------
    counts : (classes, classes) int
        By true class (row) and predicted class (column).
    classes : sequence of str
        Names.
    path : path
        PNG to write.
    overwrite : bool
        Whether an existing file may be replaced.
    """
    part = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return save_matrix(
        part, classes, path, labels=("predicted", "true", "part of the true class"), numbers=counts, overwrite=overwrite
    )


def save_matrix(
    values: npt.NDArray[np.float64],
    names: Sequence[str],
    path: str | Path,
    *,
    labels: tuple[str, str, str],
    numbers: npt.NDArray[Any] | None = None,
    title: str = "",
    overwrite: bool = False,
) -> Path:
    """Draw a square matrix of values 0..1 with a number in each cell.

    Parameters
    ----------
    values : (n, n) floats
        Colours.
    names : sequence of str
        Of rows and columns.
    path, overwrite
        As in :func:`save_confusion`.
    labels : (column axis, row axis, colour bar)
        Texts.
    numbers : (n, n), optional
        Written in the cells; the values by default.
    title : str
        Above.
    """
    side = max(3.2, 0.42 * len(names) + 2.2)
    figure = _figure((side + 1.0, side))
    axes = figure.add_subplot()
    picture = axes.imshow(values, vmin=0, vmax=1, cmap="viridis")
    shown = values if numbers is None else numbers
    if len(names) <= _MOST_NUMBERS:
        for (row, col), number in np.ndenumerate(shown):
            if np.isfinite(number):
                text = str(number) if isinstance(number, np.integer) else f"{number:.2f}"
                axes.text(
                    col, row, text, ha="center", va="center", fontsize=8, color="black" if values[row, col] > 0.6 else "white"
                )
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set(xlabel=labels[0], ylabel=labels[1], title=title)
    figure.colorbar(picture, ax=axes, label=labels[2], shrink=0.8)
    return _save(figure, path, overwrite)


def save_comparison(comparison: BackboneComparison, path: str | Path, *, measure: str = "f1", overwrite: bool = False) -> Path:
    """Draw compared backbones: a bar for each mean, a line for the standard deviation, a dot for each fold.

    Parameters
    ----------
    comparison : BackboneComparison
        What to draw.
    path, overwrite
        As in :func:`save_confusion`.
    measure : {"f1", "iou", "accuracy"}
        Which.
    """
    scores = [score for score in comparison.scores if not score.problem][::-1]
    figure = _figure((7, 0.42 * len(scores) + 1.2))
    axes = figure.add_subplot()
    places = np.arange(len(scores))
    axes.barh(
        places, [one.mean(measure) for one in scores], xerr=[one.spread(measure) for one in scores], color="#6baed6", capsize=3
    )
    for place, one in zip(places, scores, strict=True):
        axes.plot(one.values[measure], np.full(len(one.values[measure]), place), ".", color="black", alpha=0.6)
    axes.set_yticks(places, [f"{one.name}, stride {one.stride:g}" for one in scores], fontsize=8)
    axes.set(xlim=(0, 1), xlabel=f"{ {'f1': 'F1', 'iou': 'IoU', 'accuracy': 'accuracy'}[measure] } on planes not trained on")
    return _save(figure, path, overwrite)


def save_montage(pictures: npt.NDArray[np.uint8], titles: Sequence[str], path: str | Path, *, overwrite: bool = False) -> Path:
    """Draw small pictures in rows, each with its title.

    Parameters
    ----------
    pictures : (n, H, W) or (n, H, W, 3) uint8
        At least one.
    titles : sequence of str
        One a picture.
    path, overwrite
        As in :func:`save_confusion`.
    """
    columns = min(8, len(pictures))
    rows = -(-len(pictures) // columns)
    figure = _figure((1.7 * columns, 1.95 * rows))
    cells = figure.subplots(rows, columns, squeeze=False)
    for cell in cells.flat:
        cell.set_axis_off()
    for cell, picture, title in zip(cells.flat, pictures, titles, strict=False):
        cell.imshow(picture, cmap="gray", vmin=0, vmax=255)
        cell.set_title(title, fontsize=6)
    return _save(figure, path, overwrite)


def _figure(size: tuple[float, float]) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError(
            "matplotlib is not installed",
            "the optional package that draws pictures",
            'Install it with: pip install "napari-dinov3[plots]"; the tables hold the same figures',
        ) from None
    return Figure(figsize=size, layout="constrained")


def _save(figure: Any, path: str | Path, overwrite: bool) -> Path:
    with written_whole(path, overwrite=overwrite) as part:
        figure.savefig(part, dpi=_DPI, format="png")
    return Path(path).absolute()
