"""Put text on the clipboard."""

from __future__ import annotations

from qtpy.QtWidgets import QApplication


def copy_text(text: str) -> None:
    """Put text on the clipboard, where there is one."""
    clipboard = QApplication.clipboard()
    if clipboard is not None:
        clipboard.setText(text)
