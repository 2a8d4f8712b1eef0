"""Run independent blocks of array work on all cores.

numpy releases the interpreter's lock in its loops and products, so threads suffice. The linear algebra library is held to one
thread meanwhile: its own threads would fight with these, and on a busy computer the products of a probe, each well under a
millisecond on one thread, wait for a second thread until the system gives it a turn.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from napari_dinov3.cores import cores, threads

_LOCK = threading.Lock()
_LOCAL = threading.local()
_original: list[tuple[Any, int]] = []  # each library and its number of threads before the first of the jobs that overlap
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
    with one_library_thread():
        several = min(len(starts), threads())
        if several <= 1 or getattr(_LOCAL, "is_worker", False):  # workers must not wait for each other
            _each(work, starts)
        else:
            for _ in _pool().map(_each, [work] * several, [starts[first::several] for first in range(several)]):
                pass


def _each(work: Callable[[int], None], starts: Sequence[int]) -> None:
    for start in starts:
        work(start)


@contextmanager
def one_library_thread() -> Iterator[None]:
    """Hold the linear algebra library to one thread, in all threads of the process, while any job asks for it."""
    _take_threads()
    try:
        yield
    finally:
        _give_threads_back()


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), "probe", initializer=_begin_worker)


def _begin_worker() -> None:
    _LOCAL.is_worker = True
    # libraries that keep a limit for each thread (MKL, OpenBLAS on OpenMP) are told once, when the thread starts
    _limit([(library, 1) for library in _libraries() if not _is_shared(library)])


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=lambda: _pool.cache_clear())


def _take_threads() -> None:
    with _LOCK:
        if _jobs[0] == 0:
            _original[:] = [(library, library.num_threads) for library in _libraries()]
        _jobs[0] += 1
        _limit([(library, 1) for library, _ in _original])


def _give_threads_back() -> None:
    with _LOCK:
        _jobs[0] -= 1
        if _jobs[0] == 0:
            _limit(_original)
        else:  # those that keep a limit for each thread; what is shared by the process stays at 1 for the other jobs
            _limit([(library, threads) for library, threads in _original if not _is_shared(library)])


def _limit(threads: Sequence[tuple[Any, int]]) -> None:
    """Set numbers of threads, whichever thread asks.

    From 3.8 on threadpoolctl lets one thread of the process limit OpenBLAS, the first that ever did, and ignores all others
    until that one lets go: without asking it to let go, a probe trained in a worker is not limited at all.
    """
    for library, number in threads:
        let_go = getattr(library, "clear_controlling_thread", None)
        if let_go is not None:
            let_go(force=True)
        library.set_num_threads(number)
        if let_go is not None:
            let_go()


def _is_shared(library: Any) -> bool:
    return library.internal_api == "openblas" and getattr(library, "threading_layer", "") != "openmp"


@lru_cache(maxsize=1)
def _libraries() -> tuple[Any, ...]:
    import scipy.linalg  # noqa: F401  # brings its own linear algebra library, which must be loaded to be found
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # comes with scikit-learn

    return tuple(library for library in ThreadpoolController().lib_controllers if library.user_api == "blas")
