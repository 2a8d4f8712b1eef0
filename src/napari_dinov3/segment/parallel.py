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
_LOCAL = threading.local()  # .depth: how many contexts this thread is in
_original: list[tuple[Any, int]] = []  # each library and its number of threads before the first job came
_jobs = [0]


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

    Thousands of small products are no quicker on several, and far slower on a computer that is busy with other things. OpenBLAS
    gives threads back only to the thread that took them away, so each job lifts the limit itself, to what was there before the
    first of the jobs that overlap.
    """
    depth = getattr(_LOCAL, "depth", 0)
    _LOCAL.depth = depth + 1
    if depth == 0:
        _take_threads()
    try:
        yield
    finally:
        _LOCAL.depth = depth
        if depth == 0:
            _give_threads_back()


def _take_threads() -> None:
    with _LOCK:
        if _jobs[0] == 0:
            _original[:] = [(library, library.num_threads) for library in _libraries() if library.user_api == "blas"]
        _jobs[0] += 1
        for library, _ in _original:
            library.set_num_threads(1)


def _give_threads_back() -> None:
    with _LOCK:
        _jobs[0] -= 1
        for library, threads in _original:
            library.set_num_threads(threads)


@lru_cache(maxsize=1)
def _libraries() -> Any:
    import scipy.linalg  # noqa: F401  # brings its own linear algebra library, which must be loaded to be found
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # comes with scikit-learn

    return ThreadpoolController().lib_controllers
