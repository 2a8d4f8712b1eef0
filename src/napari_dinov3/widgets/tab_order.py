"""The order in which the Tab key visits controls: as they stand on the screen, from top to bottom.

Qt's own order is that in which widgets were made, and a panel makes its frame with Run and Cancel before the settings above them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLayout, QScrollArea, QWidget


def tab_widgets(widget: QWidget) -> Iterator[QWidget]:
    """List the controls inside a widget that take the focus by Tab, in the order of its layouts."""
    if isinstance(widget, QScrollArea) and widget.widget() is not None:
        yield from tab_widgets(widget.widget())
        return
    takes_tab = bool(widget.focusPolicy().value & Qt.FocusPolicy.TabFocus.value)
    if takes_tab and widget.focusProxy() is None:
        yield widget
        return
    layout = widget.layout()
    if layout is not None:
        yield from _in_layout(layout)


def set_tab_order(widget: QWidget) -> None:
    """Make Tab visit the controls inside a widget in the order of its layouts."""
    for before, after in pairwise(tab_widgets(widget)):
        QWidget.setTabOrder(before, after)


def _in_layout(layout: QLayout) -> Iterator[QWidget]:
    for at in range(layout.count()):
        item = layout.itemAt(at)
        if item is None:
            continue
        inner, widget = item.layout(), item.widget()
        if inner is not None:
            yield from _in_layout(inner)
        elif widget is not None:
            yield from tab_widgets(widget)
