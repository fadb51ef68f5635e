"""One scheduler: what a result calls for is done too, here or in other processes, and an error stops the rest."""

from __future__ import annotations

import os
import time
import warnings
from collections import deque
from contextlib import closing

import pytest

from mergeometry.errors import NumericalError, RecipeError
from mergeometry.execution.pool import side_by_side
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


HELD: list[bytearray] = []


def grow(_number: int) -> int:
    """Hold more memory from the second job on than loky lets a worker grow by; its check comes once a second."""
    HELD.append(bytearray(b"x") * (330_000_000 if HELD else 1))
    time.sleep(1.1)
    return os.getpid()


@pytest.mark.suite
def test_a_worker_that_grew_is_replaced_without_a_word() -> None:
    pytest.importorskip("psutil", reason="without it loky does not look at memory")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with closing(side_by_side(grow, deque(range(6)), 2)) as finished:
            places = {place for _, place in finished}
    assert len(places) > 2, "no worker was replaced"
    assert not [str(warning.message) for warning in caught]


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


@pytest.mark.parametrize("workers", [1, 2])
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
