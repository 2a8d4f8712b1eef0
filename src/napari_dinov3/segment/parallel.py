"""Run independent blocks of array work on all cores.

numpy releases the interpreter's lock in its loops and products, so threads suffice. The linear algebra library is held to one
thread a block meanwhile, as its own threads would fight with these.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any


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
    with _libraries().limit(limits=1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(work, starts):
            pass


@lru_cache(maxsize=1)
def _libraries() -> Any:
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # comes with scikit-learn

    return ThreadpoolController()
