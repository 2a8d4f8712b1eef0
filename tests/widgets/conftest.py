"""A viewer with a panel in it, as napari would open it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_dinov3._napari.session import session_of
from napari_dinov3.recipe import ExtractConfig
from napari_dinov3.widgets.runner import await_jobs

TIMEOUT_MS = 60_000


def add_stack(viewer: Any) -> None:
    """Add a small stack in which a square stands out."""
    images = np.random.default_rng(0).normal(100, 3, (3, 64, 64))
    images[:, 20:44, 24:48] += 60
    viewer.add_image(images.astype(np.uint8), name="stack", scale=(2, 0.5, 0.5), units=("um", "um", "um"))
    session_of(viewer).features_config = ExtractConfig(backbone="filter-bank", stride=4)


@pytest.fixture
def workers() -> Iterator[None]:
    """Let every worker end before the next test."""
    yield
    assert await_jobs(20)
    gc.collect()


@pytest.fixture
def viewer(make_napari_viewer_proxy: Callable[..., Any], workers: None) -> Any:
    """A real viewer behind the proxy that plugins get."""
    viewer = make_napari_viewer_proxy()
    add_stack(viewer)
    return viewer


@pytest.fixture
def model(qtbot: Any, workers: None) -> ViewerModel:
    """A viewer without a window, for what needs none: much quicker."""
    model = ViewerModel()
    add_stack(model)
    return model


@pytest.fixture
def dock(viewer: Any) -> Callable[[type], Any]:
    """Open a panel in the viewer's window."""

    def open_panel(kind: type) -> Any:
        panel = kind(viewer)
        viewer.window.add_dock_widget(panel, name=kind.__name__, area="right")
        return panel

    return open_panel


@pytest.fixture
def panel_of(model: ViewerModel, qtbot: Any) -> Callable[[type], Any]:
    """Make a panel for the viewer without a window."""

    def make(kind: type) -> Any:
        panel = kind(model)
        qtbot.addWidget(panel, before_close_func=lambda widget: widget.dispose())
        return panel

    return make


@pytest.fixture
def finish(qtbot: Any) -> Callable[[Any], str]:
    """Wait for a panel's job; give the text of its status line."""

    def wait(panel: Any) -> str:
        qtbot.waitUntil(lambda: not panel.runner.running, timeout=TIMEOUT_MS)
        return str(panel.status.text())

    return wait
