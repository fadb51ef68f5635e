"""Batches: every row once a round, any step from its number alone, packs within their budget."""

from __future__ import annotations

import pytest

from mergeometry.encoders.base import Inputs
from mergeometry.encoders.batches import Chosen, Sampler, generator, pack, split


def test_every_row_comes_once_a_round() -> None:
    rows = [[3, 5, 8, 9, 11], [0, 1, 2]]
    sampler = Sampler(rows, 2, seed=4)
    drawn_ = [[one.row for number in range(15) for one in sampler.step(number) if one.task == task] for task in (0, 1)]
    for own, found in zip(rows, drawn_, strict=True):
        rounds = [found[first : first + len(own)] for first in range(0, len(found), len(own))]
        assert all(sorted(one) == own for one in rounds)
        assert len({tuple(one) for one in rounds}) > 1, "every round in the same order"


def test_a_step_is_a_function_of_seed_and_number() -> None:
    rows = [list(range(10)), list(range(7))]
    forwards, backwards = Sampler(rows, 3, 1), Sampler(rows, 3, 1)
    there = [forwards.step(number) for number in range(12)]
    assert there == [backwards.step(number) for number in reversed(range(12))][::-1]
    assert there != [Sampler(rows, 3, 2).step(number) for number in range(12)]
    assert [one.task for one in there[0]] == [0, 0, 0, 1, 1, 1]
    assert generator("a", 1).initial_seed() != generator("a", 2).initial_seed()


@pytest.mark.parametrize(
    ("count", "share", "most"), [(1, 0.5, 9), (2, 0.5, 9), (100, 0.1, 50), (100, 0.5, 7), (9, 0, 9)]
)
def test_split_parts_all_rows(count: int, share: float, most: int) -> None:
    learned, held = split(count, share, most, 3, 0)
    assert sorted(learned + held) == list(range(count)) and learned == sorted(learned)
    assert len(held) == min(int(count * share), most, count - 1)
    assert (learned, held) == split(count, share, most, 3, 0)
    if 1 < len(held) < count // 2:
        assert held != split(count, share, most, 4, 0)[1] != split(count, share, most, 4, 1)[1]


def test_pack_covers_everything_once_within_the_budget() -> None:
    sizes = [3, 17, 1, 9, 9, 2, 30, 4]
    inputs = [Inputs(range(8), tuple(sizes), (1,) * 8), Inputs(range(3), (5, 6, 7), (2, 2, 2))]
    chosen = [Chosen(0, row) for row in range(8)] + [Chosen(1, row) for row in (2, 0, 1)]
    for budget in (1, 8, 18, 40, 1000):
        packs = pack(chosen, inputs, budget)
        flat = [one for part in packs for one in part]
        assert sorted(flat, key=lambda one: (one.task, one.row)) == sorted(chosen, key=lambda one: (one.task, one.row))
        for part in packs:
            longest = max(inputs[one.task].sizes[one.row] for one in part)
            assert len(part) == 1 or longest * len(part) <= budget
        assert packs == pack(chosen[::-1], inputs, budget), "packs depend on the order of what is chosen"
    assert len(pack(chosen, inputs, 1000)) == 1
