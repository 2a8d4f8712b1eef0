"""The Apply to files panel: every file gets its row, failures are named, a stopped run goes on, and the script does the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

import napari_dinov3 as nd
from napari_dinov3.widgets.batch.panel import BatchPanel

Open = Callable[[type], Any]
Finish = Callable[[Any], str]


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Any]:
    images = [np.random.default_rng(seed).normal(100, 3, (48, 48)) for seed in range(3)]
    for image in images:
        image[10:30, 12:36] += 60
    marks = np.zeros((48, 48), np.uint8)
    marks[2:6], marks[15:20, 15:30] = 1, 2
    features = nd.extract(images[0], backbone="filter-bank", stride=4)
    probe = nd.Probe(head="linear").fit(features, marks).save(tmp_path / "probe.npz")
    (tmp_path / "in").mkdir()
    for number, image in enumerate(images):
        nd.write(tmp_path / "in" / f"{number}.tif", image.astype(np.uint8))
    return {"probe": [probe], "images": [tmp_path / "in"], "output": [tmp_path / "out"]}


def test_files_are_labelled_and_failures_named(panel_of: Open, finish: Finish, places: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "in" / "bad.tif").write_bytes(b"x")
    panel = panel_of(BatchPanel)
    assert "choose a probe file" in panel.status.text() and not panel.run_button.isEnabled()
    panel.setValue(places)
    panel.run()
    assert "1 failed" in finish(panel)
    status = {row["file"]: row["status"] for row in panel.table.rows()}
    assert status == {"0.tif": "done", "1.tif": "done", "2.tif": "done", "bad.tif": "failed"}
    assert "bad.tif" in panel.report.text()
    assert nd.read(tmp_path / "out" / "1_labels.ome.tif").kind == "labels"
    panel.run()
    assert "3 of them done before" in finish(panel)
    assert panel_of(BatchPanel).table.rows() == panel.table.rows()  # results outlive the panel


def test_the_copied_script_is_the_same_run(
    panel_of: Open, finish: Finish, places: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    panel = panel_of(BatchPanel)
    panel.setValue(places)
    panel.run()
    finish(panel)
    panel.copy_script()
    names: dict[str, Any] = {}
    exec(QApplication.clipboard().text(), names)
    assert names["batch"].skipped == 3
    capsys.readouterr()


def test_a_cancelled_run_says_that_it_goes_on(panel_of: Open, finish: Finish, places: dict[str, Any]) -> None:
    panel = panel_of(BatchPanel)
    panel.setValue(places)
    panel.run()
    panel.cancel()
    assert "goes on with the others" in finish(panel)
    panel.run()
    assert "3 files" in finish(panel)


def test_a_channel_is_asked_for_where_there_are_any(panel_of: Open, places: dict[str, Any]) -> None:
    panel = panel_of(BatchPanel)
    panel.setValue({**places, "channel": 2})
    assert panel.config().channel is None
    panel.setValue({"has_channel": True})
    assert panel.config().channel == 2


def test_a_file_that_is_no_probe_is_an_error_in_words(
    panel_of: Open, finish: Finish, places: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "no.npz").write_bytes(b"x")
    panel = panel_of(BatchPanel)
    panel.setValue({**places, "probe": [tmp_path / "no.npz"]})
    panel.run()
    assert "not a usable probe file" in finish(panel) and not (tmp_path / "out").exists()
