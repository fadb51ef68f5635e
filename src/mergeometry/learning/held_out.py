"""Whether held-out inputs show that a learned merge is better than the one it started from.

Both merges run on the same inputs, and every input is compared with itself: what differs between inputs, which is most
of it, drops out. What is left still varies, so that on a handful of inputs the mean falls by chance as often as not. A
merge is better only where it falls by more than chance explains.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from scipy.special import stdtrit
from torch import Tensor

from mergeometry.encoders.batches import Chosen

CHANCE = 1 / 40
"""How often a fall that counts would come about by chance: seldom, since a course is checked several times."""

_PREFIX = "held/"
Values = Float64[Tensor, "inputs 2"]
"""The objective of every held-out input, and the share of its rows on which the merge does not predict what the expert
does: 0 where nothing predicts."""
ByInput = Mapping[Chosen, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Gain:
    """How far the objective falls, as a mean over tasks, with its standard error."""

    mean: float = 0.0
    error: float = math.inf
    inputs: int = 0
    needed: float = math.inf
    """Standard errors from which the fall counts: 2 of many inputs, more of few."""

    @property
    def convinces(self) -> float:
        """The fall in standard errors."""
        return 0.0 if self.mean == 0 else self.mean / max(self.error, sys.float_info.min)

    @property
    def shown(self) -> bool:
        """Whether the fall is larger than chance explains."""
        return self.convinces > self.needed

    def __str__(self) -> str:
        return f"{self.mean:.2g} ± {self.error:.1g} on {self.inputs} inputs"

    def to_json(self) -> dict[str, float | int | None]:
        """As the run record has it; of one input there is no error."""
        error = self.error if math.isfinite(self.error) else None
        return {"fell_by": self.mean, "standard_error": error, "inputs": self.inputs}


class HeldOut:
    """What held-out inputs say of the start, of the state that a stage began with, and of the best so far."""

    def __init__(self, inputs: Sequence[Chosen]) -> None:
        self.inputs = tuple(inputs)
        counts = Counter(one.task for one in inputs)
        shares = [1 / (len(counts) * counts[one.task]) for one in inputs]
        self._shares = torch.tensor(shares, dtype=torch.float64)
        self._known: dict[str, Values] = {}

    def __bool__(self) -> bool:
        return bool(self.inputs)

    @property
    def gain(self) -> Gain:
        """How far the best state is below the start; where that is the start, how far the most convincing one is."""
        if not self._known:
            return Gain()
        start, best = self._known["start"], self._known["best"]
        return self._fall(start, self._known["nearest"] if torch.equal(start, best) else best)

    def is_better(self, values: ByInput) -> bool:
        """Whether these values are below those that the stage began with, beyond chance; the first ones are the start.

        Nor may fewer predictions be the experts', beyond chance.
        """
        now = self._ordered(values)
        if not self._known:
            self._known = dict.fromkeys(("start", "stage", "best", "nearest"), now)
            return True
        start, before = self._known["start"], self._known["stage"]
        if self._fall(start, now).convinces > self._fall(start, self._known["nearest"]).convinces:
            self._known["nearest"] = now
        lost = self._fall(now[:, 1:], before[:, 1:])
        return self._fall(before, now).shown and not lost.mean > lost.error

    def keep(self, values: ByInput) -> None:
        """Take these values as the best state's."""
        self._known["best"] = self._ordered(values)

    def next_stage(self) -> None:
        """Compare with the best state from now on, where the next stage begins."""
        self._known["stage"] = self._known["best"]

    def tensors(self) -> dict[str, Tensor]:
        """All that a resumed run needs, by name."""
        return {f"{_PREFIX}{name}": values.clone() for name, values in self._known.items()}

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` returned."""
        self._known = {n.removeprefix(_PREFIX): values for n, values in tensors.items() if n.startswith(_PREFIX)}

    def _ordered(self, values: ByInput) -> Values:
        return torch.tensor([values[one] for one in self.inputs], dtype=torch.float64)

    def _fall(self, before: Float64[Tensor, "inputs k"], after: Float64[Tensor, "inputs k"]) -> Gain:
        """The fall of the first column."""
        falls = (before - after)[:, 0]
        mean, count = (self._shares * falls).sum(), len(falls)
        if count < 2:
            return Gain(float(mean), math.inf, count)
        squares = (self._shares * (falls - mean)).square().sum() * count / (count - 1)
        # Where tasks have unequal numbers of inputs, the few ones of a task weigh as much as all of another.
        alike = 1 / float(self._shares.square().sum())
        return Gain(float(mean), float(squares.sqrt()), count, float(stdtrit(alike - 1, 1 - CHANCE)))
