"""One scheduler: what a result calls for is done too, here or in other processes, and an error stops the rest."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mergeometry.errors import ExecutionError, NumericalError, RecipeError
from mergeometry.execution.executor import LOCAL, Executor, Local
from mergeometry.execution.fork_server import ForkServer
from mergeometry.execution.pool import all_of, side_by_side
from mergeometry.execution.workers import worker_count
from mergeometry.plan.machine import cores


def halve(number: int) -> tuple[float, int]:
    if number < 0:
        raise NumericalError(f"{number} is below zero")
    return number / 2, os.getpid()


def halve_slowly(number: int) -> tuple[float, int]:
    if number >= 0:
        time.sleep(0.05)
    return halve(number)


def die(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    return number


def spin(seconds: float) -> int:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return os.getpid()


class StubbornError(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def refuse(_number: int) -> int:
    raise StubbornError(1, 2)


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    with LOCAL.opened() as opened:
        yield opened


def test_a_worker_that_dies_is_told(executor: Executor) -> None:
    with pytest.raises(ExecutionError, match="a worker process died"), closing(
        side_by_side(die, deque(range(6)), 2, executor)
    ) as finished:  # fmt: skip
        list(finished)
    with closing(side_by_side(halve, deque([4]), 2, executor)) as finished:  # the next workers do not suffer from it
        assert [job for job, _ in finished] == [4]


def test_an_error_that_cannot_be_sent_is_told_in_words(executor: Executor) -> None:
    with pytest.raises(ExecutionError, match="StubbornError: 1 and 2") as caught:
        all_of(refuse, [1], 2, executor)
    assert "in refuse" in str(caught.value.__cause__), "where it happened in the worker"


def test_jobs_of_a_script_need_no_import(executor: Executor) -> None:
    factor = 3

    class Scaled:
        def __init__(self, number: int) -> None:
            self.number = number

        def value(self) -> int:
            return factor * self.number

    jobs = [Scaled(1), Scaled(2)]
    assert all_of(lambda job: job.value(), jobs, 2, executor) == [3, 6]


def test_workers_leave_when_the_block_ends_and_what_they_took_of_the_processors_counts() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    with LOCAL.opened() as opened:
        places = all_of(spin, [0.4, 0.5], 2, opened)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before > 0.8
    assert len(set(places)) == 2 and not any(Path(f"/proc/{place}").exists() for place in places)


@pytest.mark.suite
def test_where_nothing_may_be_forked_workers_load_torch_themselves() -> None:
    with ForkServer(forks=False) as server, closing(
        side_by_side(halve, deque([8]), 2, Local(server))
    ) as finished:  # fmt: skip
        ((_, (half, place)),) = finished
    assert half == 4 and place != os.getpid()


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_that_results_call_for_are_done(workers: int) -> None:
    waiting, done, places = deque([8, 3]), [], set()
    with closing(side_by_side(halve, waiting, workers)) as finished:
        for job, (half, place) in finished:
            done.append(job)
            places.add(place)
            if half == int(half):
                waiting.append(int(half))
    assert sorted(done) == [1, 2, 3, 4, 8] and not waiting
    if workers == 1:
        assert done == [8, 3, 4, 2, 1] and places == {os.getpid()}
    else:
        assert os.getpid() not in places


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.suite)])
def test_the_first_error_stops_the_rest(workers: int) -> None:
    waiting = deque([2, -1, *range(100)])
    with pytest.raises(NumericalError, match="-1 is below zero"), closing(
        side_by_side(halve_slowly, waiting, workers)
    ) as finished:  # fmt: skip
        list(finished)
    assert waiting


def test_workers_are_those_asked_for_or_one_a_core_where_it_pays() -> None:
    assert worker_count(5, 0.1) == 5
    assert worker_count(None) == worker_count(None, 1000.0) == cores() >= 1
    assert worker_count(None, 0.1) == 1
    with pytest.raises(RecipeError, match="workers must be at least 1, got 0"):
        worker_count(0)
