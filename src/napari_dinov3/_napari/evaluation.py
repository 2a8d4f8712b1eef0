"""Measuring and comparing in a viewer: layers to planes of labels, results to cells, bars and scripts."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

from napari_dinov3._napari import script
from napari_dinov3._napari.companion import read_companion
from napari_dinov3._napari.layers import Source
from napari_dinov3.backbones.registry import choose_backbone, list_backbones, readiness
from napari_dinov3.errors import InputError
from napari_dinov3.evaluate.backbones import BackboneComparison
from napari_dinov3.evaluate.object_metrics import ObjectReport
from napari_dinov3.evaluate.segmentation import SegmentationScores
from napari_dinov3.progress import Job
from napari_dinov3.recipe import CompareConfig, EvaluateConfig, EvaluateObjectsConfig

Scores: TypeAlias = SegmentationScores | ObjectReport


class Bar(NamedTuple):
    """One bar: its name, mean, standard deviation, and the values these are of; all 0..1."""

    name: str
    mean: float
    spread: float
    values: tuple[float, ...]


def cell_text(value: Any) -> str:
    """Write a value for a narrow cell: three digits of a number below 1,000, nothing for NaN or None."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer() and 1 < value < 1000:
        return str(int(value))  # a stride, not a score
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"
    return str(value)


def table_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows with tabs between the cells, as spreadsheets paste them."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None or value != value else value for key, value in row.items()} for row in rows)
    return text.getvalue()


def shade(value: float) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Choose back and front colours of a cell for a value 0..1: dark blue to yellow, with text that is read on it."""
    value = min(max(value, 0.0), 1.0) if value == value else 0.0
    low, high = (38, 41, 59), (253, 214, 92)
    back = tuple(round(a + (b - a) * value) for a, b in zip(low, high, strict=True))
    return (back[0], back[1], back[2]), (20, 20, 20) if value > 0.45 else (240, 240, 240)


def bars_of(comparison: BackboneComparison, measure: str = "f1") -> tuple[Bar, ...]:
    """Turn compared backbones into bars, the best first."""
    several = len({(one.backbone, one.stride) for one in comparison.scores}) > len({one.backbone for one in comparison.scores})
    return tuple(
        Bar(
            f"{one.name}, {one.stride:g} px" if several else one.name,
            one.mean(measure),
            one.spread(measure),
            tuple(map(float, one.values[measure])),
        )
        for one in comparison.scores
        if not one.problem
    )


def backbone_options() -> list[tuple[str, str, str]]:
    """List backbones to compare: name, text, and why it cannot be used; placeholders for tests are left out."""
    options = []
    for facts in list_backbones():
        state, short = readiness(facts.name), facts.name.removeprefix("dinov3-")
        if facts.kind != "random-projection":
            options.append((facts.name, short if state.ready else f"{short} (not here)", "" if state.ready else state.message))
    return options


def backbone_choices() -> tuple[tuple[str, str], ...]:
    """List backbones to choose one of: name and text."""
    return (("auto", "auto (best present)"), *((name, text) for name, text, _ in backbone_options()))


def backbone_problem(name: str) -> str:
    """Say what a backbone still needs; empty where it is ready."""
    state = readiness(choose_backbone(name)[0])
    return "" if state.ready else f"{name} is not ready: {state.message}."


def label_pair(predicted: Source, reference_layer: Any) -> tuple[Any, Any]:
    """Read predicted and reference labels as ``(planes, H, W)`` in the same place."""
    return predicted.planes.data, read_companion(reference_layer, predicted).planes.data


def measure_steps(found: Any, known: Any, config: EvaluateConfig | EvaluateObjectsConfig) -> Job[Scores]:
    """Measure predicted against known labels, as classes or as objects."""
    inputs = {"labels": found, "reference": known}
    return config.steps(*(inputs[name] for name in config.takes))


def shown_scores(scores: Scores) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]]]:
    """Give a summary, the rows of the whole, and one row a plane."""
    if isinstance(scores, SegmentationScores):
        return scores.summary(), scores.as_rows(), scores.plane_rows()
    planes = [{"plane": number, **one.as_rows()[0]} for number, one in enumerate(scores.planes)]
    return scores.total.summary(), scores.as_rows(), planes if len(planes) > 1 else []


def world_config(config: EvaluateConfig, source: Source, *, world: bool) -> EvaluateConfig:
    """Count the tolerance in pixels, or in the world of the predicted layer.

    Raises
    ------
    InputError
        If rows and columns have different units.
    """
    if not world:
        return replace(config, spacing=None, unit="pixel")
    _, row, col = source.planes.units
    if row != col:
        raise InputError(f"Rows are in {row} and columns in {col}", "one unit", "Give the layer one unit, or count in pixels")
    return replace(config, spacing=source.planes.spacing[1:], unit=str(row))


def evaluate_script(predicted: Source, reference: Any, config: EvaluateConfig | EvaluateObjectsConfig) -> str:
    """Write the measurement as Python."""
    known = read_companion(reference, predicted)
    return script.script_of(
        [
            *script.layer_lines(predicted, variable="labels", multiscale=False),
            *script.layer_lines(known, variable="reference", multiscale=False),
            config.to_python(),
            "print(scores.to_markdown())",
        ]
    )


def compare_script(image: Source, labels: Any, config: CompareConfig, *, mask: bool, multiscale: bool) -> str:
    """Write the comparison as Python."""
    painted = read_companion(labels, image)
    dense = ["scribbles = scribbles > 0  # a mask: 0 is the background"] if mask else []
    return script.script_of(
        [
            *script.layer_lines(image, level=0, multiscale=multiscale),
            *script.layer_lines(painted, variable="scribbles", multiscale=False),
            *dense,
            replace(config, axes=script.axes_of(image)).to_python(),
            "print(comparison.to_markdown())",
        ]
    )
