"""Bytes are shared out as well as an exhaustive search shares them, up to one entry of each list."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mergeometry.linalg.allocation import Gains, counts_at_rate, counts_for_bytes, counts_for_share


def lists_of(seed: int) -> list[Gains]:
    random = np.random.default_rng(seed)
    lengths, costs = random.integers(1, 6, 4), random.integers(1, 9, 4)
    return [
        Gains(-np.sort(-(random.exponential(size=length) ** 2)), int(cost), least=int(random.integers(0, 2)))
        for length, cost in zip(lengths, costs, strict=True)
    ]


def gain(lists: list[Gains], counts: tuple[int, ...] | list[int]) -> float:
    return sum(float(one.values[:count].sum()) for one, count in zip(lists, counts, strict=True))


def cost(lists: list[Gains], counts: tuple[int, ...] | list[int]) -> int:
    return sum(one.cost * count for one, count in zip(lists, counts, strict=True))


def choices(lists: list[Gains]) -> list[tuple[int, ...]]:
    return list(itertools.product(*(range(one.least, len(one.values) + 1) for one in lists)))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_a_share_is_kept_in_the_fewest_bytes(seed: int, share: float) -> None:
    lists = lists_of(seed)
    counts, wanted = counts_for_share(lists, share), share * gain(lists, [len(one.values) for one in lists])
    fewest = min(cost(lists, other) for other in choices(lists) if gain(lists, other) >= wanted - 1e-12)
    assert gain(lists, counts) >= wanted - 1e-12
    assert cost(lists, counts) < fewest + max(one.cost for one in lists)
    for index, one in enumerate(lists):  # nothing is kept that the rest does without
        fewer = [count - (place == index) for place, count in enumerate(counts)]
        assert counts[index] == one.least or gain(lists, fewer) < wanted


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_of_entries_of_one_cost_the_fewest_are_kept(seed: int, share: float) -> None:
    lists = [Gains(one.values, 7) for one in lists_of(seed)]
    counts, wanted = counts_for_share(lists, share), share * gain(lists, [len(one.values) for one in lists])
    assert cost(lists, counts) == min(cost(lists, other) for other in choices(lists) if gain(lists, other) >= wanted)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("budget", [25, 60])
def test_a_budget_keeps_nearly_the_most_and_is_never_exceeded(seed: int, budget: int) -> None:
    lists = lists_of(seed)
    counts = counts_for_bytes(lists, budget)
    most = max(gain(lists, other) for other in choices(lists) if cost(lists, other) <= budget)
    left = budget - cost(lists, counts)
    assert left >= 0
    # What the optimum has more is less than the best entry that no longer fitted.
    following = [(one, count) for one, count in zip(lists, counts, strict=True) if count < len(one.values)]
    assert gain(lists, counts) >= most - max((float(one.values[count]) for one, count in following), default=0) - 1e-12
    assert all(one.cost > left for one, _ in following)


def test_everything_is_everything_that_keeps_anything() -> None:
    lists = [Gains(np.array([3.0, 1.0, 0.0]), 5), Gains(np.array([0.0]), 1), Gains(np.array([0.0]), 1, least=1)]
    assert counts_for_share(lists, 1.0) == [2, 0, 1]
    assert counts_for_bytes(lists, 1000) == [2, 0, 1]
    assert counts_at_rate(lists, 0.3) == [1, 0, 1]
    assert counts_at_rate(lists, 0.0) == [2, 0, 1]


def test_a_budget_below_what_must_be_keeps_what_must_be() -> None:
    assert counts_for_bytes([Gains(np.array([3.0, 1.0]), 5, least=1)], 2) == [1]
