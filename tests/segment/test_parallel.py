"""Blocks in threads: all done, errors told, and the library's own threads given back."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import scipy.linalg  # noqa: F401  # loads its linear algebra library, so that it is counted from the start
from threadpoolctl import threadpool_info

from napari_dinov3.segment.parallel import in_threads, one_library_thread


def library_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_every_block_is_done_once():
    done = np.zeros(100, int)

    def work(start):
        done[start : start + 7] += 1

    in_threads(work, range(0, 100, 7))
    assert np.all(done == 1)


def test_an_error_in_a_block_is_told_and_the_threads_come_back():
    before = library_threads()
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda start: 1 // (start - 3), range(8))
    assert library_threads() == before


def test_jobs_within_jobs_keep_the_limit_to_the_end():
    before = library_threads()
    with one_library_thread():
        in_threads(lambda start: None, range(4))
        assert all(count == 1 for count in library_threads())
    assert library_threads() == before


def test_overlapping_jobs_leave_the_library_as_it_was():
    before = library_threads()
    inside, leave = threading.Event(), threading.Event()

    def other_job():
        with one_library_thread():
            inside.set()
            leave.wait(10)

    other = threading.Thread(target=other_job)
    with one_library_thread():
        other.start()
        assert inside.wait(10)
    leave.set()
    other.join()
    assert library_threads() == before
