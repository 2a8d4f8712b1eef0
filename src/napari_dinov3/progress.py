"""Progress events, and the one way to run long work.

Long work is a generator: it yields :class:`Progress` and returns its result. :func:`collect` drains it in a script;
the widgets' job runner drives the same generator in a worker thread, shows a bar and closes it to cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """Say how far a job is.

    Parameters
    ----------
    done, total : int
        Finished and planned steps of the whole job; ``0 <= done <= total``.
    message : str
        What is being done now, for people.
    """

    done: int
    total: int
    message: str = ""

    @property
    def fraction(self) -> float:
        """Finished part of the job, 0..1."""
        return self.done / self.total if self.total else 1.0


Job: TypeAlias = Generator[Progress, None, T]
"""A generator that yields :class:`Progress` and returns a ``T``."""


def collect(job: Job[T], on_progress: Callable[[Progress], object] | None = None) -> T:
    """Run a job to its end and return its result.

    Parameters
    ----------
    job : generator
        Any ``*_steps`` function of this package, already called.
    on_progress : callable, optional
        Called with each :class:`Progress`. An exception it raises (``KeyboardInterrupt`` too) closes the job.

    Returns
    -------
    result
        What the job returns.
    """
    try:
        while True:
            event = next(job)
            if on_progress is not None:
                on_progress(event)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        job.close()


def part_of(job: Job[T], *, start: int, span: int, total: int) -> Job[T]:
    """Re-count a job as one part of a larger one.

    Parameters
    ----------
    job : generator
        The inner job.
    start, span, total : int
        The inner job covers ``start .. start + span`` of ``total`` steps.
    """
    try:
        while True:
            event = next(job)
            yield replace(event, done=start + round(span * event.fraction), total=total)  # keeps what a subclass adds
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        job.close()
