"""Three-part errors, and jobs that can be drained, re-counted and closed."""

from __future__ import annotations

import pickle

import pytest

from napari_dinov3.errors import FeatureMismatchError, InputError, MissingDependencyError
from napari_dinov3.progress import Job, Progress, collect, part_of


def _count(steps: int, closed: list[bool]) -> Job[str]:
    try:
        for done in range(steps + 1):
            yield Progress(done, steps, f"step {done}")
        return "done"
    finally:
        closed.append(True)


def test_an_error_is_three_sentences() -> None:
    error = InputError("tau=2", "a number in 0..1", "Choose a smaller tau")
    assert str(error) == "tau=2. a number in 0..1. Choose a smaller tau."
    assert (error.problem, error.expected, error.action) == ("tau=2", "a number in 0..1", "Choose a smaller tau")


@pytest.mark.parametrize("kind", [InputError, FeatureMismatchError, MissingDependencyError])
def test_errors_cross_process_borders(kind: type[InputError]) -> None:
    back = pickle.loads(pickle.dumps(kind("a", "b", "c")))
    assert type(back) is kind
    assert back.action == "c"


def test_collect_returns_the_result_and_shows_each_step() -> None:
    seen: list[int] = []
    closed: list[bool] = []
    assert collect(_count(3, closed), lambda event: seen.append(event.done)) == "done"
    assert seen == [0, 1, 2, 3]
    assert closed == [True]


def test_an_interrupted_collect_closes_the_job() -> None:
    closed: list[bool] = []

    def stop(event: Progress) -> None:
        if event.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(_count(3, closed), stop)
    assert closed == [True]


def test_part_of_counts_within_the_larger_job() -> None:
    events: list[Progress] = []
    assert collect(part_of(_count(2, []), start=10, span=20, total=40), events.append) == "done"
    assert [(e.done, e.total) for e in events] == [(10, 40), (20, 40), (30, 40)]


def test_fraction_of_an_empty_job_is_one() -> None:
    assert Progress(0, 0).fraction == 1.0
