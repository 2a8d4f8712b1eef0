"""What is kept of feature maps between runs, how much room it takes, and a button that clears it."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QMessageBox, QPushButton, QVBoxLayout, QWidget

from napari_dinov3.features.store import FeatureStore
from napari_dinov3.widgets.feature_facts import bytes_text
from napari_dinov3.widgets.form import wrapped_label
from napari_dinov3.wording import counted


class FeatureCache(QWidget):
    """Say what is in the user's feature cache, and offer to clear it.

    Signals
    -------
    clearRequested
        The user confirmed; the owner clears in a job and calls :meth:`refresh`.
    """

    clearRequested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.text = wrapped_label(name="cache")
        self.button = QPushButton("Clear the cache...")
        self.button.setToolTip("Delete all feature maps that are kept on disk; the next run computes them anew.")
        self.button.clicked.connect(self._on_clicked)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.text)
        layout.addWidget(self.button)
        self._nbytes = 0
        self.refresh()

    def refresh(self) -> None:
        """Look at the store again: a few files a map."""
        store = FeatureStore()
        entries = store.entries()
        self._nbytes = sum(entry.nbytes for entry in entries)
        held = f"{counted(len(entries), 'map')}, {bytes_text(self._nbytes)} of {store.budget_gb:g} GB"
        self.text.setText(f"On disk: {held}." if entries else "No maps are kept on disk.")
        self.text.setToolTip(str(store.folder))
        self.button.setEnabled(bool(entries))

    def _on_clicked(self) -> None:
        question = f"Delete the feature maps kept on disk ({bytes_text(self._nbytes)})? They can be computed again."
        if QMessageBox.question(self, "Clear the feature cache", question) == QMessageBox.StandardButton.Yes:
            self.clearRequested.emit()
