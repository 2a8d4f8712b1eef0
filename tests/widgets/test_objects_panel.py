"""The Objects panel: make, measure, look, teach, save, replay; and what goes wrong."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_dinov3._napari.objects.tasks import row_order, work_of, write_columns
from napari_dinov3._napari.provenance import provenance_of
from napari_dinov3._napari.session import session_of
from napari_dinov3.objects.table import measure_objects
from napari_dinov3.recipe import ExtractConfig
from napari_dinov3.widgets.objects.panel import ObjectsPanel
from napari_dinov3.widgets.objects.table import ObjectTableView

Open = Callable[[type], Any]
Finish = Callable[[Any], str]
PLACES = [(row, col) for row in (8, 28, 48) for col in (8, 28, 48)]
WORLD = {"scale": (2, 0.5, 0.5), "units": ("um", "um", "um")}


def fill(viewer: Any) -> None:
    """Add two planes of nine squares, odd ones plain and even ones striped, and the class of their pixels."""
    viewer.layers.clear()
    rng = np.random.default_rng(0)
    image, classes = rng.normal(0, 0.1, (2, 64, 64)).astype(np.float32), np.zeros((2, 64, 64), np.uint8)
    for plane in range(2):
        for number, (row, col) in enumerate(PLACES, start=1):
            here = (plane, slice(row, row + 10), slice(col, col + 10))
            image[here] += 2 if number % 2 else 2 * (np.arange(10) % 4 < 2)
            classes[here] = 1
    viewer.add_image(image, name="cells", **WORLD)
    viewer.add_labels(classes, name="classes", **WORLD)
    session_of(viewer).features_config = ExtractConfig(backbone="filter-bank")


@pytest.fixture
def cells(model: Any) -> Any:
    fill(model)
    return model


def world_of(number: int, plane: int = 0) -> tuple[float, float, float]:
    row, col = PLACES[number - 1]
    return (plane * 2.0, (row + 5) * 0.5, (col + 5) * 0.5)


def make(panel: Any, finish: Finish) -> Any:
    panel.setValue({"min_size": 5})
    panel.run()
    finish(panel)
    return panel.viewer.layers["classes objects"]


def click(panel: Any, finish: Finish, number: int, value: int) -> str:
    panel.teaching.setValue({"teach_class": value})
    panel._on_click(world_of(number))
    return finish(panel)


def test_objects_are_made_measured_and_listed(panel_of: Open, finish: Finish, cells: Any) -> None:
    panel = panel_of(ObjectsPanel)
    layer = make(panel, finish)
    assert layer.data.max() == 18
    assert tuple(layer.scale) == (2, 0.5, 0.5)
    assert "18 objects" in panel.status.text()
    features = layer.features.set_index("index")
    assert features.loc[4, "area (um^2)"] == 25
    assert features.loc[10, "plane"] == 1
    assert panel.objects.value() == layer
    assert panel.table.model_.rowCount() == 18


def test_a_second_run_takes_the_place_of_the_first(panel_of: Open, finish: Finish, cells: Any) -> None:
    panel = panel_of(ObjectsPanel)
    make(panel, finish)
    panel.setValue({"across": "stack"})
    panel.run()
    finish(panel)
    assert len(cells.layers) == 3
    assert cells.layers["classes objects"].data.max() == 9
    assert "volume (um^3)" in cells.layers["classes objects"].features


def test_clicks_teach_classes_across_planes(panel_of: Open, finish: Finish, cells: Any) -> None:
    panel = panel_of(ObjectsPanel)
    layer = make(panel, finish)
    assert "Only class 1" in click(panel, finish, 1, 1)
    assert "classes 1, 2" in click(panel, finish, 2, 2)
    shown = cells.layers["classes objects classes"]
    for number, (row, col) in enumerate(PLACES, start=1):
        for plane in range(2):
            assert shown.data[plane, row + 5, col + 5] == 2 - number % 2
    features = layer.features.set_index("index")
    assert features["object_class"].tolist() == [2 - number % 2 for number in [*range(1, 10)] * 2]
    assert (features["object_class_probability"] > 0.5).all()
    assert "area (um^2)" in features
    assert "Class 1: 1 example, 10 objects" in panel.teaching.summary.text()
    panel.undo()
    finish(panel)
    assert set(np.unique(cells.layers["classes objects classes"].data)) == {0, 1}
    assert len(cells.layers) == 4


def test_names_of_classes_come_with_the_objects(panel_of: Open, finish: Finish, cells: Any) -> None:
    panel = panel_of(ObjectsPanel)
    layer = make(panel, finish)
    click(panel, finish, 1, 1)
    click(panel, finish, 2, 2)
    panel.teaching.name_edit.setText("striped")
    panel.teaching.name_edit.editingFinished.emit()
    finish(panel)
    assert layer.features.set_index("index").loc[2, "object_class_name"] == "striped"
    assert cells.layers["classes objects classes"].features["class"].tolist() == ["class 1", "striped"]


def test_clicks_come_from_the_canvas(panel_of: Open, finish: Finish, cells: Any) -> None:
    panel = panel_of(ObjectsPanel)
    make(panel, finish)
    assert not panel.picker.active
    panel.teaching.teach_button.setChecked(True)
    assert panel.picker.active
    panel._on_click((0, 0.5, 0.5))
    assert "no object at this place" in panel.status.text()
    panel._on_click((0, 900, 900))
    assert "outside" in panel.status.text()
    assert not panel.work.examples
    panel.teaching.teach_button.setChecked(False)
    assert not panel.picker.active


def test_any_instance_layer_can_be_taught_and_keeps_its_own_columns(panel_of: Open, finish: Finish, cells: Any) -> None:
    labels = np.zeros((2, 64, 64), np.int32)
    for number, (row, col) in enumerate(PLACES, start=1):
        labels[:, row : row + 10, col : col + 10] = number * 7
    features = {"index": [7, 14, 700], "note": ["a", "b", "c"], "object_class": ["x", "y", "z"]}
    layer = cells.add_labels(labels, name="mine", features=features, **WORLD)
    panel = panel_of(ObjectsPanel)
    panel.setValue({"objects": "mine"})
    click(panel, finish, 1, 1)
    click(panel, finish, 2, 3)
    written = layer.features.set_index("index")
    assert written.loc[[7, 14, 700], "note"].tolist() == ["a", "b", "c"]
    assert written.loc[[7, 14, 700], "object_class"].tolist() == ["x", "y", "z"]
    assert written.loc[[7, 14, 21], "object_class [1]"].tolist() == [1, 3, 1]
    np.testing.assert_array_equal(layer.data, labels)
    click(panel, finish, 3, 1)
    assert sorted(layer.features.columns) == sorted({"index", *written.columns})


def test_a_row_of_the_table_shows_its_object(panel_of: Open, finish: Finish, cells: Any) -> None:
    panel = panel_of(ObjectsPanel)
    layer = make(panel, finish)
    heading = [panel.table.model_.headerData(at, Qt.Orientation.Horizontal) for at in range(panel.table.model_.columnCount())]
    panel.table.sortByColumn(heading.index("label"), Qt.SortOrder.DescendingOrder)
    panel.table.selectRow(0)
    assert panel.table.value() == 18
    assert layer.selected_label == 18
    assert cells.dims.point[0] == 2
    assert cells.layers.selection.active is layer


def test_the_table_is_saved(panel_of: Open, finish: Finish, cells: Any, tmp_path: Any) -> None:
    panel = panel_of(ObjectsPanel)
    make(panel, finish)
    click(panel, finish, 1, 1)
    click(panel, finish, 2, 2)
    panel.export(tmp_path / "objects.csv")
    assert "18 objects" in finish(panel)
    with (tmp_path / "objects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["object_class"] for row in rows[:3]] == ["1", "2", "1"]
    assert (tmp_path / "objects.csv.json").exists()


def test_python_that_is_copied_does_the_same(panel_of: Open, finish: Finish, cells: Any) -> None:
    panel = panel_of(ObjectsPanel)
    panel.setValue({"method": "watershed", "min_size": 5})
    panel.run()
    finish(panel)
    click(panel, finish, 1, 1)
    click(panel, finish, 2, 2)
    panel.copy_script()
    exec(QApplication.clipboard().text(), {"viewer": cells})
    for name in ("classes objects", "classes objects classes"):
        np.testing.assert_array_equal(cells.layers[f"{name} [1]"].data, cells.layers[name].data)
    ours, theirs = cells.layers["classes objects"].features, cells.layers["classes objects [1]"].features
    assert ours["area (um^2)"].tolist() == theirs["area (um^2)"].tolist()
    assert "examples=((1, 1), (2, 2))" in provenance_of(cells.layers["classes objects classes"])["script"]


def test_a_classifier_goes_to_another_image(panel_of: Open, finish: Finish, cells: Any, tmp_path: Any) -> None:
    panel = panel_of(ObjectsPanel)
    make(panel, finish)
    click(panel, finish, 1, 4)
    click(panel, finish, 2, 5)
    panel.save_classifier(tmp_path / "cells.npz")
    panel.forget()
    assert not panel.work.examples
    panel.load_classifier(tmp_path / "cells.npz")
    assert "classes 4, 5" in finish(panel)
    assert "classifier=" in panel.script()
    session_of(cells).features_config = ExtractConfig(backbone="filter-bank", stride=4)
    panel.classify()
    text = finish(panel)
    assert "do not fit together" in text
    assert "stride" in text
    (tmp_path / "broken.npz").write_bytes(b"nothing")
    panel.load_classifier(tmp_path / "broken.npz")
    assert "not a usable object classifier" in panel.status.text()


def test_work_outlives_the_dock_and_goes_with_its_layer(dock: Open, finish: Finish, viewer: Any) -> None:
    fill(viewer)
    panel = dock(ObjectsPanel)
    layer = make(panel, finish)
    click(panel, finish, 1, 1)
    viewer.window.remove_dock_widget(panel)
    again = dock(ObjectsPanel)
    assert again.objects.value() == layer
    assert again.work.examples == {1: 1}
    assert again.table.model_.rowCount() == 18
    viewer.layers.remove(layer)
    assert again.work is None
    assert again.table.model_.rowCount() == 0
    assert not again.measure_button.isEnabled()


def test_a_stroke_in_the_objects_counts_at_the_next_click(panel_of: Open, finish: Finish, cells: Any) -> None:
    panel = panel_of(ObjectsPanel)
    layer = make(panel, finish)
    click(panel, finish, 1, 1)
    before = panel.work.pooled
    layer.selected_label, layer.brush_size, layer.n_edit_dimensions = 30, 3, 2
    layer.paint((0, 2, 2), 30)
    click(panel, finish, 2, 2)
    assert panel.work.pooled is not before
    assert 30 in panel.work.classes.labels


def test_a_probability_is_parted_with_its_own_settings(panel_of: Open, finish: Finish, cells: Any) -> None:
    probability = cells.layers["classes"].data * np.float32(0.8)
    cells.add_image(probability, name="probability", **WORLD)
    panel = panel_of(ObjectsPanel)
    threshold = panel.form.editor("threshold")
    assert threshold.isHidden()
    panel.setValue({"labels": "probability", "min_size": 0})
    assert not threshold.isHidden()
    panel.run()
    finish(panel)
    assert cells.layers["probability objects"].features["class_probability"].tolist() == pytest.approx([0.8] * 18)
    panel.setValue({"threshold": 0.9})
    panel.run()
    assert "0 objects" in finish(panel)


def test_what_is_missing_is_said(panel_of: Open, finish: Finish, cells: Any) -> None:
    cells.add_labels(np.ones((2, 32, 32), int), name="small")
    panel = panel_of(ObjectsPanel)
    assert "choose the layer of the objects" in panel.teaching.summary.text()
    panel.setValue({"labels": "small"})
    assert not panel.run_button.isEnabled()
    assert "(2, 32, 32)" in panel.run_button.toolTip()
    panel.setValue({"labels": "classes", "objects": "small"})
    assert "(2, 32, 32)" in panel.teaching.summary.text()
    cells.add_labels(np.ones((2, 64, 64), int), name="elsewhere", translate=(0, 50, 0), **WORLD)
    panel.setValue({"objects": "elsewhere"})
    assert "pixels away" in panel.teaching.summary.text()
    cells.layers.clear()
    assert "there is no labels layer" in panel.run_button.toolTip()


def test_labels_without_an_image_make_objects(panel_of: Open, finish: Finish, cells: Any) -> None:
    cells.layers.remove("cells")
    panel = panel_of(ObjectsPanel)
    layer = make(panel, finish)
    assert layer.data.max() == 18
    assert "intensity_mean" not in layer.features
    exec(panel.script(), {"viewer": cells})
    assert "no image layer" in panel.teaching.summary.text()


def test_a_single_colour_plane(panel_of: Open, finish: Finish, cells: Any) -> None:
    cells.layers.clear()
    image = np.zeros((64, 64, 3), np.uint8)
    image[8:20, 8:20, 0], image[30:50, 30:50, 2] = 200, 200
    cells.add_image(image, rgb=True, name="cells")
    cells.add_labels((image.max(axis=-1) > 0).astype(np.uint8), name="classes")
    panel = panel_of(ObjectsPanel)
    layer = make(panel, finish)
    assert layer.features["intensity_mean_blue"].tolist() == [0, 200]
    panel.teach(1, 1)
    finish(panel)
    panel.teach(2, 2)
    finish(panel)
    assert cells.layers["classes objects classes"].data[40, 40] == 2
    exec(panel.script(), {"viewer": cells})
    np.testing.assert_array_equal(cells.layers["classes objects classes [1]"].data, cells.layers["classes objects classes"].data)


def test_a_hundred_thousand_objects_are_listed_without_drawing_them(qtbot: Any) -> None:
    view = ObjectTableView()
    qtbot.addWidget(view)
    view.resize(280, 200)
    asked: list[int] = []
    real = view.model_.data
    view.model_.data = lambda index, role=0: (asked.append(index.row()), real(index, role))[1]
    count = 100_000
    view.setValue({"label": np.arange(1, count + 1), "size": np.random.default_rng(0).random(count)})
    view.show()
    qtbot.waitExposed(view)
    view.grab()
    assert view.model_.rowCount() == count
    assert max(asked, default=0) < 100


def test_rows_are_sorted_with_unknown_ones_last() -> None:
    values = np.array([2.0, np.nan, 1.0, 3.0])
    assert row_order(values, falling=False).tolist() == [2, 0, 3, 1]
    assert row_order(values, falling=True).tolist() == [3, 0, 2, 1]
    assert row_order(np.array(["b", "a"], dtype=object), falling=False).tolist() == [1, 0]


def test_columns_join_features_that_count_rows_as_labels(cells: Any) -> None:
    layer = cells.layers["classes"]
    layer.features = {"mine": [0, 10]}  # no index: row 1 is of label 1
    written: set[str] = set()
    write_columns(layer, measure_objects(layer.data), written)
    assert layer.features.set_index("index").loc[1, "mine"] == 10
    assert "pixels" in layer.features
    assert work_of(session_of(cells), layer).examples == {}


def test_headings_of_the_table_are_read_whole_with_their_units_and_widths_a_user_set_stay(qtbot: Any) -> None:
    view = ObjectTableView()
    qtbot.addWidget(view)
    columns = {"label": np.array([1, 2]), "area (um^2)": np.array([3.25, 4.5]), "minor_axis (um)": np.array([1.0, 2.0])}
    view.setValue(columns)
    view.resize(280, 170)
    heads = view.horizontalHeader()
    for column, name in enumerate(columns):
        text = view.model_.headerData(column, Qt.Orientation.Horizontal)
        assert text == name.replace("_", " ")
        assert view.columnWidth(column) >= heads.fontMetrics().horizontalAdvance(text)
    view.setColumnWidth(1, 150)
    view.setValue(columns)
    assert view.columnWidth(1) == 150
    view.setValue({"label": np.array([1]), "class": np.array([2])})
    assert view.columnWidth(1) < 150


def test_a_table_that_was_just_measured_can_be_saved(panel_of: Open, finish: Finish, cells: Any) -> None:
    panel = panel_of(ObjectsPanel)
    panel.objects.setValue("classes")
    assert not panel.export_button.isEnabled()
    panel.measure()
    assert "measured" in finish(panel)
    assert panel.export_button.isEnabled()
    assert panel.table.model_.label_of(0) == min(panel.work.table.labels)  # in their order at first
