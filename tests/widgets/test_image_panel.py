"""The image section of a panel: pyramid levels that exist, and nothing raised by a layer that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QSpinBox

from napari_dinov3.errors import InputError
from napari_dinov3.widgets import image_panel
from napari_dinov3.widgets.features import FeaturesPanel

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
