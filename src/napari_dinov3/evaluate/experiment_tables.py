"""Tables of the reference experiments, each measured figure beside the published one: as rows, Markdown and CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from napari_dinov3.evaluate.experiment_result import ExperimentResult
from napari_dinov3.evaluate.metrics import format_table
from napari_dinov3.evaluate.published import (
    FIRST_REPORT,
    FIRST_REPORT_SHIFT_ERROR,
    FIRST_REPORT_TRANSFER,
    STUDY,
    STUDY_SHIFT_ERROR,
    STUDY_TRANSFER_F1,
)  # fmt: skip


class Table(NamedTuple):
    """One table: its file name, its heading, a sentence, its columns and rows."""

    name: str
    title: str
    note: str
    header: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def tables(result: ExperimentResult) -> tuple[Table, ...]:
    """Lay out every table of a result."""
    matrices = [_transfer(result, metric, i) for i in range(len(result.config.backbones)) for metric in ("accuracy", "f1")]
    return (_same_modality(result), _registration(result), *matrices, _described(result), _first_report_transfer(result))


def to_markdown(result: ExperimentResult) -> str:
    """Write the whole report."""
    config = result.config
    head = [
        "# The reference experiments", "",
        f"{config.training} training and {config.test} test images of {config.size} x {config.size} pixels a modality; a patch "
        f"is positive when any of its pixels is; logistic regression (C = {config.C:g}, class weights {config.class_weight}); "
        f"{len(config.seeds)} repeats, mean ± standard deviation. \"Published\" is the reference study.", "",
    ]  # fmt: skip
    parts = [f"## {table.title}\n\n{table.note}\n\n{format_table(table.header, table.rows)}\n" for table in tables(result)]
    return "\n".join([*head, *parts])


def save_tables(result: ExperimentResult, folder: Path) -> tuple[Path, ...]:
    """Write ``report.md`` and one CSV file a table; numbers in CSV files are full floats without spread signs."""
    report = folder / "report.md"
    report.write_text(to_markdown(result), encoding="utf-8")
    written = [report]
    for table in tables(result):
        path = folder / f"{table.name}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(_csv_header(table))
            writer.writerows([[cell for value in row for cell in _csv_cells(value)] for row in table.rows])
        written.append(path)
    return tuple(written)


class Spread(NamedTuple):
    """Mean and standard deviation over repeats."""

    mean: float
    deviation: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.deviation:.3f}"


def spread(values: npt.NDArray[np.float64]) -> Spread:
    """Summarise repeats: ``(seeds, ...)`` flattened; NaN (no positive patch) left out."""
    known = values[np.isfinite(values)]
    return Spread(float(known.mean()), float(known.std())) if known.size else Spread(float("nan"), float("nan"))


def _same_modality(result: ExperimentResult) -> Table:
    rows: list[tuple[Any, ...]] = []
    for m, modality in enumerate(result.config.modalities):
        for b, backbone in enumerate(result.config.backbones):
            study, first = STUDY.get((modality, backbone)), FIRST_REPORT.get((modality, backbone))
            rows.append((
                modality, backbone, spread(result.positives[:, m]),
                spread(result.accuracy[:, b, m, m]), study.accuracy if study else "", first.accuracy if first else "",
                spread(result.f1[:, b, m, m]), study.f1 if study else "", first.f1 if first else "",
            ))  # fmt: skip
    header = ("modality", "backbone", "positive patches", "accuracy", "published", "first report", "F1", "published F1",
              "first report F1")  # fmt: skip
    return Table("same_modality", "Trained and tested on one modality", "The first report covers three modalities.", header, rows)


def _registration(result: ExperimentResult) -> Table:
    rows: list[tuple[Any, ...]] = []
    for m, modality in enumerate(result.config.modalities):
        for b, backbone in enumerate(result.config.backbones):
            median, diagonal = (spread(result.shift_error[:, b, m, :, rule]) for rule in (0, 1))
            published = STUDY_SHIFT_ERROR if (modality, backbone) in STUDY else ""
            rows.append((modality, backbone, median, published, diagonal, FIRST_REPORT_SHIFT_ERROR.get((modality, backbone), "")))
    shifts = ", ".join(map(str, result.config.shifts))
    note = (
        f"Mean absolute error in patches (rows + columns) over the shifts {shifts}, the uncovered border black. The study used "
        "the median of best-match offsets, the first report the offset with the best diagonal."
    )
    header = ("modality", "backbone", "median rule", "published", "diagonal rule", "first report")
    return Table("registration", "Registration by whole patches", note, header, rows)


def _transfer(result: ExperimentResult, metric: str, backbone: int) -> Table:
    values: npt.NDArray[np.float64] = getattr(result, metric)[:, backbone]
    names, name = result.config.modalities, result.config.backbones[backbone]
    label = {"accuracy": "Accuracy", "f1": "F1"}[metric]
    rows = [(trained, *(spread(values[:, i, j]) for j in range(len(names)))) for i, trained in enumerate(names)]
    return Table(f"transfer_{metric}_{name}", f"{label} of transfer, {name}", "Rows: trained on; columns: tested on.",
                 ("trained on", *names), rows)  # fmt: skip


def _described(result: ExperimentResult) -> Table:
    """Set the transfers the study describes in words beside the range of our means over the same pairs."""
    names = result.config.modalities
    rows: list[tuple[Any, ...]] = []
    for sources, targets, words in STUDY_TRANSFER_F1:
        pairs = [(names.index(a), names.index(b)) for a in sources for b in targets if a in names and b in names]
        means = [spread(result.f1[:, k, a, b]).mean for k in range(len(result.config.backbones)) for a, b in pairs]
        if means:
            rows.append((" or ".join(sources), " or ".join(targets), f"{min(means):.2f}-{max(means):.2f}", words))
    return Table("transfer_described", "Transfers the study describes", "Least and largest mean F1 over the pairs and backbones.",
                 ("trained on", "tested on", "F1 here", "published"), rows)  # fmt: skip


def _first_report_transfer(result: ExperimentResult) -> Table:
    names = result.config.modalities
    rows: list[tuple[Any, ...]] = []
    for (source, target), published in FIRST_REPORT_TRANSFER.items():
        if source in names and target in names:
            pair = (slice(None), slice(None), names.index(source), names.index(target))
            rows.append(
                (source, target, spread(result.accuracy[pair]), published.accuracy, spread(result.f1[pair]), published.f1)
            )
    return Table("transfer_first_report", "Transfers of the first report", "Both backbones together.",
                 ("trained on", "tested on", "accuracy", "published", "F1", "published F1"), rows)  # fmt: skip


def _csv_header(table: Table) -> list[str]:
    first: Sequence[Any] = table.rows[0] if table.rows else ()
    header: list[str] = []
    for column, value in zip(table.header, first, strict=bool(first)):
        header += [f"{column} mean", f"{column} sd"] if isinstance(value, Spread) else [column]
    return header


def _csv_cells(value: Any) -> list[Any]:
    return [round(value.mean, 6), round(value.deviation, 6)] if isinstance(value, Spread) else [value]
