"""The reference experiments, small: what is measured, how it is reported, and that registration is exact."""

from __future__ import annotations

import builtins
import csv

import numpy as np
import pytest

from napari_dinov3.errors import InputError, MissingDependencyError
from napari_dinov3.evaluate.experiment_result import ExperimentConfig, ExperimentResult
from napari_dinov3.evaluate.experiment_tables import spread, tables, to_markdown
from napari_dinov3.evaluate.experiments import run_experiments, run_experiments_steps, save_report, shift_by_patches
from napari_dinov3.evaluate.published import CNX, STUDY, VIT
from napari_dinov3.progress import collect
from napari_dinov3.synthetic import MODALITIES

SMALL = ExperimentConfig(seeds=(0, 1), modalities=("em", "histology", "mri"), training=4, test=2)


@pytest.fixture(scope="module")
def result() -> ExperimentResult:
    return collect(run_experiments_steps(SMALL))


def test_axes_follow_the_configuration(result):
    assert result.accuracy.shape == result.f1.shape == (2, 2, 3, 3)
    assert result.positives.shape == (2, 3)
    assert result.shift_error.shape == (2, 2, 3, 3, 2)


def test_registration_by_whole_patches_is_exact(result):
    assert not result.shift_error.any()


def test_the_probe_learns_its_own_modality_best(result):
    f1 = result.f1.mean(axis=(0, 1))
    assert f1[0, 0] > 0.85 and f1[1, 1] > 0.85
    assert f1[0, 0] > f1[1, 0] and f1[1, 1] > f1[2, 1]


def test_repeats_with_the_same_seed_agree(result):
    again = collect(run_experiments_steps(ExperimentConfig(**{**_fields(SMALL), "seeds": (1,)})))
    np.testing.assert_array_equal(again.f1[0], result.f1[1])


def test_every_table_has_the_published_figure_beside_ours(result):
    same, registration, *_ = tables(result)
    column = same.header.index("published F1")
    for row in same.rows:
        assert row[column] == STUDY[row[0], row[1]].f1
    assert [row[registration.header.index("published")] for row in registration.rows] == [2.33] * 6
    text = to_markdown(result)
    assert "| em | random-projection-cnx-tiny |" in text and "0.951" in text and "±" in text


def test_every_modality_and_backbone_has_a_published_figure():
    assert set(STUDY) == {(modality, backbone) for modality in MODALITIES for backbone in (CNX, VIT)}


def test_save_writes_tables_and_pictures(result, tmp_path):
    pytest.importorskip("matplotlib")
    written = save_report(result, tmp_path / "out")
    names = {path.name for path in written}
    assert {"report.md", "same_modality.csv", "registration.csv", f"transfer_f1_{CNX}.csv", f"transfer_f1_{VIT}.png",
            "examples.png"} <= names  # fmt: skip
    assert all(path.stat().st_size > 0 for path in written)
    with (tmp_path / "out" / "same_modality.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["F1 mean"]) == pytest.approx(result.f1[:, 0, 0, 0].mean(), abs=1e-6)
    assert float(rows[0]["published F1"]) == STUDY["em", CNX].f1


def test_without_matplotlib_the_tables_are_there_and_the_error_says_what_to_install(result, tmp_path, monkeypatch):
    real = builtins.__import__

    def no_matplotlib(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(MissingDependencyError, match=r"napari-dinov3\[plots\]"):
        save_report(result, tmp_path)
    assert (tmp_path / "report.md").exists()


def test_progress_runs_from_nothing_to_all():
    config = ExperimentConfig(seeds=(0,), modalities=("em",), backbones=(CNX,), training=2, test=1, size=64)
    events = []
    run_experiments(seeds=1, config=config, on_progress=events.append)
    assert [event.done for event in events] == [0, 1] and events[-1].total == 1


def test_shift_moves_content_and_blackens_the_border():
    image = np.arange(1, 37, dtype=np.uint8).reshape(6, 6)
    moved = shift_by_patches(image, 1, -2, 2)
    np.testing.assert_array_equal(moved[2:, :2], image[:4, 4:])
    assert not moved[:2].any() and not moved[:, 2:].any()


def test_spread_leaves_out_repeats_without_a_positive_patch():
    assert spread(np.array([0.5, np.nan, 1.0])) == (0.75, 0.25)
    assert np.isnan(spread(np.array([np.nan])).mean)


@pytest.mark.parametrize("options", [{"modalities": ("x-ray",)}, {"seeds": ()}, {"backbones": ()}, {"training": 0}, {"test": 0}])
def test_impossible_configurations_are_refused(options):
    with pytest.raises(InputError):
        ExperimentConfig(**options)


def test_no_repeat_is_refused():
    with pytest.raises(InputError):
        run_experiments(seeds=0)


def _fields(config):
    return {name: getattr(config, name) for name in config.__dataclass_fields__}
