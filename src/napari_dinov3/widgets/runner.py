"""Run one job at a time in a worker thread, with progress, cancel and answers that are never stale.

A job is a generator of this package. The worker pulls it and passes progress on; cancelling closes the generator in the
worker's own thread, so its files and arrays are let go. An exception comes back as a value, because an exception that leaves
a worker is shown by napari as a traceback. Each run has a number; what a superseded run still sends is dropped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

from napari.qt.threading import create_worker
from napari.utils import progress
from qtpy.QtCore import QObject, Signal

from napari_dinov3.errors import FallbackWarning, IllPosedWarning
from napari_dinov3.progress import Job, Progress

PROGRESS_EVERY_S = 0.05
BAR_STEPS = 1000
"""Steps of a progress bar, whatever is counted: Qt's bars end at two thousand million, and downloads count bytes."""

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
    """Pull a job in a worker: pass on progress at most 20 times a second, stop between steps, catch what it raises.

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
            if now - shown >= PROGRESS_EVERY_S:
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

    @property
    def running(self) -> bool:
        """Whether a run has been started whose answer has not come yet."""
        return self._running

    def run(self, job: Job[Any], title: str) -> None:
        """Start a job; one that still runs is cancelled and its answer dropped.

        Parameters
        ----------
        job : generator
            Not yet started.
        title : str
            For napari's activity dock.
        """
        self.abandon()
        self._stop = threading.Event()
        self._running = True
        worker: Any = create_worker(drive, job, self._stop)
        for signal, slot in (
            (worker.yielded, self._on_progress),
            (worker.returned, self._on_returned),
            (worker.warned, self._on_warned),
        ):
            signal.connect(partial(slot, self._number))
        worker.aborted.connect(partial(self._on_returned, self._number, Cancelled()))
        worker.aborted.connect(job.close)  # napari aborts workers when it closes; their own `finally` does not run then
        self._bar = progress(total=0, desc=title)
        self.started.emit(title)
        worker.start()

    def cancel(self) -> None:
        """Ask the current run to stop at its next step; `finished` brings a ``Cancelled``."""
        self._stop.set()

    def abandon(self) -> None:
        """Cancel the current run and hear no more of it: for a newer run, or a panel that closes."""
        self._stop.set()
        self._number += 1
        self._running = False
        self._close_bar()

    def _on_progress(self, number: int, event: Progress) -> None:
        if number != self._number or self._stop.is_set():
            return
        self.progressed.emit(event)
        # last, because napari handles events while it draws its bar: the answer may come in before these lines return
        bar = self._bar
        if bar.total != BAR_STEPS:
            bar.total = BAR_STEPS
        bar.update(round(BAR_STEPS * event.fraction) - bar.n)

    def _on_warned(self, number: int, shown: tuple[Any, ...]) -> None:
        message, category = shown[0], shown[1]
        if number == self._number and issubclass(category, IllPosedWarning | FallbackWarning):
            self.warned.emit(str(message))
        else:
            _LOG.warning("%s: %s", category.__name__, message)

    def _on_returned(self, number: int, outcome: Outcome) -> None:
        if number != self._number:
            return
        self._running = False
        self._close_bar()
        self.finished.emit(outcome)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
