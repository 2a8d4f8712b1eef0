"""The panel every task shares: header, scrolling settings, Run and Cancel, progress, status, help, Copy as Python.

A task panel says what is missing (:meth:`TaskPanel.problem`), which job to run (:meth:`TaskPanel.make_job`), what to do with
its result (:meth:`TaskPanel.show_result`) and how to write it as Python (:meth:`TaskPanel.script`). Everything between is here.
State that took time lives in the viewer's session, because napari destroys a closed dock widget.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any, ClassVar

from qtpy.QtCore import QEvent, QSize, Qt, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QApplication,
    QFrame,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_dinov3._napari.compat import unwrap
from napari_dinov3._napari.session import session_of
from napari_dinov3.errors import InputError
from napari_dinov3.progress import Job, Progress
from napari_dinov3.widgets.documentation import documentation_url
from napari_dinov3.widgets.form import wrapped_label
from napari_dinov3.widgets.runner import BAR_STEPS, Cancelled, Done, Failed, JobRunner
from napari_dinov3.widgets.status import State, error_text, progress_text, status_html
from napari_dinov3.widgets.tab_order import set_tab_order

PANEL_WIDTH = 300


class TaskPanel(QWidget):
    """One task as a dock widget.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer (or the proxy napari hands to plugins).
    """

    valueChanged = Signal()

    title: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    help_text: ClassVar[str] = ""
    run_text: ClassVar[str] = "Run"

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.session = session_of(napari_viewer)
        self.runner = JobRunner(self)
        self._on_result: Callable[[Any], str] = self.show_result
        self._after: list[Callable[[], None]] = [self.runner.abandon]
        self._warnings: list[str] = []
        self._started = 0.0
        self.ran_script = ""
        self._restoring = True
        self._lay_out()
        self.build()
        self.body.addStretch(1)
        self.runner.started.connect(self._on_started)
        self.runner.progressed.connect(self._on_progress)
        self.runner.warned.connect(self._warnings.append)
        self.runner.finished.connect(self._on_finished)
        self.destroyed.connect(partial(_run_all, self._after))
        self.session.handed_over.connect(self._on_handed_over)
        self.on_close(partial(self.session.handed_over.disconnect, self._on_handed_over))
        self.setValue(self.session.panel_values.get(type(self).__name__, {}))
        self._restoring = False
        set_tab_order(self)
        self._follow_sliders()
        self.refresh()

    # what a task fills in

    def build(self) -> None:
        """Add the task's own controls to `body`."""
        raise NotImplementedError

    def value(self) -> dict[str, Any]:
        """Read every setting of the panel."""
        raise NotImplementedError

    def setValue(self, value: Mapping[str, Any]) -> None:
        """Set some or all settings."""
        raise NotImplementedError

    def problem(self) -> str:
        """Say in one sentence why Run is off; empty where it is on."""
        raise NotImplementedError

    def make_job(self) -> Job[Any]:
        """Make the job of Run from the present settings."""
        raise NotImplementedError

    def show_result(self, result: Any) -> str:
        """Put the result of Run into the viewer; return a sentence for the status line."""
        raise NotImplementedError

    def script(self) -> str:
        """Write what Run does as Python for the napari console."""
        raise NotImplementedError

    # what tasks share

    def section(self, title: str, *widgets: QWidget) -> QGroupBox:
        """Add a titled group of widgets to the body."""
        box = QGroupBox(title)
        layout = QVBoxLayout(box)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(4)
        for widget in widgets:
            layout.addWidget(widget)
        self.body.addWidget(box)
        return box

    def folded_section(self, title: str, *widgets: QWidget) -> QCollapsible:
        """Add a titled group of widgets that is folded away at first."""
        fold = QCollapsible(title)
        fold.setDuration(0)
        fold.toggleButton().setToolTip(f"Show or hide: {title.lower()}.")
        fold.layout().setContentsMargins(0, 0, 0, 0)
        for widget in widgets:
            fold.addWidget(widget)
        self.body.addWidget(fold)
        return fold

    def on_close(self, *callbacks: Callable[[], None]) -> None:
        """Call these when the panel goes; they must not touch Qt."""
        self._after.extend(callbacks)

    def changed(self, *_: Any) -> None:
        """Take note of a changed setting: remember it, say what is missing, tell listeners."""
        if self._restoring:
            return
        self.session.panel_values[type(self).__name__] = self.value()
        self.refresh()
        self.valueChanged.emit()

    def refresh(self, *_: Any) -> None:
        """Bring buttons and status line in step with the settings."""
        problem = self._problem()
        running = self.runner.running
        self.run_button.setEnabled(not running and not problem)
        self.run_button.setToolTip(problem or self.summary)
        self.cancel_button.setEnabled(running)
        self.copy_button.setEnabled(not problem)
        self.copy_button.setToolTip(problem or "Copy Python code that does the same in the napari console.")
        if not running:
            self.say("blocked" if problem else "ready", problem or self.ready_text())

    def slider_state(self) -> Hashable:
        """Give what the task takes from the viewer's sliders; the panel is brought in step when it changes."""
        return None

    def ready_text(self) -> str:
        """Say what Run will do, for the status line."""
        return ""

    def cancelled_text(self) -> str:
        """Say what is there after a cancelled run."""
        return "Nothing was added."

    def say(self, state: State, message: str = "") -> None:
        """Show a status."""
        self.status.setText(status_html(state, message))
        self.status.setProperty("state", state)

    def start(self, job: Job[Any], title: str, on_result: Callable[[Any], str], *, listed: bool = True) -> None:
        """Run a job; `on_result` gets its answer in the main thread and returns a sentence for the status line.

        A job that comes with every stroke is not `listed` in napari's activity dock.
        """
        self._on_result = on_result
        self.runner.run(job, title, listed=listed)

    def run(self) -> None:
        """Do what the Run button does; also for the console."""
        problem = self._problem()
        if problem:
            self.say("blocked", problem)
            return
        try:
            self.ran_script = self.script()
            job = self.make_job()
        except InputError as error:
            self.say("error", error_text(error))
            return
        self.start(job, self.title, self.show_result)

    def cancel(self) -> None:
        """Do what the Cancel button does."""
        if self.runner.running:
            self.runner.cancel()
            self.say("running", "stopping after this step")

    def copy_script(self) -> None:
        """Put the Python code on the clipboard."""
        try:
            code = self.script()
        except InputError as error:
            self.say("error", error_text(error))
            return
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(code)
        self.say("done", "Python code is on the clipboard; paste it into napari's console.")

    def sizeHint(self) -> QSize:
        """Ask for a narrow dock."""
        return QSize(PANEL_WIDTH, 560)

    def minimumSizeHint(self) -> QSize:
        """Allow a small dock; the settings scroll."""
        return QSize(PANEL_WIDTH - 40, 220)

    def event(self, event: QEvent) -> bool:
        """Notice that the dock was closed: napari takes the widget out of it."""
        if event is not None and event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.dispose()
        return bool(super().event(event))

    def dispose(self) -> None:
        """Stop the job and stop following the viewer."""
        _run_all(self._after)

    # the frame

    def _lay_out(self) -> None:
        self.setObjectName(type(self).__name__)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(6, 6, 6, 6)
        outer.setSpacing(6)
        content = QWidget()
        self.body = QVBoxLayout(content)
        self.body.setContentsMargins(0, 0, 4, 0)
        self.body.setSpacing(8)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        outer.addLayout(self._header())
        outer.addWidget(self._help_label)
        outer.addWidget(scroll, 1)
        outer.addWidget(self._footer())

    def _header(self) -> QHBoxLayout:
        self._help_label = wrapped_label(self.help_text, name="help")
        self._help_label.setHidden(True)
        summary = wrapped_label(self.summary, name="summary")
        button = QToolButton()
        button.setText("?")
        button.setCheckable(True)
        button.setAccessibleName("Help")
        button.setToolTip("Show or hide how to use this panel.")
        button.toggled.connect(self._help_label.setVisible)
        self.help_button = button
        row = QHBoxLayout()
        row.addWidget(summary, 1)
        row.addWidget(self._documentation_button(), 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(button, 0, Qt.AlignmentFlag.AlignTop)
        return row

    def _documentation_button(self) -> QToolButton:
        url = documentation_url()
        button = QToolButton()
        button.setText("Docs")
        button.setAccessibleName("Documentation")
        button.setToolTip(f"Open the documentation of the panels: {url}")
        button.clicked.connect(partial(self._open_documentation, url))
        button.setHidden(not url)
        self.docs_button = button
        return button

    def _open_documentation(self, url: str, *_: Any) -> None:
        if not QDesktopServices.openUrl(QUrl(url)):
            self.say("warning", f"Nothing on this computer opens it; the documentation is at {url}")

    def _footer(self) -> QWidget:
        self.run_button = QPushButton(self.run_text)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop after the present step; nothing is added.")
        self.copy_button = QPushButton("Copy as Python")
        self.bar = QProgressBar()
        self.bar.setAccessibleName("Progress")
        self.bar.setHidden(True)
        self.status = wrapped_label(name="status")
        self.status.setAccessibleName("Status")
        self.run_button.clicked.connect(self.run)
        self.cancel_button.clicked.connect(self.cancel)
        self.copy_button.clicked.connect(self.copy_script)
        footer = QWidget()
        layout = QVBoxLayout(footer)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        row = QHBoxLayout()
        row.addWidget(self.run_button, 1)
        row.addWidget(self.cancel_button)
        layout.addLayout(row)
        layout.addWidget(self.bar)
        layout.addWidget(self.status)
        layout.addWidget(self.copy_button)
        return footer

    def _follow_sliders(self) -> None:
        steps = unwrap(self.viewer).dims.events.current_step
        self._sliders = self._slider_state()
        steps.connect(self._on_sliders)
        self.on_close(partial(steps.disconnect, self._on_sliders))

    def _on_handed_over(self, event: Any) -> None:
        if event.panel == type(self).__name__:
            self.setValue(event.values)

    def _on_sliders(self, event: Any = None) -> None:
        state = self._slider_state()
        if state != self._sliders:
            self._sliders = state
            self.refresh()

    def _slider_state(self) -> Hashable:
        try:
            return self.slider_state()
        except InputError:
            return None

    def _problem(self) -> str:
        try:
            return self.problem()
        except InputError as error:
            return str(error)

    def _on_started(self, title: str) -> None:
        self._warnings.clear()
        self._started = time.monotonic()
        self.bar.setRange(0, 0)
        self.bar.setHidden(False)
        self.refresh()
        self.say("running", title)

    def _on_progress(self, event: Progress) -> None:
        self.bar.setRange(0, BAR_STEPS)
        self.bar.setValue(round(BAR_STEPS * event.fraction))
        self.say("running", progress_text(event))

    def _on_finished(self, outcome: Done | Failed | Cancelled) -> None:
        self.bar.setHidden(True)
        self.refresh()
        if isinstance(outcome, Failed):
            self.say("error", error_text(outcome.error))
        elif isinstance(outcome, Cancelled):
            self.say("cancelled", self.cancelled_text())
        else:
            self._show(outcome.result)

    def _show(self, result: Any) -> None:
        try:
            message = self._on_result(result)
        except InputError as error:
            self.say("error", error_text(error))
            return
        message = f"{message} ({time.monotonic() - self._started:.1f} s)"
        self.say("warning" if self._warnings else "done", "\n".join([message, *self._warnings]))


def field_row(text: str, widget: QWidget) -> QWidget:
    """Put a label before a widget, as a form does."""
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    label = QLabel(text)
    label.setBuddy(widget)
    layout.addWidget(label)
    layout.addWidget(widget, 1)
    return row


def _run_all(callbacks: list[Callable[[], None]], *_: Any) -> None:
    while callbacks:
        callbacks.pop()()
