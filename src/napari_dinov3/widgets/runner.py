"""Run one job at a time in a worker thread, with progress, cancel and answers that are never stale.

A job is a generator of this package. The worker pulls it and passes progress on; cancelling closes the generator in the
worker's own thread, so its files and arrays are let go. An exception comes back as a value. Each run has a number; what a
superseded run still sends is dropped.

The threads are our own: napari's workers change the filters of warnings, which are one for the whole process, while napari
changes them in the main thread, and each undoes what the other did.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, ClassVar

from napari.utils import progress
from qtpy.QtCore import QObject, Qt, Signal

from napari_dinov3.cores import leave_a_core
from napari_dinov3.errors import FallbackWarning, IllPosedWarning
from napari_dinov3.progress import Job, Progress

PROGRESS_EVERY_S = 0.15  # each time the bar moves, Qt draws the whole window
BAR_STEPS = 1000
"""Steps of a progress bar, whatever is counted: Qt's bars end at two thousand million, and downloads count bytes."""

TURN_S = 0.0005
"""Longest turn of a thread that runs Python code while others wait for theirs."""

NICENESS = 4
"""Of workers: drawing comes first; threads that a worker begins take it over."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Done:
    """A job that ran to its end."""

    result: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """A job that raised."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A job that was told to stop."""


Outcome = Done | Failed | Cancelled


def drive(job: Job[Any], stop: threading.Event) -> Generator[Progress, None, Outcome]:
    """Pull a job in a worker: pass on progress a few times a second, stop between steps, catch what it raises.

    Parameters
    ----------
    job : generator
        A ``*_steps`` generator.
    stop : threading.Event
        Set from any thread to cancel.

    Returns
    -------
    outcome : Done, Failed or Cancelled
    """
    shown = 0.0
    try:
        while not stop.is_set():
            event = next(job)
            now = time.monotonic()
            if type(event) is not Progress or now - shown >= PROGRESS_EVERY_S:  # kinds of their own bring something to show
                shown = now
                yield event
        return Cancelled()
    except StopIteration as end:
        return Done(end.value)
    except Exception as error:  # every error becomes a value that the panel shows
        if not isinstance(error, ValueError):
            _LOG.exception("The job failed")
        return Failed(error)
    finally:
        job.close()


class _Worker(QObject):
    """One thread that drives one job and sends what comes of it to the main thread.

    Signals
    -------
    sent((number, content))
        Progress, a warning of the job, and at last the outcome.
    """

    sent = Signal(object)
    alive: ClassVar[set[threading.Thread]] = set()

    def __init__(self, job: Job[Any], stop: threading.Event, number: int) -> None:
        super().__init__()
        self._job, self._stop, self._number = job, stop, number
        self._thread = threading.Thread(target=self._drive, name="napari-dinov3 job", daemon=True)

    def start(self) -> None:
        _relay_warnings()
        _Worker.alive.add(self._thread)
        self._thread.start()

    def _drive(self) -> None:
        _give_way()
        _take_short_turns(1)
        _LISTENERS[threading.get_ident()] = lambda shown: self.sent.emit((self._number, shown))
        try:
            steps = drive(self._job, self._stop)
            while True:
                self.sent.emit((self._number, next(steps)))
        except StopIteration as end:
            self.sent.emit((self._number, end.value))
        finally:
            _take_short_turns(-1)
            _LISTENERS.pop(threading.get_ident(), None)
            _Worker.alive.discard(self._thread)


def _give_way() -> None:
    """Let the canvas be drawn first where both need the processor; Linux has priorities for single threads."""
    leave_a_core()
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


_TURNS_LOCK = threading.Lock()
_turns: list[float] = []
"""Length of a thread's turn before the first of the jobs that run, as often as there are jobs."""


def _take_short_turns(jobs: int) -> None:
    """Have Python change threads sooner while jobs run: drawing a frame takes a hundred turns, one a call of OpenGL."""
    with _TURNS_LOCK:
        if jobs > 0:
            _turns.append(_turns[0] if _turns else sys.getswitchinterval())
            sys.setswitchinterval(min(TURN_S, _turns[0]))
        else:
            before = _turns.pop()
            if not _turns:
                sys.setswitchinterval(before)


_LISTENERS: dict[int, Callable[[warnings.WarningMessage], None]] = {}
"""Who hears the warnings of which thread."""


def _relay_warnings() -> None:
    """Have warnings that are raised in a worker sent to its runner, ours every time; called in the main thread.

    Nothing is put back later: a filter that one thread restores while another is at work is what goes wrong.
    """
    for category in (IllPosedWarning, FallbackWarning):
        if ("always", None, category, None, 0) not in warnings.filters[:2]:
            warnings.simplefilter("always", category)
    shown_before = warnings.showwarning
    if getattr(shown_before, "relays", False):
        return

    def show(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: str | None = None) -> None:
        listener = _LISTENERS.get(threading.get_ident())
        if listener is None:
            shown_before(message, category, filename, lineno, file, line)
        else:
            listener(warnings.WarningMessage(message, category, filename, lineno, file, line))

    show.relays = True  # type: ignore[attr-defined]
    warnings.showwarning = show


def await_jobs(seconds: float) -> bool:
    """Wait until every worker has ended, the abandoned ones too; says whether they have."""
    until = time.monotonic() + seconds
    for thread in tuple(_Worker.alive):
        thread.join(max(0.0, until - time.monotonic()))
    return not any(thread.is_alive() for thread in tuple(_Worker.alive))


class JobRunner(QObject):
    """Run jobs for one panel, the last one asked for.

    Signals
    -------
    started(title), progressed(Progress), warned(message), finished(Done | Failed | Cancelled)
        Of the current run only, in the main thread.
    """

    started = Signal(str)
    progressed = Signal(object)
    warned = Signal(str)
    finished = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._number = 0
        self._stop = threading.Event()
        self._running = False
        self._bar: Any = None
        self._worker: _Worker | None = None

    @property
    def running(self) -> bool:
        """Whether a run has been started whose answer has not come yet."""
        return self._running

    def run(self, job: Job[Any], title: str, *, listed: bool = True) -> None:
        """Start a job; one that still runs is cancelled and its answer dropped.

        Parameters
        ----------
        job : generator
            Not yet started.
        title : str
            What is being done, for people.
        listed : bool
            Also list it in napari's activity dock, which takes a few frames' time each time.
        """
        self.abandon()
        self._stop = threading.Event()
        self._running = True
        self._worker = _Worker(job, self._stop, self._number)
        self._worker.sent.connect(self._on_mail, Qt.ConnectionType.QueuedConnection)
        self._bar = progress(total=0, desc=title) if title and listed else None
        self.started.emit(title)
        self._worker.start()

    def cancel(self) -> None:
        """Ask the current run to stop at its next step; `finished` brings a ``Cancelled``."""
        self._stop.set()

    def let_go(self) -> None:
        """Cancel, and answer at once: the step that is under way ends unheard, and so does the worker after it."""
        if self._running:
            self.abandon()
            self.finished.emit(Cancelled())

    def abandon(self) -> None:
        """Cancel the current run and hear no more of it: for a newer run, or a panel that closes."""
        self._stop.set()
        self._number += 1
        self._running = False
        self._close_bar()

    def _on_mail(self, mail: tuple[int, Any]) -> None:
        number, content = mail
        if isinstance(content, warnings.WarningMessage):
            self._on_warned(number, content)
        elif number != self._number:
            return
        elif isinstance(content, Progress):
            self._on_progress(content)
        else:
            self._running = False
            self._close_bar()
            self.finished.emit(content)

    def _on_progress(self, event: Progress) -> None:
        if self._stop.is_set():
            return
        self.progressed.emit(event)
        # last, because napari handles events while it draws its bar: the answer may come in before these lines return
        bar = self._bar
        if bar is not None:
            if bar.total != BAR_STEPS:
                bar.total = BAR_STEPS
            bar.update(round(BAR_STEPS * event.fraction) - bar.n)

    def _on_warned(self, number: int, shown: warnings.WarningMessage) -> None:
        category = shown.category
        if number == self._number and issubclass(category, IllPosedWarning | FallbackWarning):
            self.warned.emit(str(shown.message))
        else:
            _LOG.warning("%s: %s", category.__name__, shown.message)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
