"""What the passes of a step add up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(slots=True)
class Sum:
    """What the passes of one step add up to; tensors in float64, since gradients of single passes nearly cancel."""

    loss: float = 0.0
    terms: dict[tuple[int, str], float] = field(default_factory=dict)
    coefficients: dict[str, Tensor] = field(default_factory=dict)
    turns: dict[int, Tensor] = field(default_factory=dict)
    sums: dict[int, tuple[Float[Tensor, "d c"], Int[Tensor, " c"]]] = field(default_factory=dict)

    def add_values(self, loss: float, terms: Mapping[tuple[int, str], float]) -> None:
        """Add a pass's objective and its terms."""
        self.loss += loss
        for key, value in terms.items():
            self.terms[key] = self.terms.get(key, 0.0) + value

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by names of their own."""
        named = {f"coefficients/{name}": value for name, value in self.coefficients.items()}
        named |= {f"turn/{task}": value for task, value in self.turns.items()}
        for task, (total, count) in self.sums.items():
            named |= {f"sum/{task}": total, f"count/{task}": count}
        return named

    def take(self, named: Mapping[str, Tensor]) -> None:
        """Put tensors, by the names of `tensors`, in place of all there are."""
        split = {kind: {} for kind in ("coefficients", "turn", "sum", "count")}
        for name, value in named.items():
            kind, _, rest = name.partition("/")
            split[kind][rest] = value
        self.coefficients = {name: value.float() for name, value in split["coefficients"].items()}
        self.turns = {int(task): value for task, value in split["turn"].items()}
        self.sums = {int(task): (v.float(), split["count"][task].long()) for task, v in split["sum"].items()}
