"""The layer chooser follows the viewer, and remembers the layer rather than its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_dinov3._napari.provenance import provenance
from napari_dinov3.widgets.layer_chooser import LayerChooser


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


def chooser(viewer: ViewerModel, qtbot: Any, **options: Any) -> LayerChooser:
    widget = LayerChooser(viewer, ("Image",), label="Image", tooltip="Which.", **options)
    qtbot.addWidget(widget)
    return widget


def texts(widget: LayerChooser) -> list[str]:
    box = widget.focusProxy()
    return [box.itemText(i) for i in range(box.count())]


def test_it_starts_empty_and_takes_the_first_image(viewer: ViewerModel, qtbot: Any) -> None:
    widget = chooser(viewer, qtbot)
    assert widget.value() is None
    with qtbot.waitSignal(widget.valueChanged):
        layer = viewer.add_image(np.zeros((8, 8)))
    assert widget.value() is layer
    viewer.add_labels(np.zeros((8, 8), np.uint8))
    viewer.add_points(np.zeros((1, 2)))
    assert texts(widget) == [layer.name]


def test_results_do_not_take_the_choice_away(viewer: ViewerModel, qtbot: Any) -> None:
    first = viewer.add_image(np.zeros((8, 8)), name="first")
    widget = chooser(viewer, qtbot)
    viewer.add_image(np.zeros((8, 8)), name="second")
    assert widget.value() is first
    assert texts(widget) == ["second", "first"]


def test_a_renamed_layer_stays_chosen_under_its_new_name(viewer: ViewerModel, qtbot: Any) -> None:
    layer = viewer.add_image(np.zeros((8, 8)), name="old")
    widget = chooser(viewer, qtbot)
    layer.name = "new"
    assert widget.value() is layer
    assert texts(widget) == ["new"]


def test_a_removed_choice_gives_way_to_another(viewer: ViewerModel, qtbot: Any) -> None:
    first, second = viewer.add_image(np.zeros((8, 8))), viewer.add_image(np.zeros((8, 8)))
    widget = chooser(viewer, qtbot)
    widget.setValue(first)
    viewer.layers.remove(first)
    assert widget.value() is second
    viewer.layers.remove(second)
    assert widget.value() is None


def test_an_optional_layer_is_none_until_it_is_chosen(viewer: ViewerModel, qtbot: Any) -> None:
    layer = viewer.add_image(np.zeros((8, 8)), name="image")
    widget = chooser(viewer, qtbot, optional="none")
    assert widget.value() is None
    widget.setValue("image")
    assert widget.value() is layer
    widget.setValue(None)
    assert widget.value() is None
    widget.setValue(layer.unique_id)
    assert widget.value() is layer


def test_it_lets_go_of_the_viewer(viewer: ViewerModel, qtbot: Any) -> None:
    layer = viewer.add_image(np.zeros((8, 8)), name="image")
    widget = chooser(viewer, qtbot)
    widget.dispose()
    viewer.add_image(np.zeros((8, 8)))
    layer.name = "renamed"
    assert texts(widget) == ["image"]


def test_results_are_chosen_only_where_there_is_nothing_else(viewer: ViewerModel, qtbot: Any) -> None:
    result = viewer.add_image(np.zeros((8, 8)), name="PCA", metadata=provenance("pca", source="image", settings={}))
    read = viewer.add_image(np.zeros((8, 8)), name="image", metadata=provenance("read", source="file", settings={}))
    viewer.layers.selection.active = result
    widget = chooser(viewer, qtbot)
    assert widget.value() is read
    viewer.layers.remove(read)
    assert widget.value() is result
