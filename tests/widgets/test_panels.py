"""The panels in a real viewer, behind the proxy plugins get: they fit, explain themselves, run, cancel, close and copy."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QAbstractButton, QApplication, QComboBox, QScrollArea, QWidget

from napari_dinov3._napari import jobs
from napari_dinov3._napari.provenance import provenance_of
from napari_dinov3.backbones.registry import Readiness
from napari_dinov3.progress import Progress
from napari_dinov3.segment.probe import Probe
from napari_dinov3.widgets import feature_chooser, feature_facts
from napari_dinov3.widgets.align.panel import AlignPanel
from napari_dinov3.widgets.align.section_table import COLUMNS
from napari_dinov3.widgets.batch.panel import BatchPanel
from napari_dinov3.widgets.classify.panel import ClassifyImagesPanel
from napari_dinov3.widgets.data.panel import DataPanel
from napari_dinov3.widgets.discover.panel import DiscoverPanel
from napari_dinov3.widgets.evaluate.panel import EvaluatePanel
from napari_dinov3.widgets.features.panel import FeaturesPanel
from napari_dinov3.widgets.objects.panel import ObjectsPanel
from napari_dinov3.widgets.panel import PANEL_WIDTH
from napari_dinov3.widgets.segment.panel import SegmentPanel

PANELS = (
    DataPanel,
    FeaturesPanel,
    SegmentPanel,
    DiscoverPanel,
    AlignPanel,
    ObjectsPanel,
    EvaluatePanel,
    ClassifyImagesPanel,
    BatchPanel,
)
IMAGE_PANELS = PANELS[1:5]
each_panel = pytest.mark.parametrize("kind", PANELS, ids=lambda kind: kind.__name__)
each_image_panel = pytest.mark.parametrize("kind", IMAGE_PANELS, ids=lambda kind: kind.__name__)
Open = Callable[[type], Any]
Finish = Callable[[Any], str]


@each_panel
def test_a_panel_fits_a_narrow_dock(kind: type, dock: Open) -> None:
    panel = dock(kind)
    assert panel.minimumSizeHint().width() <= PANEL_WIDTH
    inside = panel.findChild(QScrollArea).widget()
    assert inside.minimumSizeHint().width() <= PANEL_WIDTH - 30  # a scroll bar and the margins


@each_panel
def test_every_control_says_what_it_does(kind: type, panel_of: Open) -> None:
    panel = panel_of(kind)
    own = [w for w in panel.findChildren(QWidget) if isinstance(w, QAbstractButton | QComboBox) and w.isEnabled()]
    silent = [
        w.text() if isinstance(w, QAbstractButton) else w.accessibleName()
        for w in own
        if not w.toolTip() and not w.objectName().startswith("qt_") and w.parent().objectName() != "qt_spinbox"
    ]
    assert not silent
    assert panel.help_text
    assert panel.summary


@each_panel
def test_help_opens_and_closes(kind: type, panel_of: Open) -> None:
    panel = panel_of(kind)
    label = panel.findChild(QWidget, "help")
    assert label.isHidden()
    panel.help_button.setChecked(True)
    assert not label.isHidden()


@each_image_panel
def test_run_says_why_it_is_off_and_comes_on_with_an_image(kind: type, panel_of: Open, model: Any) -> None:
    model.layers.clear()
    panel = panel_of(kind)
    assert not panel.run_button.isEnabled()
    assert "no image layer" in panel.run_button.toolTip()
    assert "Cannot run yet" in panel.status.text()
    panel.run()
    assert not panel.runner.running
    model.add_image(np.zeros((3, 32, 32)))
    assert "no image layer" not in panel.run_button.toolTip()


@each_panel
def test_settings_come_back_when_a_closed_panel_is_opened_again(kind: type, dock: Open, viewer: Any) -> None:
    changes = {"size": 128, "head": "linear", "auto_tau": False, "tau": 0.4, "model": "affine", "opening": 2}
    panel = dock(kind)
    heard: list[int] = []
    panel.valueChanged.connect(lambda: heard.append(1))
    panel.setValue(changes)
    value = panel.value()
    assert bool(heard) == bool(changes.keys() & value.keys())
    viewer.window.remove_dock_widget(panel)
    assert dock(kind).value() == value


@each_panel
def test_closing_a_dock_with_a_running_job_stops_it(kind: type, dock: Open, viewer: Any, qtbot: Any) -> None:
    entered, go, closed = threading.Event(), threading.Event(), threading.Event()

    def job() -> Any:
        try:
            entered.set()
            go.wait(10)
            yield Progress(0, 2)
            yield Progress(1, 2)
        finally:
            closed.set()

    panel = dock(kind)
    shown: list[Any] = []
    panel.start(job(), "A job", lambda result: str(shown.append(result)))
    qtbot.waitUntil(entered.is_set)
    assert panel.cancel_button.isEnabled()
    assert not panel.run_button.isEnabled()
    viewer.window.remove_dock_widget(panel)
    go.set()
    qtbot.waitUntil(closed.is_set)
    viewer.add_image(np.zeros((8, 8)))  # nothing of the panel listens any more
    assert not shown


def test_an_error_is_shown_in_three_parts(panel_of: Open, finish: Finish, model: Any) -> None:
    panel = panel_of(SegmentPanel)
    panel.new_scribbles()
    panel.run()
    text = finish(panel)
    assert "Error:" in text
    assert "Expected:" in text
    assert "What to do:" in text


def test_cancelling_adds_nothing(panel_of: Open, finish: Finish, model: Any, monkeypatch: pytest.MonkeyPatch, qtbot: Any) -> None:
    entered, go = threading.Event(), threading.Event()

    def slow(*_: Any) -> Any:
        yield Progress(0, 2)
        entered.set()
        go.wait(10)
        yield Progress(1, 2)

    monkeypatch.setattr(jobs, "features_steps", slow)
    panel = panel_of(FeaturesPanel)
    panel.run()
    qtbot.waitUntil(entered.is_set)
    panel.cancel()
    go.set()
    assert "Cancelled" in finish(panel)
    assert len(model.layers) == 1


def run_script(panel: Any, viewer: Any) -> None:
    panel.copy_script()
    exec(QApplication.clipboard().text(), {"viewer": viewer})


def test_new_data_draws_and_copies_the_same(panel_of: Open, finish: Finish, model: Any) -> None:
    model.layers.clear()
    panel = panel_of(DataPanel)
    panel.setValue({"modality": "histology", "planes": 2, "size": 64, "drift": 1.0})
    panel.run()
    assert "Done" in finish(panel)
    image, mask = model.layers
    assert model.layers.selection.active.name == image.name
    run_script(panel, model)
    np.testing.assert_array_equal(model.layers[2].data, image.data)
    np.testing.assert_array_equal(model.layers[3].data, mask.data)
    np.testing.assert_array_equal(model.layers[2].scale, image.scale)


def test_new_data_opens_a_file(panel_of: Open, finish: Finish, model: Any, tmp_path: Any) -> None:
    np.save(tmp_path / "file.npy", np.zeros((2, 16, 16), np.uint8))
    panel = panel_of(DataPanel)
    panel.open_path(tmp_path / "file.npy")
    assert "file" in finish(panel)
    assert model.layers[-1].data.shape == (2, 16, 16)
    panel.open_path(tmp_path / "nothing.npy")
    assert "Error" in finish(panel)


def test_features_show_colours_and_similarity_and_copy_the_same(dock: Open, finish: Finish, viewer: Any) -> None:
    panel = dock(FeaturesPanel)
    panel.run()
    assert "filter-bank" in finish(panel)
    panel.show_pca()
    finish(panel)
    panel.pick(viewer.layers["stack"].data_to_world((1, 30, 36)))
    assert "plane" in finish(panel)
    colours, heat = viewer.layers["stack PCA"], viewer.layers["stack similarity"]
    np.testing.assert_allclose(heat.scale, (2, 2, 2))
    assert heat.units == viewer.layers["stack"].units
    assert provenance_of(heat)["settings"]["plane"] == 1
    run_script(panel, viewer)
    np.testing.assert_allclose(viewer.layers["stack PCA [1]"].data, colours.data, atol=1e-5)
    np.testing.assert_allclose(viewer.layers["stack similarity [1]"].data, heat.data, atol=1e-5)
    np.testing.assert_allclose(viewer.layers["stack similarity [1]"].translate, heat.translate)


def test_clicks_reach_the_panel_only_while_similarity_is_on(dock: Open, finish: Finish, viewer: Any) -> None:
    panel = dock(FeaturesPanel)
    before = len(viewer.mouse_drag_callbacks)
    panel.pick_button.setChecked(True)
    assert panel.pick_button.text().startswith("Similarity: on")
    finish(panel)
    event = type("Event", (), {"position": (0, 15, 18), "type": "mouse_press", "button": 1, "modifiers": ()})()
    follow = viewer.mouse_drag_callbacks[-1](viewer, event)
    next(follow)
    event.type, event.position = "mouse_release", (0, 15, 18)
    with pytest.raises(StopIteration):
        next(follow)
    finish(panel)
    assert "stack similarity" in viewer.layers
    panel.pick_button.setChecked(False)
    assert len(viewer.mouse_drag_callbacks) == before


def test_a_painted_region_is_compared(panel_of: Open, finish: Finish, model: Any) -> None:
    panel = panel_of(FeaturesPanel)
    assert not panel.region_button.isEnabled()
    region = np.zeros((3, 64, 64), np.uint8)
    region[0, 28:34, 30:40] = 1
    place = {name: getattr(model.layers["stack"], name) for name in ("scale", "units")}
    model.add_labels(region, name="region", **place)
    panel.region.setValue("region")
    panel.show_region()
    finish(panel)
    heat = model.layers["stack similar to region"].data
    assert heat[2, 8, 9] > heat[2, 1, 1]


def test_panels_share_how_features_are_made(panel_of: Open, model: Any) -> None:
    features, discover = panel_of(FeaturesPanel), panel_of(DiscoverPanel)
    features.features.form.setValue({"backbone": "random-projection-cnx-tiny"})
    assert discover.features.form.value() == {"backbone": "random-projection-cnx-tiny", "stride": None, "beside": None}
    assert "no meaning" in discover.features.facts.text()
    assert "384 numbers" in discover.features.estimate.text()


def test_a_backbone_that_is_not_here_says_what_it_needs(
    panel_of: Open, finish: Finish, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_dinov3.backbones import download

    here = {"dinov3-vits16": Readiness(False, "torch missing: install it")}
    for module in (feature_chooser, feature_facts):
        monkeypatch.setattr(module, "readiness", lambda name, **_: here.get(name, Readiness(True, "ready")))
    panel = panel_of(FeaturesPanel)
    panel.features.form.setValue({"backbone": "dinov3-vits16"})
    assert not panel.run_button.isEnabled()
    assert all(part in panel.status.text() for part in ("needs torch", "Expected:", "What to do: Run pip install"))
    assert panel.features.download_button.isHidden()
    here["dinov3-vits16"] = Readiness(False, "weights to download: 86 MB")
    panel.features.refresh()
    panel.refresh()
    assert panel.features.download_button.text() == "Download (86 MB)"
    assert "DINOv3 License" in panel.features.licence.text()
    assert "What to do: Press Download above" in panel.status.text()

    def fetch(name: str, **_: Any) -> Any:
        yield Progress(0, 1)
        here[name] = Readiness(True, "ready")
        return f"folder of {name}"

    monkeypatch.setattr(download, "download_steps", fetch)
    panel.features.download_button.click()
    assert "folder of dinov3-vits16" in finish(panel)
    assert panel.run_button.isEnabled()


def test_a_cancelled_run_says_how_many_planes_are_labelled(
    panel_of: Open, finish: Finish, model: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go = threading.Event(), threading.Event()
    real = Probe.predict_plane

    def slow(self: Any, features: Any, plane: int, **options: Any) -> Any:
        if plane == 1:
            entered.set()
            go.wait(10)
        return real(self, features, plane, **options)

    monkeypatch.setattr(Probe, "predict_plane", slow)
    model.dims.set_point(0, 0)
    panel = panel_of(SegmentPanel)
    panel.new_scribbles()
    paint(model)
    panel.run()
    qtbot.waitUntil(entered.is_set, timeout=60_000)
    panel.cancel()
    go.set()
    assert "2 of 3 planes labelled" in finish(panel)


def test_a_result_follows_a_source_that_was_moved(panel_of: Open, finish: Finish, model: Any) -> None:
    panel = panel_of(FeaturesPanel)
    panel.run()
    finish(panel)
    panel.pick((0, 15, 18))
    finish(panel)
    model.layers["stack"].scale = (2, 3, 3)
    panel.pick((0, 90, 108))
    finish(panel)
    np.testing.assert_allclose(model.layers["stack similarity [1]"].scale, (2, 12, 12))


def paint(viewer: Any) -> None:
    layer = viewer.layers["stack scribbles"]
    data = np.asarray(layer.data).copy()
    data[0, 4:8, 4:60] = data[0, 56:60, 4:60] = data[0, 4:60, 4:8] = data[0, 4:60, 56:60] = 1
    data[0, 28:32, 28:44] = 2
    layer.data = data


def test_scribbles_become_labels_and_the_next_run_replaces_them(dock: Open, finish: Finish, viewer: Any) -> None:
    panel = dock(SegmentPanel)
    assert "scribbles" in panel.run_button.toolTip()
    panel.new_scribbles()
    assert viewer.layers.selection.active.mode == "paint"
    paint(viewer)
    viewer.add_labels(
        (np.asarray(viewer.layers["stack"].data) > 130).astype(np.uint8),
        name="truth",
        scale=(2, 0.5, 0.5),
        units=("um", "um", "um"),
    )
    panel.reference.setValue("truth")
    panel.setValue({"uncertainty": True, "head": "linear"})
    panel.run()
    assert "Classes 1, 2" in finish(panel)
    labels = viewer.layers["stack labels"]
    assert labels.data[2, 32, 36] == 2
    assert labels.data[2, 4, 4] == 1
    assert float(panel.report.text().split()[1].rstrip(",")) > 0.85  # the square is blurred to the stride of 4 pixels
    assert "stack uncertainty" in viewer.layers
    run_script(panel, viewer)
    # another thread sums in another order: where two classes are equally likely, a pixel may fall to either
    assert np.mean(viewer.layers["stack labels [1]"].data != labels.data) < 0.005
    panel.setValue({"uncertainty": False, "head": "prototypes"})
    panel.run()
    finish(panel)
    assert "stack labels [2]" not in viewer.layers
    assert provenance_of(viewer.layers["stack labels"])["settings"]["head"] == "prototypes"


def test_a_probe_is_saved_and_used_without_scribbles(panel_of: Open, finish: Finish, model: Any, tmp_path: Any) -> None:
    panel = panel_of(SegmentPanel)
    panel.new_scribbles()
    paint(model)
    panel.run()
    finish(panel)
    first = np.asarray(model.layers["stack labels"].data).copy()
    panel.save_probe(tmp_path / "probe.npz")
    model.layers.remove("stack scribbles")
    assert not panel.run_button.isEnabled()
    panel.load_probe(tmp_path / "probe.npz")
    panel.run()
    finish(panel)
    np.testing.assert_array_equal(model.layers["stack labels"].data, first)
    panel.forget_probe()
    assert not panel.run_button.isEnabled()


def test_masks_follow_their_settings(panel_of: Open, finish: Finish, model: Any) -> None:
    panel = panel_of(DiscoverPanel)
    panel.setValue({"auto_tau": False, "tau": 0.5})
    panel.run()
    assert "covers" in finish(panel)
    layer = model.layers["stack discovered"]
    assert provenance_of(layer)["well_posed"]
    before = np.asarray(layer.data).copy()
    panel.setValue({"invert": True, "component": "all"})
    finish(panel)
    assert not np.array_equal(model.layers["stack discovered"].data, before)
    panel.extras.add_boxes()
    panel.extras.add_eigenvectors()
    assert model.layers["stack boxes"].nshapes >= 1
    assert model.layers["stack eigenvector"].data.shape == (3, 16, 16)
    run_script(panel, model)
    np.testing.assert_array_equal(model.layers["stack discovered [1]"].data, model.layers["stack discovered"].data)


def test_the_clicked_side_is_the_object(panel_of: Open, finish: Finish, model: Any) -> None:
    panel = panel_of(DiscoverPanel)
    panel.setValue({"auto_tau": False, "tau": 0.5, "side": "click"})
    assert "no place was clicked" in panel.run_button.toolTip()
    panel._on_click(model.layers["stack"].data_to_world((0, 32, 36)))
    panel.run()
    finish(panel)
    assert model.layers["stack discovered"].data[1, 32, 36] == 1


def test_a_stack_is_aligned_with_its_labels(panel_of: Open, finish: Finish, model: Any) -> None:
    model.layers.clear()
    data = panel_of(DataPanel)
    data.setValue({"modality": "em", "planes": 3, "size": 128, "drift": 3.0})
    data.run()
    finish(data)
    panel = panel_of(AlignPanel)
    panel.setValue({"model": "translation", "backbone": None, "drift": "first"})
    panel.run()
    assert "3 planes" in finish(panel)
    assert panel.table.rowCount() == 3
    shifts = np.array(provenance_of(model.layers["synthetic em"])["shifts"])
    moved = [float(panel.table.item(2, COLUMNS.index(name)).text()) for name in ("Row", "Col")]
    np.testing.assert_allclose(moved, -shifts[2], atol=0.5)  # half a pixel, as the bodies change from plane to plane
    panel.follower.setValue("synthetic em mask")
    panel.move_follower()
    assert "synthetic em mask aligned" in finish(panel)
    assert model.layers["synthetic em mask aligned"].data.max() == 1
    run_script(panel, model)
    np.testing.assert_array_equal(model.layers["synthetic em aligned [1]"].data, model.layers["synthetic em aligned"].data)


def test_a_single_image_is_no_stack(panel_of: Open, model: Any) -> None:
    model.layers.clear()
    model.add_image(np.zeros((32, 32)), name="one")
    assert "single image" in panel_of(AlignPanel).run_button.toolTip()


def test_a_pyramid_shows_its_levels(panel_of: Open, finish: Finish, model: Any) -> None:
    finest = np.random.default_rng(0).random((64, 64))
    model.add_image([finest, finest[::2, ::2]], multiscale=True, name="pyramid", scale=(0.5, 0.5))
    panel = panel_of(FeaturesPanel)
    panel.image.setValue("stack")
    assert panel.level.isHidden()
    panel.setValue({"image": "pyramid", "level": 1})
    assert not panel.level.isHidden()
    panel.show_pca()
    finish(panel)
    assert model.layers["pyramid PCA"].data.shape == (8, 8, 3)
    np.testing.assert_allclose(model.layers["pyramid PCA"].scale, (4, 4))
    run_script(panel, model)
    np.testing.assert_allclose(model.layers["pyramid PCA [1]"].translate, model.layers["pyramid PCA"].translate)


def test_panels_load_no_torch() -> None:
    modules = [f"napari_dinov3.widgets.{kind.__module__.rpartition('.')[2]}" for kind in PANELS]
    program = f"import {', '.join(modules)}, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "False"
