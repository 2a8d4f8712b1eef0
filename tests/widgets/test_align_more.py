"""The Align panel beyond the table: pairs, landmarks, channels, resuming, views, other kinds of layers, files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QMessageBox
from scipy.ndimage import gaussian_filter

from napari_dinov3._napari.align.layers import Blinker
from napari_dinov3._napari.provenance import provenance_of
from napari_dinov3.align.links import planned_links
from napari_dinov3.align.transforms import rotation_matrix
from napari_dinov3.align.warp import warp
from napari_dinov3.widgets.align.link_matrix import LinkMatrix
from napari_dinov3.widgets.align.panel import AlignPanel
from napari_dinov3.widgets.runner import await_jobs

Open = Callable[[type], Any]
Finish = Callable[[Any], str]
STACK = {"image": "drifting", "model": "translation", "backbone": None, "drift": "first"}
PLACE = {"scale": (2, 0.5, 0.5), "units": ("um", "um", "um")}


def scene(size: int = 200) -> Any:
    return gaussian_filter(np.random.default_rng(1).normal(size=(size, size)), 1.5) * 200 + 120


def drifting(planes: int = 3) -> Any:
    noise = np.random.default_rng(2).normal(0, 3, (planes, 96, 96))
    shown = scene()
    images = np.stack([shown[30 + 3 * k : 126 + 3 * k, 30 + k : 126 + k] for k in range(planes)]) + noise
    return images.clip(0, 255).astype(np.uint8)


@pytest.fixture
def panel(panel_of: Open, model: Any) -> Any:
    model.layers.clear()
    model.add_image(drifting(), name="drifting", **PLACE)
    panel = panel_of(AlignPanel)
    panel.setValue(STACK)
    return panel


@pytest.fixture
def aligned(panel: Any, finish: Finish) -> Any:
    panel.run()
    assert "3 planes" in finish(panel)
    return panel


@pytest.fixture
def pair(panel_of: Open, model: Any) -> Any:
    """A fixed image, and an inverted, turned one of half the resolution; landmarks of the truth on both."""
    model.layers.clear()
    fixed, turn = scene(192), rotation_matrix(7, (96, 96))
    moving = warp(240 - fixed, turn)[10:190, 6:186].reshape(90, 2, 90, 2).mean(axis=(1, 3))
    model.add_image(fixed, name="slide", scale=(0.5, 0.5), translate=(3, 4), units=("um", "um"))
    model.add_image(moving, name="scan", scale=(1, 1), units=("um", "um"))
    at = np.array([[60.0, 70], [120, 60], [100, 130], [70, 120]])
    there = (np.c_[at, np.ones(4)] @ np.linalg.inv(turn).T)[:, :2]
    model.add_points(at, name="on slide", scale=(0.5, 0.5), translate=(3, 4), units=("um", "um"))
    model.add_points((there - (10, 6) + 0.5) / 2 - 0.5, name="on scan", units=("um", "um"))
    panel = panel_of(AlignPanel)
    panel.setValue({"image": "slide", "mode": "pair", "moving": "scan", "model": "rigid", "backbone": None})
    return panel


def test_a_pair_of_other_contrast_and_pixel_size_lies_in_the_fixed_world(pair: Any, finish: Finish, model: Any) -> None:
    pair.setValue({"fixed_points": "on slide", "moving_points": "on scan"})
    pair.run()
    assert "scan aligned" in finish(pair)
    layer, kept = model.layers["scan aligned"], pair.kept
    assert layer.data.shape == (192, 192)
    np.testing.assert_allclose(layer.scale, (0.5, 0.5))
    np.testing.assert_allclose(layer.translate, (3, 4))
    assert "4 landmarks" in pair.pair_facts.text()
    assert "micrometer" in pair.pair_facts.text()
    assert kept.pair.errors(*landmarks(pair)).max() < 0.25  # moving pixels, of which the truth is known
    exec(pair.script(), {"viewer": model})
    np.testing.assert_allclose(model.layers["scan aligned [1]"].data, layer.data)


def landmarks(panel: Any) -> Any:
    from napari_dinov3._napari.align.pair import landmarks_of

    return landmarks_of(panel.pair.landmarks, panel.kept.fixed, panel.kept.moving)


def test_landmarks_alone_decide_and_must_be_as_many(pair: Any, finish: Finish, model: Any) -> None:
    pair.setValue({"start": "only"})
    assert "Points layer" in pair.run_button.toolTip()
    pair.setValue({"fixed_points": "on slide", "moving_points": "on scan"})
    pair.run()
    finish(pair)
    assert pair.kept.pair.errors(*landmarks(pair)).max() < 1e-2
    assert "landmarks alone" in pair.pair_facts.text()
    model.layers["on scan"].data = model.layers["on scan"].data[:3]
    pair.refresh()
    assert "holds 4 points" in pair.run_button.toolTip()


def test_a_pair_that_does_not_match_is_refused_with_the_reason(pair: Any, finish: Finish, model: Any) -> None:
    model.layers["scan"].data = np.random.default_rng(5).normal(size=(90, 90))
    pair.setValue({"model": "translation"})  # no search over the whole circle
    pair.run()
    text = finish(pair)
    assert "do not match" in text
    assert "scan aligned" not in model.layers


def test_points_and_labels_of_the_moving_image_come_along(pair: Any, finish: Finish, model: Any) -> None:
    pair.run()
    finish(pair)
    pair.follower.setValue("on scan")
    pair.move_follower()
    finish(pair)
    moved, truth = model.layers["on scan aligned"], model.layers["on slide"]
    for a, b in zip(moved.data, truth.data, strict=True):
        np.testing.assert_allclose(moved.data_to_world(a), truth.data_to_world(b), atol=0.25)
    exec(pair.script(), {"viewer": model})
    np.testing.assert_allclose(model.layers["on scan aligned [1]"].data, moved.data)
    ids = np.zeros((90, 90), np.uint8)
    ids[30:60, 30:60] = 200
    model.add_labels(ids, name="ids", units=("um", "um"))
    pair.follower.setValue("ids")
    pair.move_follower()
    finish(pair)
    assert set(np.unique(model.layers["ids aligned"].data)) == {0, 200}
    exec(pair.script(), {"viewer": model})
    np.testing.assert_array_equal(model.layers["ids aligned [1]"].data, model.layers["ids aligned"].data)


@pytest.mark.parametrize("kind", ["points", "shapes"])
def test_points_and_shapes_of_a_stack_come_along_and_replay(aligned: Any, finish: Finish, model: Any, kind: str) -> None:
    moves = aligned.kept.alignment.map_points([[2, 40, 50]])[0]
    if kind == "points":
        model.add_points([[2, 40, 50]], name="drawn", **PLACE)
    else:
        box = [[2, 40, 50], [2, 40, 70], [2, 60, 70], [2, 60, 50]]
        model.add_shapes([np.array(box)], shape_type="rectangle", name="drawn", **PLACE)
    aligned.follower.setValue("drawn")
    aligned.move_follower()
    finish(aligned)
    first = np.asarray(model.layers["drawn aligned"].data[0]).reshape(-1, 3)[0]
    np.testing.assert_allclose(first, moves)
    assert np.abs(moves - (2, 40, 50)).max() > 3
    exec(aligned.script(), {"viewer": model})
    again = np.asarray(model.layers["drawn aligned [1]"].data[0]).reshape(-1, 3)
    np.testing.assert_allclose(again, np.asarray(model.layers["drawn aligned"].data[0]).reshape(-1, 3))


def test_all_channels_and_levels_move_with_the_one_compared(panel_of: Open, finish: Finish, model: Any) -> None:
    model.layers.clear()
    good = drifting()
    both = np.stack([np.zeros_like(good), good])
    where = {"scale": (1, *PLACE["scale"]), "axis_labels": ("c", "z", "y", "x")}
    model.add_image(both, name="drifting", **where)
    model.add_image([both[..., ::1, ::1], both[..., ::2, ::2]], multiscale=True, name="pyramid", **where)
    panel = panel_of(AlignPanel)
    panel.setValue({**STACK, "channel": 1})
    panel.run()
    assert "3 planes" in finish(panel)
    for name, levels in (("drifting", 1), ("pyramid", 2)):
        panel.follower.setValue(name)
        panel.move_follower()
        finish(panel)
        layer = next(
            layer for layer in model.layers if layer.name.startswith(f"{name} aligned") and _finest(layer).shape == both.shape
        )
        np.testing.assert_array_equal(_finest(layer)[1], panel.kept.alignment.apply(good))
        assert (len(layer.data) if layer.multiscale else 1) == levels
        np.testing.assert_allclose(layer.scale, where["scale"])


def _finest(layer: Any) -> Any:
    return np.asarray(layer.data[0] if layer.multiscale else layer.data)


def test_a_cancelled_run_goes_on_where_it_was(panel: Any, finish: Finish, monkeypatch: Any) -> None:
    from napari_dinov3.align import matching

    done, real = [], matching.fit_sections

    def counted(*arguments: Any, **options: Any) -> Any:
        done.append(1)
        if len(done) == 2:
            panel.runner._stop.set()
        return real(*arguments, **options)

    monkeypatch.setattr(matching, "fit_sections", counted)
    panel.run()
    text = finish(panel)
    before, wanted = len(done), len(planned_links(3))
    assert f"{before} of {wanted} links" in text
    panel.run()
    finish(panel)
    assert len(done) == wanted
    panel.setValue({"drift": "minimum"})  # another frame needs no new link
    panel.run()
    finish(panel)
    assert len(done) == wanted


def test_cancel_answers_while_a_comparison_is_under_way(panel: Any, finish: Finish, qtbot: Any, monkeypatch: Any) -> None:
    from napari_dinov3.align import matching

    begun, go_on, real = Event(), Event(), matching.fit_sections

    def slow(*arguments: Any, **options: Any) -> Any:
        begun.set()
        assert go_on.wait(20)
        return real(*arguments, **options)

    monkeypatch.setattr(matching, "fit_sections", slow)
    panel.run()
    qtbot.waitUntil(begun.is_set, timeout=20_000)
    panel.cancel()
    assert "Cancelled" in finish(panel)
    assert "drifting aligned" not in panel.viewer.layers
    go_on.set()
    assert await_jobs(20)
    panel.refresh()
    assert re.search("[12] of 3 links", panel.status.text())  # what was under way counts for the next run
    panel.run()
    assert "3 planes" in finish(panel)


def test_the_matrix_says_what_became_of_each_link(aligned: Any) -> None:
    assert {(c.first, c.second): c.fate for c in aligned.matrix.value()} == dict.fromkeys([(0, 1), (0, 2), (1, 2)], "used")
    matrix = LinkMatrix()
    matrix.resize(280, 240)
    matrix.setValue(aligned.matrix.value(), 3)
    assert "Planes 0 and 1: match" in matrix.text_at(QPoint(22 + 24 + 5, 22 + 5))
    assert matrix.text_at(QPoint(25, 25)) == ""


def test_views_straighten_mix_and_blink(aligned: Any, finish: Finish, model: Any, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: aligned.compare.xz.value() is not None, timeout=20_000)
    strips = aligned.compare.xz.value()

    def disagree(strip: Any) -> float:
        return float(np.abs(np.diff(strip[:, 10:-10].astype(float), axis=0)).mean())

    assert disagree(strips.after) < 0.5 * disagree(strips.before)
    aligned.add_checkerboard()
    finish(aligned)
    board, result = model.layers["drifting checkerboard"].data, model.layers["drifting aligned"].data
    np.testing.assert_array_equal(board[0, :12, :12], result[0, :12, :12])
    np.testing.assert_array_equal(board[0, :12, 12:24], result[1, :12, 12:24])
    aligned.add_grid()
    finish(aligned)
    assert model.layers["drifting grid"].ndim == 3
    for name in ("checkerboard", "grid"):
        exec(provenance_of(model.layers[f"drifting {name}"])["script"], {"viewer": model})
        np.testing.assert_array_equal(model.layers[f"drifting {name} [1]"].data, model.layers[f"drifting {name}"].data)
    before = model.dims.current_step
    blinker = Blinker(model, aligned.kept, result)
    blinker.flip()
    assert model.dims.current_step[0] == before[0] + 1
    blinker.stop()
    assert model.dims.current_step == before


def test_transforms_are_saved_loaded_and_never_written_over_unasked(
    aligned: Any, finish: Finish, model: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    path, answers = tmp_path / "a.json", []
    aligned.files.save(str(path))
    assert "Wrote" in finish(aligned)
    path.write_text(path.read_text() + "\n")
    kept = path.read_text()

    def refuse(*_: Any) -> Any:
        answers.append(1)
        return QMessageBox.StandardButton.No

    monkeypatch.setattr(QMessageBox, "question", refuse)
    aligned.files.save(str(path))
    assert answers == [1]
    assert path.read_text() == kept
    expected = model.layers["drifting aligned"].data.copy()
    aligned.files.load(str(path))
    assert "transforms of the file" in finish(aligned)
    np.testing.assert_array_equal(model.layers["drifting aligned"].data, expected)
    exec(aligned.kept_script(), {"viewer": model})
    np.testing.assert_array_equal(model.layers["drifting aligned [1]"].data, expected)
    assert aligned.kept.config.drift == "first"  # as the file tells
    aligned.solve_again(1, False)
    finish(aligned)
    exec(aligned.kept_script(), {"viewer": model})  # from the links of the file, without matching again
    np.testing.assert_array_equal(model.layers["drifting aligned [2]"].data, model.layers["drifting aligned"].data)
    assert "align_stack(" not in aligned.kept_script()
    aligned.undo_button.click()
    finish(aligned)
    np.testing.assert_array_equal(model.layers["drifting aligned"].data, expected)
    for what, name in (("itk", "itk"), ("elastix", "elastix"), (".ome.tif", "b.ome.tif")):
        aligned.files.what.setValue({"save_as": what})
        aligned.files.save(str(tmp_path / name))
        assert "Wrote" in finish(aligned)
    assert len(list((tmp_path / "itk").glob("*.tfm"))) == 3
    import napari_dinov3 as nd

    np.testing.assert_array_equal(nd.read(tmp_path / "b.ome.tif").planes().data, expected)
    aligned.files.what.setValue({"save_as": "itk"})
    aligned.files.save(str(tmp_path / "itk"))
    assert answers == [1, 1]
    model.add_image(np.zeros((5, 96, 96)), name="longer")
    aligned.image.setValue("longer")
    aligned.load(str(path))
    assert "is of 3 planes" in aligned.status.text()


def test_places_that_cannot_be_read_or_written_are_named(aligned: Any, finish: Finish, tmp_path: Path) -> None:
    aligned.save(str(tmp_path / "missing" / "a.json"), "json")
    assert "cannot be written" in finish(aligned)
    aligned.load(str(tmp_path / "missing.json"))
    assert "cannot be read" in aligned.status.text()


def test_what_is_kept_follows_a_layer_that_is_renamed(aligned: Any, finish: Finish, model: Any) -> None:
    model.layers["drifting"].name = "sections"
    aligned.refresh()
    assert "'sections'" in aligned.whose.text()
    model.add_points([[2, 40, 50]], name="drawn", **PLACE)
    aligned.follower.setValue("drawn")
    aligned.move_follower()
    finish(aligned)
    exec(provenance_of(model.layers["drawn aligned"])["script"], {"viewer": model})
    np.testing.assert_allclose(model.layers["drawn aligned [1]"].data, model.layers["drawn aligned"].data)


def test_presets_and_planes_that_stay(panel: Any, finish: Finish) -> None:
    panel.form.editor("preset").setCurrentIndex(3)
    assert (panel.config().model, panel.config().drift, panel.config().backbone) == ("translation", "mean", None)
    panel.setValue({"drift": "minimum", "anchors": "2"})
    assert panel.config().anchors == (2,)
    panel.run()
    finish(panel)
    np.testing.assert_allclose(panel.kept.alignment.transforms[2], np.eye(3), atol=1e-3)
    panel.setValue({"anchors": "7"})
    assert "7" in panel.run_button.toolTip()
