"""A probe applied to many stacks: every file gets its row, a bad one stops nothing, and a stopped run goes on."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3.cli import main
from napari_dinov3.errors import InputError
from napari_dinov3.recipe import batch
from napari_dinov3.recipe.batch import apply_probe, apply_probe_steps


def picture(seed: int, planes: int = 2, size: int = 48) -> np.ndarray:
    image = np.random.default_rng(seed).normal(100, 3, (planes, size, size))
    image[:, 10:30, 12:36] += 60
    return image.astype(np.uint8)


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = picture(0)
    marks = np.zeros(image.shape, np.uint8)
    marks[0, 2:6], marks[0, 15:20, 15:30] = 1, 2
    features = nd.extract(image, backbone="filter-bank", stride=4)
    return nd.Probe(head="linear").fit(features, marks).save(tmp_path_factory.mktemp("probe") / "probe.npz")


@pytest.fixture
def stacks(tmp_path: Path) -> Path:
    folder = tmp_path / "stacks"
    folder.mkdir()
    nd.write(folder / "a.ome.tif", picture(1), spacing=(50, 4, 8), units="nanometer")
    nd.write(folder / "b.npy", picture(2, planes=3, size=40))
    nd.write(folder / "c.tif", picture(3, planes=1)[0])
    return folder


def rows_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def test_labels_are_those_of_the_probe_with_their_place_and_areas(probe: Path, stacks: Path, tmp_path: Path) -> None:
    result = apply_probe(probe, stacks, tmp_path / "out")
    assert not result.failed and result.skipped == 0
    written = nd.read(tmp_path / "out" / "a_labels.ome.tif")
    assert written.kind == "labels" and written.spacing == (50, 4, 8) and written.units[1] == "nanometer"
    features = nd.extract(nd.read(stacks / "a.ome.tif"), backbone="filter-bank", stride=4)
    expected = nd.Probe.load(probe).predict(features)
    np.testing.assert_array_equal(np.asarray(written), expected)
    row = rows_of(tmp_path / "out")["a.ome.tif"]
    assert int(row["class_2_pixels"]) == np.count_nonzero(expected == 2)
    assert float(row["class_2_area"]) == np.count_nonzero(expected == 2) * 4 * 8 and row["area_unit"] == "nanometer²"
    assert float(row["class_1_percent"]) + float(row["class_2_percent"]) == pytest.approx(100)
    assert rows_of(tmp_path / "out")["c.tif"]["planes"] == "1"
    assert nd.read(tmp_path / "out" / "c_labels.ome.tif").axes == "yx"


def test_one_bad_file_is_named_and_does_not_stop_the_rest(
    probe: Path, stacks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (stacks / "bad.tif").write_bytes(b"no picture")
    nd.write(stacks / "many.ome.tif", np.zeros((2, 3, 40, 40), np.uint8), axes="zcyx")
    assert main(["apply", str(probe), str(stacks), "--output", str(tmp_path / "out")]) == 1
    rows = rows_of(tmp_path / "out")
    assert [rows[name]["status"] for name in ("a.ome.tif", "b.npy", "c.tif")] == ["done"] * 3
    assert rows["bad.tif"]["status"] == rows["many.ome.tif"]["status"] == "failed"
    assert "3 channels" in rows["many.ome.tif"]["error"]
    shown = capsys.readouterr()
    assert f"Failed: {stacks / 'bad.tif'}" in shown.err and "results.csv" in shown.out


def test_a_second_run_leaves_what_is_done_and_does_what_changed(probe: Path, stacks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    apply_probe(probe, stacks, out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*_labels*")}
    assert apply_probe(probe, stacks, out).skipped == 3
    assert {path: path.stat().st_mtime_ns for path in out.glob("*_labels*")} == before
    nd.write(stacks / "b.npy", picture(7, planes=1), overwrite=True)
    (out / "c_labels.ome.tif").unlink()
    assert apply_probe(probe, stacks, out).skipped == 1
    assert rows_of(out)["b.npy"]["planes"] == "1" and (out / "c_labels.ome.tif").exists()
    assert apply_probe(probe, stacks, out, probabilities=True).skipped == 0


def test_a_run_that_is_stopped_keeps_its_rows_and_goes_on(probe: Path, stacks: Path, tmp_path: Path) -> None:
    job = apply_probe_steps(probe, stacks, tmp_path / "out")
    for event in job:
        if event.message.startswith("b.npy"):
            break
    job.close()
    assert set(rows_of(tmp_path / "out")) == {"a.ome.tif"}
    assert not list((tmp_path / "out").glob(".*"))
    assert apply_probe(probe, stacks, tmp_path / "out").skipped == 1
    assert set(rows_of(tmp_path / "out")) == {"a.ome.tif", "b.npy", "c.tif"}


def test_probabilities_are_channels_that_sum_to_one(probe: Path, stacks: Path, tmp_path: Path) -> None:
    apply_probe(probe, [stacks / "a.ome.tif", stacks / "c.tif"], tmp_path / "out", probabilities=True)
    soft = nd.read(tmp_path / "out" / "a_probabilities.ome.tif")
    assert soft.axes == "zcyx" and soft.channel_names == ("class 1", "class 2") and soft.spacing == (50, 4, 8)
    np.testing.assert_allclose(np.asarray(soft).sum(axis=1), 1, atol=1e-5)
    assert nd.read(tmp_path / "out" / "c_probabilities.ome.tif").axes == "cyx"


def test_files_of_one_name_get_results_of_their_own(probe: Path, stacks: Path, tmp_path: Path) -> None:
    (stacks / "deep").mkdir()
    nd.write(stacks / "deep" / "c.tif", picture(9, planes=1)[0])
    result = apply_probe(probe, stacks, stacks / "out")
    assert len({row["labels"] for row in result.rows}) == 4
    assert apply_probe(probe, stacks, stacks / "out").skipped == 4  # results below the folder are no input


def test_ome_zarr_is_written_where_asked(probe: Path, stacks: Path, tmp_path: Path) -> None:
    pytest.importorskip("ome_zarr")
    apply_probe(probe, stacks / "a.ome.tif", tmp_path / "out", ending=".zarr")
    assert nd.read(tmp_path / "out" / "a_labels.zarr").shape == (2, 48, 48)


def test_what_cannot_begin_is_refused_before_any_work(
    probe: Path, stacks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "extract_steps", lambda *a, **k: pytest.fail("work was done"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "results.csv").write_text("a,b\n1,2\n")
    (tmp_path / "no.npz").write_bytes(b"x")
    for arguments, text in (
        ((tmp_path / "no.npz", stacks, tmp_path / "out"), "not a usable probe"),
        ((probe, tmp_path / "empty", tmp_path / "out"), "holds no images"),
        ((probe, stacks, tmp_path / "other"), "not the table of a batch"),
    ):
        with pytest.raises(InputError, match=text):
            apply_probe(*arguments)
    assert not (tmp_path / "out").exists()


def test_a_later_run_leaves_the_results_of_other_files_of_that_name(probe: Path, tmp_path: Path) -> None:
    for at, name in enumerate(("mouse1", "mouse2")):
        (tmp_path / name).mkdir()
        nd.write(tmp_path / name / "x.tif", picture(at, planes=1 + at))
        apply_probe(probe, tmp_path / name, tmp_path / "out")
    with (tmp_path / "out" / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = {Path(row["source"]).parent.name: row for row in csv.DictReader(file)}
    assert rows["mouse1"]["labels"] == "x_labels.ome.tif" != rows["mouse2"]["labels"]
    assert [len(nd.read(tmp_path / "out" / rows[name]["labels"]).planes()) for name in rows] == [1, 2]
    assert apply_probe(probe, [tmp_path / "mouse2", tmp_path / "mouse1"], tmp_path / "out").skipped == 2


def test_results_may_lie_above_the_images_but_not_among_them(probe: Path, stacks: Path, tmp_path: Path) -> None:
    assert len(apply_probe(probe, stacks, tmp_path).rows) == 3
    with pytest.raises(InputError, match="into the folder of the images"):
        apply_probe(probe, stacks, stacks)
    with pytest.raises(InputError, match="is a file"):
        apply_probe(probe, stacks, stacks / "b.npy")


def test_an_image_without_a_finite_pixel_failed(probe: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "hole.npy", np.full((2, 20, 20), np.nan, np.float32))
    assert "no finite pixel" in apply_probe(probe, tmp_path / "hole.npy", tmp_path / "out").failed[0][1]


def test_features_are_made_as_those_the_probe_learned_from(tmp_path: Path) -> None:
    image = picture(0, planes=3)
    marks = np.zeros(image.shape, np.uint8)
    marks[0, 2:6], marks[0, 15:20, 15:30] = 1, 2
    how = {"backbone": "filter-bank+random-projection-cnx-tiny", "colours": "neighbours"}
    probe = nd.Probe(head="linear").fit(nd.extract(image, **how), marks)
    probe.save(tmp_path / "probe.npz")
    nd.write(tmp_path / "a.tif", image)
    assert not apply_probe(tmp_path / "probe.npz", tmp_path / "a.tif", tmp_path / "out").failed
    found = np.asarray(nd.read(tmp_path / "out" / "a_labels.ome.tif"))
    np.testing.assert_array_equal(found, probe.predict(nd.extract(image, **how)))
