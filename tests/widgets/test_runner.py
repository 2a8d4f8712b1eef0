"""Jobs in a worker: progress comes, answers are never stale, errors are values, cancelling lets go of what a job holds."""

from __future__ import annotations

import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from napari.utils import progress

from napari_dinov3.cores import cores, threads
from napari_dinov3.errors import FallbackWarning, InputError
from napari_dinov3.progress import Progress
from napari_dinov3.widgets.runner import TURN_S, Cancelled, Done, Failed, JobRunner, await_jobs, drive
from napari_dinov3.widgets.status import error_text, progress_text, status_html


@pytest.fixture
def runner(qtbot: Any) -> Iterator[JobRunner]:
    runner = JobRunner()
    yield runner
    runner.abandon()
    assert await_jobs(10)


class Held:
    """A job that waits to be let on and notes that it was closed."""

    def __init__(self) -> None:
        self.go, self.entered, self.closed = threading.Event(), threading.Event(), threading.Event()
        self.thread: Any = None

    def job(self, answer: Any) -> Any:
        try:
            yield Progress(0, 2, "first")
            self.entered.set()
            self.go.wait(10)
            yield Progress(1, 2, "second")
            return answer
        finally:
            self.thread = threading.current_thread()
            self.closed.set()


def test_a_job_runs_to_its_answer_outside_the_main_thread(runner: JobRunner, qtbot: Any) -> None:
    def job() -> Any:
        yield Progress(0, 1, "work")
        return threading.current_thread()

    seen: list[Progress] = []
    runner.progressed.connect(seen.append)
    with qtbot.waitSignal(runner.finished, timeout=10_000) as finished:
        runner.run(job(), "A job")
        assert runner.running
    (outcome,) = finished.args
    assert isinstance(outcome, Done)
    assert outcome.result is not threading.main_thread()
    assert seen == [Progress(0, 1, "work")]
    assert not runner.running


def test_an_error_comes_back_as_a_value(runner: JobRunner, qtbot: Any) -> None:
    def job() -> Any:
        yield Progress(0, 1)
        raise InputError("3 axes", "two axes", "Index the image")

    with qtbot.waitSignal(runner.finished, timeout=10_000) as finished:
        runner.run(job(), "A job")
    (outcome,) = finished.args
    assert isinstance(outcome, Failed)
    assert error_text(outcome.error) == "3 axes.\nExpected: two axes.\nWhat to do: Index the image."


def test_cancelling_closes_the_job_in_its_own_thread(runner: JobRunner, qtbot: Any) -> None:
    held = Held()
    with qtbot.waitSignal(runner.finished, timeout=10_000) as finished:
        runner.run(held.job("answer"), "A job")
        qtbot.waitUntil(held.entered.is_set)
        runner.cancel()
        held.go.set()
    assert isinstance(finished.args[0], Cancelled)
    assert held.closed.is_set()
    assert held.thread is not threading.main_thread()


def test_the_answer_of_a_superseded_run_is_dropped(runner: JobRunner, qtbot: Any) -> None:
    held, answers = Held(), []
    runner.finished.connect(lambda outcome: answers.append(outcome))

    def second() -> Any:
        yield Progress(0, 1)
        return "second"

    runner.run(held.job("first"), "First")
    qtbot.waitUntil(held.entered.is_set)
    with qtbot.waitSignal(runner.finished, timeout=10_000):
        runner.run(second(), "Second")
    held.go.set()
    qtbot.waitUntil(held.closed.is_set)
    qtbot.wait(50)
    assert [answer.result for answer in answers] == ["second"]


def test_a_job_may_count_more_than_a_bar_of_qt(runner: JobRunner, qtbot: Any) -> None:
    def job() -> Any:
        yield Progress(25 * 10**9, 30 * 10**9, "bytes")
        return "all"

    seen: list[Progress] = []
    runner.progressed.connect(seen.append)
    with qtbot.waitSignal(runner.finished, timeout=10_000) as finished:
        runner.run(job(), "A download")
    assert [event.done for event in seen] == [25 * 10**9]
    assert finished.args == [Done("all")]


def test_our_warnings_reach_the_panel(runner: JobRunner, qtbot: Any) -> None:
    def job() -> Any:
        yield Progress(0, 1)
        warnings.warn("Only class 1 is labelled", FallbackWarning, stacklevel=2)
        return None

    heard: list[str] = []
    runner.warned.connect(heard.append)
    with qtbot.waitSignal(runner.finished, timeout=10_000):
        runner.run(job(), "A job")
    assert heard == ["Only class 1 is labelled"]


def test_a_runner_that_is_gone_closes_its_job(qtbot: Any) -> None:
    held = Held()
    runner = JobRunner()
    runner.run(held.job("answer"), "A job")
    qtbot.waitUntil(held.entered.is_set)
    runner.abandon()
    runner.deleteLater()
    del runner
    held.go.set()
    assert await_jobs(10)
    assert held.closed.is_set()


def test_events_of_their_own_kind_are_never_left_out(runner: JobRunner, qtbot: Any) -> None:
    class Ready(Progress):
        pass

    def job() -> Any:
        for done in range(5):
            yield Progress(done, 5)
            yield Ready(done, 5)

    seen: list[Progress] = []
    runner.progressed.connect(seen.append)
    with qtbot.waitSignal(runner.finished, timeout=10_000):
        runner.run(job(), "A job")
    assert [event.done for event in seen if isinstance(event, Ready)] == [0, 1, 2, 3, 4]


def test_warnings_of_the_main_thread_stay_its_own(runner: JobRunner, qtbot: Any) -> None:
    held, heard = Held(), []
    runner.warned.connect(heard.append)
    runner.run(held.job("answer"), "A job")
    qtbot.waitUntil(held.entered.is_set)
    with warnings.catch_warnings(), pytest.warns(FallbackWarning, match="here"):
        held.go.set()
        assert await_jobs(10)  # ends while the main thread has filters of its own
        warnings.warn("here", FallbackWarning, stacklevel=1)
    qtbot.wait(20)
    assert not heard
    with pytest.raises(UserWarning):  # the filters of the tests are as they were
        warnings.warn("an error, as always", UserWarning, stacklevel=1)


def test_progress_is_passed_on_at_most_twenty_times_a_second() -> None:
    def job() -> Any:
        for done in range(200):
            yield Progress(done, 200)

    begin = time.monotonic()
    passed = len(list(drive(job(), threading.Event())))
    assert 1 <= passed <= 1 + (time.monotonic() - begin) / 0.05


def test_statuses_name_their_state_in_words() -> None:
    assert status_html("error", "a < b") == "<b>✕ Error:</b> a &lt; b"
    assert status_html("ready") == "<b>Ready.</b>"
    assert progress_text(Progress(2, 5)) == "step 2 of 5"
    assert "RuntimeError: out of memory." in error_text(RuntimeError("out of memory"))


def test_while_jobs_run_threads_take_short_turns_and_leave_a_core(runner: JobRunner, qtbot: Any) -> None:
    before, seen = sys.getswitchinterval(), []

    def job() -> Any:
        yield Progress(0, 1, "work")
        seen.append((sys.getswitchinterval(), threads()))

    with qtbot.waitSignal(runner.finished, timeout=10_000):
        runner.run(job(), "A job")
    assert await_jobs(10)
    assert seen == [(pytest.approx(TURN_S), max(1, cores() - 1))]
    assert sys.getswitchinterval() == before
    assert threads() == cores()


def test_only_listed_jobs_come_to_the_activity_dock(runner: JobRunner, qtbot: Any) -> None:
    for listed in (True, False):
        held = Held()
        runner.run(held.job(1), "A job", listed=listed)
        assert any(bar.desc.startswith("A job") for bar in progress._all_instances) is listed
        held.go.set()
        qtbot.waitUntil(lambda: not runner.running, timeout=10_000)
