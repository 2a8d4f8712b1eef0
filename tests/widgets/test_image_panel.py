"""The image section of a panel: pyramid levels that exist, and nothing raised by a layer that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QSpinBox

from napari_dinov3.errors import InputError
from napari_dinov3.widgets import image_panel
from napari_dinov3.widgets.features.panel import FeaturesPanel

Open = Callable[[type], Any]


def add_pyramid(viewer: Any, name: str, levels: int) -> None:
    viewer.add_image([np.zeros((64 >> k, 64 >> k)) for k in range(levels)], multiscale=True, name=name)


def test_only_levels_that_exist_are_offered(panel_of: Open, model: Any) -> None:
    add_pyramid(model, "deep", 4)
    add_pyramid(model, "flat", 2)
    panel = panel_of(FeaturesPanel)
    panel.setValue({"image": "deep", "level": 9})
    assert panel.value()["level"] == 3
    assert panel.source().planes.shape == (1, 8, 8)
    panel.image.setValue("flat")
    assert panel.source().planes.shape == (1, 32, 32)
    spin = panel.level.editor("level")
    assert isinstance(spin, QSpinBox)
    assert spin.maximum() == spin.value() == 1


def test_a_panel_opens_though_its_level_is_gone(panel_of: Open, model: Any) -> None:
    add_pyramid(model, "deep", 4)
    panel = panel_of(FeaturesPanel)
    panel.setValue({"image": "deep", "level": 3})
    model.layers["deep"].data = [np.zeros((64, 64)), np.zeros((32, 32))]
    again = panel_of(FeaturesPanel)
    assert again.value()["level"] == 1
    assert again.run_button.isEnabled()


def test_a_layer_that_cannot_be_read_is_a_reason_not_an_exception(
    panel_of: Open, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise InputError("Layer 'x' is odd", "another", "Choose another")

    monkeypatch.setattr(image_panel, "read_layer", refuse)
    panel = panel_of(FeaturesPanel)
    assert not panel.run_button.isEnabled()
    assert "is odd" in panel.run_button.toolTip()
    assert panel.features.estimate.text() == ""


def test_a_rectangle_chooses_the_region_and_results_lie_over_the_pyramid(panel_of: Open, model: Any) -> None:
    levels = [np.arange(256 * 256, dtype=np.float32).reshape(256, 256)[:: 2**k, :: 2**k] for k in range(3)]
    image = model.add_image(levels, multiscale=True, name="slide", scale=(0.5, 0.5), units=("um", "um"), translate=(10, 20))
    shapes = model.add_shapes([[[20, 40], [20, 80], [100, 80], [100, 40]]], name="box", scale=(0.5, 0.5), translate=(10, 20))
    panel = panel_of(FeaturesPanel)
    panel.setValue({"image": "slide", "level": 1, "region": "box"})
    planes, placement = panel.source()
    assert planes.shape == (1, 40, 20)
    np.testing.assert_array_equal(planes.plane(0), levels[1][10:50, 20:40])
    assert "40 x 20 pixels of 1 micrometer at level 1" in panel.part._facts.text()
    layer = model.add_image(planes.plane(0), **placement.pixel_transform())
    # the first pixel of the part covers finest rows 20 and 21, columns 40 and 41: their common centre
    np.testing.assert_allclose(layer.data_to_world((0, 0)), image.data_to_world((20.5, 40.5)))
    assert panel.request().config.region == (20, 40, 100, 80)
    assert "[1][10:50, 20:40]" in "\n".join(panel.extract_script())
    assert "region" not in panel.extract_script()[-1]

    shapes.data = [[[-900, 0], [-900, 9], [-800, 9], [-800, 0]]]
    assert not panel.run_button.isEnabled()
    assert "beside" in panel.run_button.toolTip()
    panel.setValue({"region": None})
    assert panel.run_button.isEnabled()
    assert panel.source().planes.shape == (1, 128, 128)


def test_scribbles_on_the_whole_image_serve_a_region_of_it(panel_of: Open, model: Any) -> None:
    from napari_dinov3._napari.companion import read_companion
    from napari_dinov3._napari.layers import read_layer

    image = model.layers["stack"]
    scribbles = model.add_labels(np.arange(3 * 64 * 64).reshape(3, 64, 64), scale=(2, 0.5, 0.5), units=("um", "um", "um"))
    source = read_layer(image, region=(8, 16, 40, 48))
    np.testing.assert_array_equal(read_companion(scribbles, source).planes.data, scribbles.data[:, 8:40, 16:48])
