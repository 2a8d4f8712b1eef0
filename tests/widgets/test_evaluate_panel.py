"""The Evaluate panel: figures of the library, scripts that repeat them, results that outlive it, reasons for what is off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

import napari_dinov3 as nd
from napari_dinov3._napari.evaluation import cell_text, shade
from napari_dinov3.widgets.evaluate.panel import EvaluatePanel

Open = Callable[[type], Any]
Finish = Callable[[Any], str]
PLACE = {"scale": (2, 0.5, 0.5), "units": ("um", "um", "um")}


@pytest.fixture
def truth() -> np.ndarray:
    labels = np.zeros((3, 64, 64), np.uint8)
    labels[:, 20:44, 24:48] = 1
    return labels


@pytest.fixture
def panel(panel_of: Open, model: Any, truth: np.ndarray) -> Any:
    model.add_labels(truth, name="truth", **PLACE)
    model.add_labels(np.roll(truth, 1, axis=2), name="found", **PLACE)
    panel = panel_of(EvaluatePanel)
    panel.setValue({"predicted": "found", "reference": "truth"})
    return panel


def test_scores_are_those_of_the_library(panel: Any, finish: Finish, truth: np.ndarray) -> None:
    panel.setValue({"tolerance": 0.5, "unit": "world"})
    panel.run()
    assert "Mean IoU" in finish(panel)
    scores = nd.evaluate.evaluate_segmentation(np.roll(truth, 1, axis=2), truth, tolerance=0.5, spacing=(0.5, 0.5))
    assert panel.scores_table.rows() == scores.as_rows() and scores.mean_boundary_f1 == 1
    assert panel.planes_table.rows() == scores.plane_rows()
    assert "'found' against 'truth'" in panel.scores_text.text() and "micrometer" in panel.scores_text.text()
    assert panel.scores_table.table.item(1, 6).text() == f"{scores.report.iou[1]:.3f}"


def test_the_copied_script_gives_the_same(panel: Any, finish: Finish, model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    panel.run()
    finish(panel)
    panel.copy_script()
    names: dict[str, Any] = {"viewer": model}
    exec(QApplication.clipboard().text(), names)
    assert names["scores"].as_rows() == panel.scores_table.rows()
    assert "Boundary F1" in capsys.readouterr().out


def test_objects_are_compared_where_labels_are_objects(
    panel: Any, finish: Finish, model: Any, truth: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    panel.setValue({"kind": "planes"})
    panel.run()
    assert "Mean AP" in finish(panel)
    scores = nd.evaluate.object_scores(truth, np.roll(truth, 1, axis=2))
    assert panel.scores_table.rows() == scores.as_rows() and len(panel.planes_table.rows()) == 3
    panel.copy_script()
    names: dict[str, Any] = {"viewer": model}
    exec(QApplication.clipboard().text(), names)
    assert names["scores"].as_rows() == panel.scores_table.rows()
    assert "Mean AP" in capsys.readouterr().out


def test_backbones_are_compared_with_bars_and_a_script(
    panel: Any, finish: Finish, model: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    panel.setValue({"image": "stack", "labels": "truth", "mask": True, "folds": 3, "heads": ("linear",)})
    panel.compare()
    assert "Best: filter-bank, linear" in finish(panel)
    (bar,) = panel.chart.value()
    assert bar.mean > 0.9 and len(bar.values) == 3 and "filter-bank" in panel.chart.accessibleDescription()
    panel.copy_comparison()
    names: dict[str, Any] = {"viewer": model}
    exec(QApplication.clipboard().text(), names)
    assert names["comparison"].best.mean() == pytest.approx(bar.mean)
    capsys.readouterr()


def test_a_comparison_that_cannot_run_says_why(panel: Any, finish: Finish) -> None:
    assert "Choose an image and labels" in panel.compare_button.toolTip() and not panel.compare_button.isEnabled()
    panel.setValue({"image": "stack", "labels": "truth"})
    assert panel.compare_button.isEnabled()
    panel.setValue({"backbones": ()})
    assert "Tick at least one" in panel.compare_button.toolTip()
    panel.setValue({"backbones": ("filter-bank",)})
    panel.compare()
    assert "One class only: 1" in finish(panel)


def test_a_comparison_can_be_cancelled(panel: Any, finish: Finish) -> None:
    panel.setValue({"image": "stack", "labels": "truth", "mask": True})
    panel.compare()
    panel.cancel()
    assert "Cancelled" in finish(panel) and panel.chart.value() == ()


def test_results_outlive_the_panel(panel: Any, panel_of: Open, finish: Finish) -> None:
    panel.run()
    finish(panel)
    again = panel_of(EvaluatePanel)
    assert again.scores_table.rows() == panel.scores_table.rows()
    assert again.value() == panel.value()


def test_labels_that_do_not_fit_block_with_a_reason(panel: Any, model: Any) -> None:
    panel.setValue({"reference": "found"})
    assert "same layer" in panel.status.text() and not panel.run_button.isEnabled()
    model.add_labels(np.zeros((3, 10, 10), np.uint8), name="small", **PLACE)
    panel.setValue({"reference": "small"})
    assert "shape (3, 10, 10)" in panel.status.text()
    model.add_labels(np.zeros((3, 64, 64), np.uint8), name="far", translate=(0, 50, 0), **PLACE)
    panel.setValue({"reference": "far"})
    assert "pixels away" in panel.status.text()


def test_an_empty_reference_is_an_error_in_words(panel: Any, model: Any, finish: Finish, truth: np.ndarray) -> None:
    model.add_labels(np.zeros_like(truth), name="empty", **PLACE)
    model.add_labels(truth + 1, name="classes", **PLACE)
    panel.setValue({"predicted": "classes", "reference": "empty"})
    panel.run()
    assert "No pixel of the reference is labelled" in finish(panel)


def test_tables_are_copied_and_saved(panel: Any, finish: Finish, tmp_path: Path) -> None:
    panel.run()
    finish(panel)
    panel.scores_table.copy()
    assert QApplication.clipboard().text().splitlines()[0].split("\t")[0] == "class"
    panel.scores_table.save(tmp_path / "scores.csv")
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 4
    panel.scores_table.save(tmp_path / "nowhere" / "scores.csv")
    assert "does not exist" in panel.status.text()


def test_cells_are_short_and_legible() -> None:
    assert [cell_text(v) for v in (0.12345, float("nan"), None, 12345.6, "x", True, 7)] == [
        "0.123", "", "", "1.235e+04", "x", "yes", "7",
    ]  # fmt: skip
    for value in (0.0, 0.3, 0.45, 0.46, 0.7, 1.0, float("nan")):
        back, front = shade(value)
        light = [sum(w * c for w, c in zip((0.299, 0.587, 0.114), colour, strict=True)) for colour in (back, front)]
        assert abs(light[0] - light[1]) > 90
