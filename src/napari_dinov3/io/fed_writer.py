"""A writer that pulls its data, fed step by step: so that long writing reports progress and can be stopped."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from napari_dinov3.progress import Job, Progress

_END = object()
_WAIT_S = 0.2


class _Stopped(Exception):
    """The job was closed before all parts were handed over."""


def feed_steps(write: Callable[[Iterator[Any]], Any], groups: Iterable[list[Any]], *, count: int, message: str) -> Job[None]:
    """Hand groups of parts to a writer that iterates over parts, in a thread of its own.

    Parameters
    ----------
    write : callable
        ``write(parts)``, which consumes the iterator.
    groups : iterable of lists
        Parts, made here; one progress event a group.
    count : int
        How many groups there will be.
    message : str
        For the progress.
    """
    parts: queue.Queue[Any] = queue.Queue(maxsize=64)

    def pulled() -> Iterator[Any]:
        while (part := parts.get()) is not _END:
            if part is _Stopped:
                raise _Stopped
            yield part

    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write, pulled())
        ended = False
        try:
            for done, group in enumerate(groups):
                yield Progress(done, count, message)
                for part in group:
                    _put(parts, part, written)
            _put(parts, _END, written)
            ended = True
        finally:
            if not ended and not written.done():
                _put(parts, _Stopped, written)
        written.result()


def _put(parts: queue.Queue[Any], part: Any, written: Future[Any]) -> None:
    """Wait for room, unless the writer has ended early; its error is raised then."""
    while True:
        try:
            parts.put(part, timeout=_WAIT_S)
            return
        except queue.Full:
            if written.done():
                written.result()
                return
