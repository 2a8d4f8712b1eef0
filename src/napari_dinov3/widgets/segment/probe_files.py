"""Save, load and forget a probe: the row of buttons, and what is used instead of scribbles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_dinov3.errors import InputError
from napari_dinov3.segment.probe import Probe
from napari_dinov3.widgets.form import wrapped_label
from napari_dinov3.widgets.status import State, error_text

FROM_SCRIBBLES = "The probe is trained on the scribbles."
PROBE_FILTER = "Probes (*.npz)"


class ProbeFiles(QWidget):
    """Keep the trained and the loaded probe of a viewer.

    Parameters
    ----------
    kept : callable
        Gives the dict of the session in which the probes lie: ``"trained"``, and ``"loaded"`` with its path.
    say : callable
        Shows a status.
    """

    valueChanged = Signal()

    def __init__(self, kept: Callable[[], dict[str, Any]], say: Callable[[State, str], None]) -> None:
        super().__init__()
        self._kept, self._say = kept, say
        self.text = wrapped_label(FROM_SCRIBBLES, name="probe")
        self.save_button, self.load_button = QPushButton("Save probe…"), QPushButton("Load probe…")
        self.forget_button = QPushButton("Forget")
        column, row = QVBoxLayout(self), QHBoxLayout()
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.text)
        column.addLayout(row)
        for button, tip, slot in (
            (self.save_button, "Write the trained probe to a file.", self.save),
            (self.load_button, "Use a probe from a file instead of scribbles.", self.load),
            (self.forget_button, "Train on the scribbles again.", self.forget),
        ):
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, slot=slot: slot())
            row.addWidget(button)
        self.refresh()

    @property
    def trained(self) -> Probe | None:
        """The probe that was trained last, also by a run that was cancelled later."""
        probe: Probe | None = self._kept().get("trained")
        return probe

    @trained.setter
    def trained(self, probe: Probe) -> None:
        self._kept()["trained"] = probe

    @property
    def loaded(self) -> Probe | None:
        """The probe from a file that is used instead of scribbles."""
        probe: Probe | None = self._kept().get("loaded", (None, ""))[0]
        return probe

    @property
    def path(self) -> str:
        """Where the loaded probe came from."""
        return str(self._kept().get("loaded", (None, ""))[1])

    def refresh(self) -> None:
        """Bring buttons and text in step."""
        self.save_button.setEnabled(self.trained is not None or self.loaded is not None)
        loaded = self.loaded
        self.text.setText(FROM_SCRIBBLES if loaded is None else f"A loaded probe is used; classes {', '.join(_listed(loaded))}.")
        self.forget_button.setHidden(loaded is None)

    def save(self, path: str | Path | None = None) -> None:
        """Write the probe to a file; asks for one where none is given."""
        probe = self.loaded or self.trained
        path = path or QFileDialog.getSaveFileName(self, "Save the probe", "probe.npz", PROBE_FILTER)[0]
        if not path or probe is None:
            return
        try:
            self._say("done", f"The probe is in {probe.save(path, overwrite=True)}.")
        except (InputError, OSError) as error:
            self._say("error", error_text(error))

    def load(self, path: str | Path | None = None) -> None:
        """Read a probe from a file and use it instead of scribbles; asks for a file where none is given."""
        path = path or QFileDialog.getOpenFileName(self, "Load a probe", "", PROBE_FILTER)[0]
        if not path:
            return
        try:
            self._kept()["loaded"] = Probe.load(path), str(Path(path).resolve())
        except (InputError, OSError) as error:
            self._say("error", error_text(error))
            return
        self.valueChanged.emit()

    def forget(self) -> None:
        """Train on scribbles again."""
        self._kept().pop("loaded", None)
        self.valueChanged.emit()


def _listed(probe: Probe) -> list[str]:
    return [f"{value} {probe.class_names.get(value, '')}".strip() for value in probe.classes_]
