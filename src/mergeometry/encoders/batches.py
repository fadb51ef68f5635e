"""Which inputs each step learns on: only the seed and the step decide, so that a resumed run continues unchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mergeometry.encoders.base import Inputs


@dataclass(frozen=True, slots=True)
class Chosen:
    """One input: the index of its task in the recipe, and its row among the task's inputs."""

    task: int
    row: int


def generator(*parts: object) -> torch.Generator:
    """An independent random stream for each combination of parts."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def split(count: int, share: float, most: int, *seed: object) -> tuple[list[int], list[int]]:
    """Split rows into those to learn on, at least one, and a held-out share of at most ``most`` rows."""
    order = torch.randperm(count, generator=generator("held out", *seed)).tolist()
    held = min(int(count * share), most, count - 1)
    return sorted(order[held:]), sorted(order[:held])


class Sampler:
    """Draws ``size`` rows of each task per step, and goes through all rows of a task before it repeats one."""

    def __init__(self, rows: Sequence[Sequence[int]], size: int, seed: int) -> None:
        self._rows, self._size, self._seed = [list(task_rows) for task_rows in rows], size, seed

    def step(self, number: int) -> list[Chosen]:
        """The inputs of step ``number``, counted from 0."""
        chosen = []
        for task, rows in enumerate(self._rows):
            first = number * self._size
            chosen += [Chosen(task, self._at(task, rows, place)) for place in range(first, first + self._size)]
        return chosen

    def _at(self, task: int, rows: Sequence[int], place: int) -> int:
        round_, index = divmod(place, len(rows))
        return rows[self._order(task, len(rows), round_)[index]]

    def _order(self, task: int, count: int, round_: int) -> list[int]:
        known = getattr(self, "_known", {})
        if known.get(task, (None,))[0] != round_:
            order = torch.randperm(count, generator=generator("order", self._seed, task, round_)).tolist()
            known[task] = (round_, order)
            self._known = known
        return known[task][1]


def pack(chosen: Sequence[Chosen], inputs: Sequence[Inputs], budget: int) -> list[list[Chosen]]:
    """Cut inputs into forward passes of at most ``budget`` after padding, of similar sizes so that little is padded."""
    ordered = sorted(chosen, key=lambda one: (inputs[one.task].sizes[one.row], one.task, one.row))
    packs: list[list[Chosen]] = []
    for one in ordered:
        size = inputs[one.task].sizes[one.row]
        # Sizes grow, so the newest input sets the padded length of the whole pack.
        if packs and size * (len(packs[-1]) + 1) <= budget:
            packs[-1].append(one)
        else:
            packs.append([one])
    return packs
