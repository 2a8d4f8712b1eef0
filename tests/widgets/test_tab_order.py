"""Tab goes through a panel from top to bottom."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from qtpy.QtCore import QPoint

from napari_dinov3.widgets.align.panel import AlignPanel
from napari_dinov3.widgets.data.panel import DataPanel
from napari_dinov3.widgets.discover.panel import DiscoverPanel
from napari_dinov3.widgets.features.panel import FeaturesPanel
from napari_dinov3.widgets.objects.panel import ObjectsPanel
from napari_dinov3.widgets.segment.panel import SegmentPanel
from napari_dinov3.widgets.tab_order import tab_widgets

PANELS = (DataPanel, FeaturesPanel, SegmentPanel, DiscoverPanel, AlignPanel, ObjectsPanel)


@pytest.mark.parametrize("kind", PANELS, ids=lambda kind: kind.__name__)
def test_tab_follows_the_screen(kind: type, panel_of: Callable[[type], Any]) -> None:
    panel = panel_of(kind)
    panel.resize(300, 2400)  # all in view, so that places on the screen can be compared
    panel.layout().activate()
    panel.grab()
    controls = list(tab_widgets(panel))
    known = set(map(id, controls))
    # the first control may be hidden: the link to the docs, where there are none
    visited, widget = [w for w in controls[:1] if not w.isHidden()], controls[0].nextInFocusChain()
    while widget is not controls[0]:
        visited += [widget] if id(widget) in known and not widget.isHidden() else []
        widget = widget.nextInFocusChain()
    assert {id(panel.run_button), id(panel.cancel_button), id(panel.copy_button)} <= set(map(id, visited))
    shown = [w for w in visited if not any(p.isHidden() for p in _parents(w, panel))]
    tops = [w.mapTo(panel, QPoint(0, w.height() // 2)).y() for w in shown]
    assert len(tops) >= 6
    assert all(after >= before - 8 for before, after in pairwise(tops))  # neighbours in a row differ by a few pixels


def _parents(widget: Any, top: Any) -> list[Any]:
    parents = []
    while widget.parentWidget() is not None and widget.parentWidget() is not top:
        widget = widget.parentWidget()
        parents.append(widget)
    return parents
