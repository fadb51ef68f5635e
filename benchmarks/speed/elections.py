"""Ways to trim task vectors and elect signs, in nanoseconds per entry: ``python -m benchmarks.speed.elections``.

What `ties` does with a piece, in other sizes and by other libraries. numexpr takes part where it is installed; it is no
dependency. Each way's least processor time of some rounds, and whether its bits are those of the way that is taken.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.speed.measure import say
from mergeometry.linalg.election import Vote
from mergeometry.linalg.selection import shrunk

ENTRIES, ROUNDS, BOUND = 1 << 17, 40, 0.012
FEW, MANY = 3, 8


def main() -> None:
    torch.set_num_threads(1)
    for tasks in (FEW, MANY):
        drawn = torch.randn(tasks + 1, ENTRIES, generator=torch.Generator().manual_seed(0)) * 0.01
        base, weights = drawn[0], list(drawn[1:])
        ways: dict[str, Callable[[], Any]] = {"as merges do": by_torch(base, weights, ENTRIES)}
        ways |= {f"in blocks of {size}": by_torch(base, weights, size) for size in (1 << 14, 1 << 15, 1 << 16)}
        ways["NumPy, counts as bytes"] = partial(by_numpy, base.numpy(), [one.numpy() for one in weights])
        if importlib.util.find_spec("numexpr"):
            ways["numexpr"] = by_numexpr(base, weights)
        taken = torch.as_tensor(ways["as merges do"]()).clone()
        for name, way in ways.items():
            same = torch.equal(torch.as_tensor(way()).view(torch.int32), taken.view(torch.int32))
            nanoseconds = least(way) / ENTRIES / tasks * 1e9
            say(f"{tasks} tasks, {name}: {nanoseconds:.2f} ns, {'same' if same else 'other'} bits")


def least(way: Callable[[], Any]) -> float:
    """Processor seconds of the quickest of some rounds."""
    taken = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        way()
        taken.append(time.thread_time() - began)
    return min(taken)


def by_torch(base: Tensor, weights: list[Tensor], block: int) -> Callable[[], Tensor]:
    vote, merged = Vote([1.0] * len(weights)), torch.empty(ENTRIES)
    held = [torch.empty(block) for _ in range(2 * len(weights))]

    def elect() -> Tensor:
        for first in range(0, ENTRIES, block):
            part = slice(first, first + block)
            deltas = [torch.sub(one[part], base[part], out=room) for one, room in zip(weights, held, strict=False)]
            kept = [shrunk(one, BOUND, room) for one, room in zip(deltas, held[len(weights) :], strict=True)]
            merged[part] = vote(kept)
        return merged

    return elect


def by_numpy(base: np.ndarray[Any, Any], weights: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Weights are one, so that the tasks that agree can be counted in bytes, a quarter of what numbers take."""
    kept = [one - base for one in weights]
    sign, total, count = np.zeros_like(base), np.zeros_like(base), np.zeros(ENTRIES, np.int8)
    for one in kept:
        np.multiply(one, np.abs(one) > np.float32(BOUND), out=one)
        np.add(sign, one, out=sign)
    np.sign(sign, out=sign)
    for one in kept:
        np.maximum(np.multiply(one, sign, out=one), 0, out=one)
        np.add(total, one, out=total)
        np.add(count, (one > 0).view(np.int8), out=count)
    return total * sign / np.maximum(count.astype(np.float32), np.finfo(np.float32).tiny)


def by_numexpr(base: Tensor, weights: list[Tensor]) -> Callable[[], Any]:
    """Two expressions, each in one pass over memory; tasks that agree are counted along."""
    library: Any = importlib.import_module("numexpr")
    library.set_num_threads(1)
    numbers = {"bound": BOUND, "one": 1.0, "zero": 0.0, "tiny": float(np.finfo(np.float32).tiny)}
    given: dict[str, Any] = {name: np.float32(number) for name, number in numbers.items()}
    given |= {"base": base.numpy()} | {f"w{place}": one.numpy() for place, one in enumerate(weights)}
    deltas = [f"(w{place} - base)" for place in range(len(weights))]

    def of_those_that_agree(value: str) -> str:
        up, down = "where({0} > bound, {1}, zero)", "where({0} < -bound, {1}, zero)"
        agree = f"where(elected > zero, {up}, where(elected < zero, {down}, zero))"
        return " + ".join(agree.format(delta, value or delta) for delta in deltas)

    election = " + ".join(f"where(abs({delta}) > bound, {delta}, zero)" for delta in deltas)
    mean = f"({of_those_that_agree('')}) / ({of_those_that_agree('one')} + tiny)"

    def elect() -> Any:
        return library.evaluate(mean, {**given, "elected": library.evaluate(election, given)})

    return elect


if __name__ == "__main__":
    main()
