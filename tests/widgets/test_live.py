"""The live loop in the Segment panel: a stroke is answered, undone, superseded; classes and training sets follow."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import pytest
from napari.layers import Labels

from napari_dinov3._napari.provenance import provenance_of
from napari_dinov3._napari.segment import live, prediction
from napari_dinov3._napari.segment.classes import names_of
from napari_dinov3._napari.session import session_of
from napari_dinov3.features import embedding
from napari_dinov3.features.on_demand import planes_here
from napari_dinov3.recipe import ExtractConfig
from napari_dinov3.segment.probe import Probe
from napari_dinov3.widgets.segment.live_panel import LIVE_WAITS
from napari_dinov3.widgets.segment.panel import SegmentPanel

Open = Callable[[type], Any]
TIMEOUT_MS = 60_000
PLACE: dict[str, Any] = {"scale": (2, 0.5, 0.5), "units": ("um", "um", "um")}


def stroke(layer: Any, rows: slice, cols: slice, value: int, plane: int = 0) -> None:
    """Paint as a brush does: one undoable edit."""
    at = np.mgrid[rows, cols].reshape(2, -1)
    layer.data_setitem((np.full(at.shape[1], plane), at[0], at[1]), value)


def two_classes(layer: Any) -> None:
    stroke(layer, slice(4, 8), slice(4, 60), 1)
    stroke(layer, slice(28, 32), slice(28, 44), 2)


@pytest.fixture
def settled(qtbot: Any) -> Callable[[Any], str]:
    """Wait until every stroke is answered; give the status line."""

    def wait(panel: Any) -> str:
        qtbot.wait(30)
        qtbot.waitUntil(lambda: not panel.watch.waiting and not panel.runner.running, timeout=TIMEOUT_MS)
        return str(panel.status.text())

    return wait


@pytest.fixture
def painted(panel_of: Open, model: Any, settled: Callable[[Any], str]) -> tuple[Any, Any]:
    """A panel whose two classes have been answered, and its scribbles layer."""
    model.dims.set_point(0, 0)
    panel = panel_of(SegmentPanel)
    panel.setValue({"head": "linear"})
    panel.new_scribbles()
    layer = model.layers["stack scribbles"]
    two_classes(layer)
    settled(panel)
    return panel, layer


def labels_of(model: Any) -> Any:
    return np.asarray(model.layers["stack labels"].data)


def test_strokes_are_answered_in_all_planes_with_the_numbers_of_run(painted: Any, model: Any, finish: Any) -> None:
    panel, _layer = painted
    answered = labels_of(model).copy()
    assert answered[2, 32, 36] == 2 and answered[2, 2, 2] == 1 and answered.all()
    names = [each.name for each in model.layers]
    assert names == ["stack", "stack labels", "stack scribbles"]  # strokes stay on top
    assert model.layers.selection.active.name == "stack scribbles"
    panel.run()
    assert "Classes 1, 2" in finish(panel)
    np.testing.assert_array_equal(labels_of(model), answered)
    exec(panel.script(), {"viewer": model})
    assert np.mean(np.asarray(model.layers["stack labels [1]"].data) != answered) < 0.005


def test_undo_and_redo_of_a_stroke_undo_and_redo_its_effect(painted: Any, model: Any, settled: Any) -> None:
    panel, layer = painted
    before = labels_of(model).copy()
    stroke(layer, slice(44, 60), slice(4, 60), 2)
    settled(panel)
    after = labels_of(model).copy()
    assert np.mean(after != before) > 0.05
    layer.undo()
    settled(panel)
    assert np.mean(labels_of(model) != before) < 0.005  # a warm start ends within the tolerance of the search
    layer.redo()
    settled(panel)
    assert np.mean(labels_of(model) != after) < 0.005


def test_a_newer_stroke_takes_the_place_of_an_answer_that_is_not_there_yet(
    painted: Any, model: Any, settled: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel, layer = painted
    entered, go, real, probes = threading.Event(), threading.Event(), Probe.fit_steps, []

    def slow(self: Any, *args: Any, **options: Any) -> Any:
        probes.append(self)
        if len(probes) == 1:
            entered.set()
            go.wait(20)
        return (yield from real(self, *args, **options))

    monkeypatch.setattr(Probe, "fit_steps", slow)
    stroke(layer, slice(50, 60), slice(4, 60), 1)
    qtbot.waitUntil(entered.is_set, timeout=TIMEOUT_MS)
    stroke(layer, slice(2, 4), slice(4, 60), 3)
    qtbot.waitUntil(lambda: len(probes) == 2, timeout=TIMEOUT_MS)
    go.set()
    assert "Classes 1, 2, 3" in settled(panel)
    assert panel.trained is probes[1]
    assert set(np.unique(labels_of(model))) == {1, 2, 3}


def test_live_off_answers_nothing_and_on_answers_what_was_painted(painted: Any, model: Any, settled: Any) -> None:
    panel, layer = painted
    panel.live.setChecked(False)
    before = labels_of(model).copy()
    stroke(layer, slice(44, 60), slice(4, 60), 2)
    settled(panel)
    np.testing.assert_array_equal(labels_of(model), before)
    assert panel.classes.value()[1].pixels > 800
    panel.live.setChecked(True)
    settled(panel)
    assert np.mean(labels_of(model) != before) > 0.05


def test_only_painted_planes_and_those_looked_at_are_computed_where_data_are_large_and_lazy(
    panel_of: Open, model: Any, settled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "BATCH_PIXELS", 1)
    monkeypatch.setattr(live, "LABELS_SHARE", 0)
    stack = np.repeat(np.asarray(model.layers["stack"].data), 10, axis=0)
    model.layers.clear()
    model.add_image(da.from_array(stack, chunks=(1, 64, 64)), name="stack", contrast_limits=(0, 255))
    model.dims.set_point(0, 4)
    panel = panel_of(SegmentPanel)
    panel.setValue({"head": "linear"})
    panel.new_scribbles()
    layer = model.layers["stack scribbles"]
    stroke(layer, slice(4, 8), slice(4, 60), 1, plane=4)
    stroke(layer, slice(28, 32), slice(28, 44), 2, plane=7)
    assert "when you look at them" in settled(panel)
    features = session_of(model).find(panel.request().key, begun=True)
    assert planes_here(features) == {4, 7}
    shown = model.layers["stack labels"].data
    assert np.asarray(shown[4]).all() and not np.asarray(shown[9]).any()
    model.dims.set_point(0, 9)
    settled(panel)
    assert np.asarray(model.layers["stack labels"].data[9]).all()
    assert planes_here(features) == {4, 7, 9}


def test_a_costly_backbone_waits_for_run(panel_of: Open, model: Any, settled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_dinov3.widgets.segment import live_panel

    monkeypatch.setattr(live_panel, "is_quick", lambda config: False)
    panel = panel_of(SegmentPanel)
    panel.setValue({"head": "linear"})
    panel.new_scribbles()
    two_classes(model.layers["stack scribbles"])
    assert LIVE_WAITS in settled(panel).replace("&#x27;", "'")
    assert not labels_of(model).any()
    panel.run()
    settled(panel)
    assert labels_of(model).all()
    stroke(model.layers["stack scribbles"], slice(44, 60), slice(4, 60), 3)
    assert "Classes 1, 2, 3" in settled(panel)  # now the features are there


def test_a_coarse_answer_comes_first_where_a_plane_takes_long(
    painted: Any, model: Any, settled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel, layer = painted
    steps, real = [], Probe.predict_plane

    def noted(self: Any, features: Any, plane: int, *, image: Any = None, step: int = 1) -> Any:
        steps.append((plane, step))
        return real(self, features, plane, image=image, step=step)

    monkeypatch.setattr(Probe, "predict_plane", noted)
    monkeypatch.setattr(live, "QUICK_S", 0.0)
    stroke(layer, slice(50, 60), slice(4, 60), 1)
    settled(panel)
    assert steps == [(0, live.COARSE_STEP), (0, 1), (1, 1), (2, 1)]
    fitted = panel.trained
    np.testing.assert_array_equal(labels_of(model)[0], fitted.predict_plane(panel.prediction.features, 0))


def test_paint_in_the_result_stays_and_the_next_answer_gets_a_layer_of_its_own(painted: Any, model: Any, settled: Any) -> None:
    panel, layer = painted
    result = model.layers["stack labels"]
    result.data_setitem((np.zeros(9, int), np.full(9, 30), np.arange(9)), 9)
    kept = np.asarray(result.data).copy()
    stroke(layer, slice(44, 60), slice(4, 60), 2)
    settled(panel)
    np.testing.assert_array_equal(result.data, kept)
    assert "stack labels [1]" in model.layers


def test_classes_are_added_named_merged_and_deleted(painted: Any, model: Any, settled: Any) -> None:
    panel, layer = painted
    rows = panel.classes.value()
    assert [(row.value, row.pixels) for row in rows] == [(1, 224), (2, 64)]
    np.testing.assert_allclose(rows[0].colour, layer.get_color(1), atol=1e-6)
    panel.classes.renamed.emit(2, "  cell   body ")
    assert names_of(layer) == {2: "cell body"}
    assert list(layer.features["name"])[-1] == "cell body"
    result = model.layers["stack labels"]
    assert provenance_of(result)["classes"] == {"2": "cell body"}
    assert "cell body" in list(result.features["name"])
    np.testing.assert_allclose(result.get_color(2), layer.get_color(2))
    panel.classes.renamed.emit(1, "cell body")
    assert "called 'cell body' already" in panel.status.text().replace("&#x27;", "'")
    panel.classes.added.emit()
    assert layer.selected_label == 3 and layer.mode == "paint"
    stroke(layer, slice(50, 54), slice(4, 60), 3)
    settled(panel)
    assert set(np.unique(labels_of(model))) == {1, 2, 3}
    panel.classes.merged.emit(3, 1)
    assert "Classes 1, 2 cell body" in settled(panel)
    assert np.count_nonzero(layer.data == 1) == 448 and set(np.unique(labels_of(model))) == {1, 2}
    layer.undo()
    settled(panel)
    assert [row.value for row in panel.classes.value()] == [1, 2, 3]
    panel.classes.deleted.emit(3)
    settled(panel)
    assert np.count_nonzero(layer.data) == 288


def test_choosing_a_class_chooses_its_label_and_the_other_way_round(painted: Any) -> None:
    panel, layer = painted
    panel.classes.table.selectRow(1)
    assert layer.selected_label == 2
    layer.selected_label = 1
    assert panel.classes.selected() == 1


def test_a_users_own_layer_is_not_edited(panel_of: Open, model: Any, settled: Any) -> None:
    data = np.zeros((3, 64, 64), np.uint8)
    data[0, 4:8, 4:60], data[0, 28:32, 28:44], data[0, 60, :] = 1, 2, 3
    mine = model.add_labels(data.copy(), name="mine", **PLACE)
    panel = panel_of(SegmentPanel)
    panel.setValue({"head": "linear", "scribbles": "mine"})
    settled(panel)
    panel.classes.deleted.emit(3)
    settled(panel)
    np.testing.assert_array_equal(mine.data, data)
    assert not names_of(mine)
    copy = panel.scribbles.value()
    assert copy.name == "mine copy" and set(np.unique(copy.data)) == {0, 1, 2}
    np.testing.assert_array_equal(copy.scale, mine.scale)


def test_names_survive_saving(painted: Any, model: Any, tmp_path: Any) -> None:
    from napari_dinov3._napari.file_hooks import read_layers, write_labels

    panel, layer = painted
    panel.classes.renamed.emit(1, "membrane")
    data, attributes, _ = layer.as_layer_data_tuple()
    (path,) = write_labels(str(tmp_path / "scribbles.ome.tif"), data, attributes)
    again, options, _ = read_layers(path)[0]
    assert names_of(Labels(np.asarray(again), metadata=options.get("metadata"))) == {1: "membrane"}


def test_where_to_paint_next_moves_slider_and_camera_and_marks_the_place(painted: Any, model: Any, qtbot: Any) -> None:
    panel, layer = painted
    panel.next.go()
    qtbot.waitUntil(lambda: "stack paint here" in model.layers, timeout=TIMEOUT_MS)
    mark = model.layers["stack paint here"]
    plane, row, col = mark.data[0]
    assert model.dims.current_step[0] == plane
    centre = getattr(model, "scene", model).camera.center
    np.testing.assert_allclose(centre[1:], (row * 0.5, col * 0.5))
    assert model.layers.selection.active is layer
    unsure = panel.trained.uncertainty_plane(panel.prediction.features, int(plane))
    assert unsure[int(row) - 4 : int(row) + 4, int(col) - 4 : int(col) + 4].mean() > unsure.mean()
    panel.next.go()
    assert len(model.layers["stack paint here"].data) == 1
    assert tuple(model.layers["stack paint here"].data[0]) != (plane, row, col)


def test_two_images_train_one_probe_and_the_script_does_the_same(painted: Any, model: Any, settled: Any, finish: Any) -> None:
    panel, _layer = painted
    panel.add_example()
    assert "stack + stack scribbles: 288 px, classes 1, 2" in finish(panel)
    settled(panel)
    other = np.asarray(model.layers["stack"].data)[:, ::-1, ::-1].copy()
    model.add_image(other, name="other", **PLACE)
    panel.image.setValue("other")
    panel.new_scribbles()
    second = model.layers["other scribbles"]
    stroke(second, slice(58, 62), slice(4, 60), 1)
    assert "Classes 1, 2" in settled(panel)  # class 2 comes from the other image
    answered = np.asarray(model.layers["other labels"].data)
    assert answered[1, 30, 28] == 2
    exec(panel.script(), {"viewer": model})
    assert np.mean(np.asarray(model.layers["other labels [1]"].data) != answered) < 0.005
    session_of(model).features_config = ExtractConfig(backbone="filter-bank", stride=8)
    settled(panel)
    panel.run()
    text = finish(panel)
    assert "training image" in text and "stride 8.0 and 4.0" in text
    panel.remove_example(0)
    assert not panel.training_set


def test_a_probe_of_other_features_is_refused_with_the_difference(painted: Any, model: Any, settled: Any, tmp_path: Any) -> None:
    panel, _layer = painted
    panel.save_probe(tmp_path / "probe.npz")
    panel.load_probe(tmp_path / "probe.npz")
    session_of(model).features_config = ExtractConfig(backbone="filter-bank", stride=2)
    panel.run()
    text = settled(panel)
    assert "Error" in text and "stride" in text


def test_bad_scribbles_are_explained_and_nothing_is_lost(painted: Any, model: Any, settled: Any, tmp_path: Any) -> None:
    panel, layer = painted
    probe, before = panel.trained, labels_of(model).copy()
    for shape, place in (((3, 32, 32), PLACE), ((3, 64, 64), {"scale": (2, 1, 1), "units": ("um", "um", "um")})):
        model.add_labels(np.ones(shape, np.uint8), name="wrong", **place)
        panel.scribbles.setValue("wrong")
        text = settled(panel)
        assert "Error" in text and "What to do" in text, text
        model.layers.remove("wrong")
    (tmp_path / "wrong.npz").write_bytes(b"no probe")
    panel.load_probe(tmp_path / "wrong.npz")
    assert "not a usable probe file" in panel.status.text()
    assert panel.trained is probe and panel.loaded is None
    np.testing.assert_array_equal(labels_of(model), before)
    assert np.count_nonzero(layer.data) == 288


def test_one_class_only_is_answered_with_a_word(panel_of: Open, model: Any, settled: Any) -> None:
    panel = panel_of(SegmentPanel)
    panel.setValue({"head": "linear"})
    panel.new_scribbles()
    stroke(model.layers["stack scribbles"], slice(4, 8), slice(4, 60), 1)
    assert "Paint a second class" in settled(panel)
    assert panel.status.property("state") == "warning"


def test_features_that_are_not_finite_are_refused(
    painted: Any, settled: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel, layer = painted
    features = session_of(model).find(panel.request().key, begun=True)
    features.plane(0)[:] = np.nan
    stroke(layer, slice(10, 12), slice(4, 60), 1)
    text = settled(panel)
    assert "NaN" in text and "Extract the features again" in text


@pytest.mark.parametrize("which", ["stack", "stack scribbles", "stack labels"])
@pytest.mark.parametrize("how", ["rename", "remove"])
def test_a_layer_renamed_or_removed_during_training_loses_nothing(
    painted: Any, model: Any, settled: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch, which: str, how: str
) -> None:
    panel, layer = painted
    entered, go, real = threading.Event(), threading.Event(), Probe.fit_steps

    def slow(self: Any, *args: Any, **options: Any) -> Any:
        entered.set()
        go.wait(20)
        return (yield from real(self, *args, **options))

    monkeypatch.setattr(Probe, "fit_steps", slow)
    probe = panel.trained
    stroke(layer, slice(50, 60), slice(4, 60), 1)
    qtbot.waitUntil(entered.is_set, timeout=TIMEOUT_MS)
    if how == "rename":
        model.layers[which].name = "other"
    else:
        model.layers.remove(which)
    go.set()
    text = settled(panel)
    assert "Error" not in text
    assert panel.trained is not probe
    assert how == "rename" or which != "stack" or "was removed meanwhile" in text
    assert any(isinstance(each, Labels) and np.asarray(each.data).all() for each in model.layers)


def test_a_round_keeps_no_more_planes_of_a_large_stack_than_it_should() -> None:
    stack = prediction.PlaneStack((100, 8, 8), np.dtype(np.uint8), limit=4)
    for plane in range(100):
        stack.put(plane, np.full((8, 8), plane, np.uint8))
    assert stack.nbytes == 4 * 64
    assert stack[99].max() == 99 and not stack[0].any()


def test_the_learning_curve_follows_the_epochs(painted: Any) -> None:
    from types import SimpleNamespace

    panel, _ = painted
    assert panel.curve.isHidden()
    for epoch, miou in ((1, 0.2), (2, 0.7), (3, 0.6)):
        panel.curve.add(SimpleNamespace(epoch=epoch, loss=1 / epoch, miou=miou))
    assert not panel.curve.isHidden()
    assert "best 0.700 in epoch 2" in panel.curve.text.text()
    panel.curve.add(SimpleNamespace(epoch=1, loss=1.0, miou=0.1))
    assert len(panel.curve.value()) == 1


def test_visible_probabilities_follow_every_stroke_and_are_computed_in_the_worker(
    painted: Any, model: Any, settled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel, layer = painted
    panel.setValue({"probability": True, "uncertainty": True})
    settled(panel)
    soft = [model.layers[f"stack {kind}"] for kind in ("probability 1", "probability 2", "uncertainty")]
    for each in soft:
        each.visible = True
    before, data = [np.array(each.data[0]) for each in soft], [each.data for each in soft]
    computed: list[tuple[str, int]] = []
    compute = Probe.predict_proba_plane

    def note(self: Probe, features: Any, plane: int, **options: Any) -> Any:
        computed.append((threading.current_thread().name, plane))
        return compute(self, features, plane, **options)

    monkeypatch.setattr(Probe, "predict_proba_plane", note)
    stroke(layer, slice(40, 44), slice(4, 20), 2)
    settled(panel)
    assert computed == [("napari-dinov3 job", plane) for plane in (0, 1, 2)]  # once, the one in view first
    for each, old, array in zip(soft, before, data, strict=True):
        assert each.data is array  # drawn again in place
        assert not np.array_equal(np.asarray(each.data[0]), old)
        np.testing.assert_array_equal(np.asarray(each._slice.image.view), np.asarray(each.data[0]))
    layer.undo()
    settled(panel)
    np.testing.assert_array_equal([np.asarray(each.data[0]) for each in soft], before)


def test_hidden_probabilities_cost_nothing_while_painting(painted: Any, settled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    panel, layer = painted
    panel.setValue({"probability": True, "uncertainty": True})
    settled(panel)
    computed: list[int] = []
    monkeypatch.setattr(Probe, "predict_proba_plane", lambda self, features, plane, **options: computed.append(plane))
    stroke(layer, slice(40, 44), slice(4, 20), 2)
    settled(panel)
    assert computed == []
