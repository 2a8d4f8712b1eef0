"""Run independent blocks of array work on all cores.

numpy releases the interpreter's lock in its loops and products, so threads suffice. The linear algebra library is held to one
thread a block meanwhile, as its own threads would fight with these.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

_LOCK = threading.Lock()
_held: list[Any] = []  # the limit, then one entry a job that runs under it


def in_threads(work: Callable[[int], None], starts: Sequence[int]) -> None:
    """Call `work` with every number of `starts`, a few at a time.

    Parameters
    ----------
    work : callable
        Takes the start of a block and writes its result in place; blocks must not overlap.
    starts : sequence of int
        Where the blocks begin.
    """
    workers = min(len(starts), os.cpu_count() or 1)
    if workers <= 1:
        for start in starts:
            work(start)
        return
    with one_library_thread(), ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(work, starts):
            pass


@contextmanager
def one_library_thread() -> Iterator[None]:
    """Hold the linear algebra library to one thread.

    Thousands of small products are no quicker on several, and far slower on a computer that is busy with other things. The
    limit holds for the whole process, so jobs that overlap share it: the first sets it, the last lifts it.
    """
    with _LOCK:
        if not _held:
            _held.append(_libraries().limit(limits=1, user_api="blas"))
        _held.append(None)
    try:
        yield
    finally:
        with _LOCK:
            _held.pop()
            if len(_held) == 1:
                _held.pop().restore_original_limits()


@lru_cache(maxsize=1)
def _libraries() -> Any:
    import scipy.linalg  # noqa: F401  # brings its own linear algebra library, which must be loaded to be found
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # comes with scikit-learn

    return ThreadpoolController()
