"""Segment by scribbles: nothing painted is lost, nothing trained is lost, and nothing is trained in the wrong place."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import napari_dinov3 as nd
from napari_dinov3._napari.segment.classes import set_names
from napari_dinov3._napari.session import session_of
from napari_dinov3.segment.probe import Probe
from napari_dinov3.widgets.segment.panel import SegmentPanel

Open = Callable[[type], Any]
Finish = Callable[[Any], str]
PLACE: dict[str, Any] = {"scale": (2, 0.5, 0.5), "units": ("um", "um", "um")}


def scribble(panel: Any, viewer: Any) -> None:
    panel.setValue({"live": False})
    panel.new_scribbles()
    layer = viewer.layers["stack scribbles"]
    data = np.asarray(layer.data).copy()
    data[..., 0, 4:8, 4:60] = data[..., 0, 56:60, 4:60] = 1
    data[..., 0, 28:32, 28:44] = 2
    layer.data = data
    panel.setValue({"head": "linear"})


def train(panel: Any, finish: Finish) -> str:
    panel.run()
    return finish(panel)


def truth(viewer: Any) -> Any:
    return viewer.add_labels((np.asarray(viewer.layers["stack"].data) > 130).astype(np.uint8), name="truth", **PLACE)


def test_paint_in_the_labels_while_a_run_fills_them_stays(
    panel_of: Open, finish: Finish, model: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, real = threading.Event(), Probe.predict_plane

    def slow(self: Any, features: Any, plane: int, **options: Any) -> Any:
        if plane == 0:
            time.sleep(0.1)  # longer than the pause between two shown steps, so that plane 0 is shown
        else:
            go.wait(10)
        return real(self, features, plane, **options)

    monkeypatch.setattr(Probe, "predict_plane", slow)
    model.dims.set_point(0, 0)
    panel = panel_of(SegmentPanel)
    scribble(panel, model)
    panel.run()
    qtbot.waitUntil(lambda: "stack labels" in model.layers, timeout=60_000)
    layer = model.layers["stack labels"]
    assert layer.data[0].all() and not layer.data[2].any()
    for plane in (0, 2):
        layer.data_setitem((np.full(9, plane), np.full(9, 30), np.arange(9)), 9)
    go.set()
    assert "Classes 1, 2" in finish(panel)
    assert "stack labels [1]" not in model.layers
    assert (layer.data[0, 30, :9] == 9).all() and (layer.data[2, 30, :9] == 9).all()
    assert layer.data[2, 32, 36] == 2
    assert set(np.unique(panel.prediction.labels)) == {1, 2}
    train(panel, finish)
    again = model.layers["stack labels [1]"]
    assert (layer.data[2, 30, :9] == 9).all() and not np.shares_memory(again.data, layer.data)
    assert set(np.unique(again.data)) == {1, 2}


def test_scribbles_do_not_train_another_time_point(panel_of: Open, finish: Finish, model: Any) -> None:
    data = np.asarray(model.layers["stack"].data)
    model.layers.clear()
    model.add_image(np.stack([data, data[:, ::-1]]), name="stack", axis_labels=("t", "z", "y", "x"))
    panel = panel_of(SegmentPanel)
    model.dims.set_point(0, 0)
    scribble(panel, model)
    model.dims.set_point(0, 1)
    assert "holds nothing at this position of the slider of axis t" in train(panel, finish)
    assert "stack labels" not in model.layers
    panel.copy_script()
    assert panel.status.property("state") == "error"
    model.dims.set_point(0, 0)
    assert "Classes 1, 2" in train(panel, finish)


def test_scribbles_and_references_that_lie_elsewhere_are_refused(panel_of: Open, finish: Finish, model: Any) -> None:
    panel = panel_of(SegmentPanel)
    scribble(panel, model)
    model.layers["stack scribbles"].translate = (0, 10, 0)
    assert "lies up to 20 pixels away" in train(panel, finish)
    model.layers["stack scribbles"].translate = (0, 0, 0)
    reference = truth(model)
    reference.scale = (1, 1, 1)
    panel.reference.setValue("truth")
    assert "lies up to 63 pixels away" in train(panel, finish)
    assert "stack labels" not in model.layers


def test_what_was_trained_outlives_the_panel(panel_of: Open, finish: Finish, model: Any, tmp_path: Any) -> None:
    first = panel_of(SegmentPanel)
    assert not first.files.save_button.isEnabled()
    scribble(first, model)
    reference = truth(model)
    first.reference.setValue(reference)
    status = train(first, finish)
    assert "Accuracy 0." in status and "mean IoU 0." in status
    labels = model.layers["stack labels"]
    first.dispose()
    second = panel_of(SegmentPanel)
    assert second.report.text() == first.report.text() != ""
    second.save_probe(tmp_path / "probe.npz")
    assert Probe.load(tmp_path / "probe.npz").classes_ == (1, 2)
    second.reference.setValue(None)
    second.reference.setValue(reference)
    assert "Compared with the reference. Accuracy" in finish(second)
    train(second, finish)
    assert [layer.name for layer in model.layers if "stack labels" in layer.name] == [labels.name]
    model.layers.remove("stack")
    assert second.prediction is None
    assert second.trained is not None
    assert session_of(model).kept("SegmentPanel") == {}


def test_a_failed_run_leaves_the_trained_probe(panel_of: Open, finish: Finish, model: Any, tmp_path: Any) -> None:
    panel = panel_of(SegmentPanel)
    scribble(panel, model)
    layer = model.layers["stack scribbles"]
    strokes = np.asarray(layer.data).copy()
    layer.data = np.zeros_like(strokes)
    train(panel, finish)
    assert panel.status.property("state") == "error"
    assert not panel.files.save_button.isEnabled()
    layer.data = strokes
    train(panel, finish)
    probe, prediction = panel.trained, panel.prediction
    layer.data = np.zeros_like(strokes)
    train(panel, finish)
    assert panel.status.property("state") == "error"
    assert panel.trained is probe and panel.prediction is prediction
    panel.save_probe(tmp_path / "probe.npz")
    assert (tmp_path / "probe.npz").exists()


def test_soft_layers_are_replaced_and_copied_as_python(panel_of: Open, finish: Finish, model: Any, tmp_path: Any) -> None:
    panel = panel_of(SegmentPanel)
    scribble(panel, model)
    panel.setValue({"probability": True, "uncertainty": True})
    train(panel, finish)
    assert "and 3 more, hidden (click the eye in the layer list)." in train(panel, finish)
    soft = ["stack probability 1", "stack probability 2", "stack uncertainty"]
    model.layers[soft[0]].visible = True
    finish(panel)
    assert "and 3 more, 2 of them hidden" in train(panel, finish)
    for name in soft:
        model.layers[name].visible = True
    assert "hidden" not in train(panel, finish) and "and 3 more." in finish(panel)
    assert [layer.name for layer in model.layers] == ["stack", "stack labels", *soft, "stack scribbles"]
    exec(panel.script(), {"viewer": model})
    for name in soft:
        copied = next(layer for layer in model.layers if layer.name.startswith(name) and layer is not model.layers[name])
        np.testing.assert_allclose(np.asarray(copied.data[1]), np.asarray(model.layers[name].data[1]), atol=0.02)
        np.testing.assert_array_equal(copied.scale, model.layers[name].scale)
    panel.save_probe(tmp_path / "my probe.npz")
    panel.load_probe(tmp_path / "my probe.npz")
    assert repr(str(tmp_path / "my probe.npz")) in panel.script()
    count = len(model.layers)
    exec(panel.script(), {"viewer": model})
    assert len(model.layers) == count + 4


def test_names_of_classes_are_kept_in_the_file_and_given_to_the_next_result(
    panel_of: Open, finish: Finish, model: Any, tmp_path: Any
) -> None:
    panel = panel_of(SegmentPanel)
    scribble(panel, model)
    set_names(model.layers["stack scribbles"], {1: "outside", 2: "square"})
    train(panel, finish)
    panel.files.save(tmp_path / "probe.npz")
    assert Probe.load(tmp_path / "probe.npz").class_names == {1: "outside", 2: "square"}
    set_names(model.layers["stack scribbles"], {1: "outside", 2: "renamed"})
    panel.editor.changed.emit()
    assert panel.trained.class_names == {1: "outside", 2: "renamed"}
    panel.load_probe(tmp_path / "probe.npz")
    assert "1 outside, 2 square" in panel.files.text.text()
    assert "2 square" in train(panel, finish)
    panel.editor.changed.emit()
    assert list(model.layers["stack labels"].features["name"]) == ["not labelled", "outside", "square"]
    assert "'square'" in panel.script()


def test_files_train_together_with_layers(panel_of: Open, finish: Finish, model: Any, tmp_path: Any) -> None:
    panel = panel_of(SegmentPanel)
    panel.live.setChecked(False)
    scribble(panel, model)
    image = np.asarray(model.layers["stack"].data)[:, ::-1]
    third = np.zeros(image.shape, np.uint8)
    third[1, 2:6, 2:60] = 3
    nd.write(tmp_path / "other.tif", image)
    nd.write(tmp_path / "strokes.tif", third, kind="labels")
    nd.write(tmp_path / "short.tif", third[:1], kind="labels")
    nd.write(tmp_path / "empty.tif", third * 0, kind="labels")
    for wrong, words in (("short.tif", "have shape"), ("empty.tif", "Nothing is painted"), ("none.tif", "none.tif")):
        panel.add_example_files(tmp_path / "other.tif", tmp_path / wrong)
        assert words in finish(panel)
        assert panel.status.property("state") == "error" and not panel.training_set
    panel.add_example_files(tmp_path / "other.tif", tmp_path / "strokes.tif")
    assert "other.tif + strokes.tif: 232 px, classes 3" in finish(panel)
    assert "Classes 1, 2, 3" in train(panel, finish)
    labels = np.asarray(model.layers["stack labels"].data).copy()
    exec(panel.script(), {"viewer": model})
    assert np.mean(np.asarray(model.layers["stack labels [1]"].data) != labels) < 0.005
