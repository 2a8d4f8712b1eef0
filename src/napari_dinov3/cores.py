"""How many threads work may take: every core, less one where somebody paints beside it.

A canvas is drawn by Python code, too. Each thread of a job that is between two array operations keeps it waiting, so a job
beside a window takes one thread fewer than there are cores, and never more than there are.
"""

from __future__ import annotations

import os
import threading

_LOCAL = threading.local()


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def leave_a_core() -> None:
    """Let the work of this thread, from now on, take one core fewer than there are."""
    _LOCAL.spared = 1


def threads() -> int:
    """Say how many threads work that this thread starts may take."""
    return max(1, cores() - getattr(_LOCAL, "spared", 0))
