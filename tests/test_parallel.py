"""Blocks in threads: all done, errors told, and the library's own threads given back."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import scipy.linalg  # noqa: F401  # loads its linear algebra library, so that it is counted from the start
from threadpoolctl import ThreadpoolController, threadpool_info

from napari_dinov3.parallel import _libraries, _limit, in_threads, one_library_thread


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


def test_a_worker_is_limited_although_the_main_thread_set_the_library_first():
    before = library_threads()
    ThreadpoolController().limit(limits=2, user_api="blas")  # left in place: the main thread is in control
    if all(count == 1 for count in library_threads()):
        pytest.skip("the library has one thread only")
    seen: list[list[int]] = []

    def job():
        with one_library_thread():
            seen.append(library_threads())

    worker = threading.Thread(target=job)
    worker.start()
    worker.join()
    assert all(count == 1 for count in seen[0])
    assert library_threads() == [2] * len(before)
    with one_library_thread():  # also takes control from whoever has it
        pass
    _limit([(library, count) for library, count in zip(_libraries(), before, strict=True)])


def test_threads_are_kept_for_the_next_call():
    names: list[set[str]] = [set(), set()]
    for seen in names:
        in_threads(lambda start, seen=seen: seen.add(threading.current_thread().name), range(64))
    assert names[1] <= {thread.name for thread in threading.enumerate()}


def test_work_within_work_does_not_wait_for_itself():
    done = np.zeros((8, 8), bool)

    def row(start):
        def cell(col):
            done[start, col] = True

        in_threads(cell, range(8))

    in_threads(row, range(8))
    assert done.all()
