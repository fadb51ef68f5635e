"""Spreads an adapter's factors of stacked experts over a base that stores a tensor per expert.

Transformers 5 stacks the experts in memory, where PEFT adapts them, and writes them one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mergeometry.conventions.experts import alone
from mergeometry.conventions.renames import Renames
from mergeometry.conventions.wrappers import unwrapped
from mergeometry.sources import Adapter, Checkpoint
from mergeometry.sources.experts import StackedFactors
from mergeometry.sources.updates import ExpertsUpdate

Experts = Mapping[tuple[int, str], tuple[int, ...]]
"""(expert, name of its matrix) to the matrix's shape."""


def spread_experts(
    models: Sequence[Checkpoint | Adapter], base: Checkpoint, renames: Renames
) -> tuple[Checkpoint | Adapter, ...]:
    """The models, with the factors of every stack that the base stores one by one given to the single experts."""
    if not any(isinstance(model, Adapter) and model.stacked for model in models):
        return tuple(models)
    stored = _stored_alone(base, renames)
    return tuple(_spread(model, stored) if isinstance(model, Adapter) else model for model in models)


def _stored_alone(base: Checkpoint, renames: Renames) -> dict[str, dict[tuple[int, str], tuple[int, ...]]]:
    """The experts that the base stores one by one, by the newest name of the module that holds them."""
    modules: dict[str, dict[tuple[int, str], tuple[int, ...]]] = {}
    for name, info in base.tensors.items():
        if (found := alone(renames.newest(unwrapped(name)))) is not None:
            module, expert, matrix = found
            modules.setdefault(module, {})[expert, matrix] = info.shape
    return modules


def _spread(model: Adapter, stored: Mapping[str, Experts]) -> Adapter:
    updates, left = dict(model.updates), {}
    for module, stack in model.stacked.items():
        experts = next((stored[name] for name in stored if _alike(name, module)), None)
        single = None if experts is None else _single(module, stack, experts)
        if single is None:
            left[module] = stack
        else:
            updates |= single
    return replace(model, updates=dict(sorted(updates.items())), stacked=left)


def _single(module: str, stack: StackedFactors, experts: Experts) -> dict[str, ExpertsUpdate] | None:
    """An update for each expert's matrices; None where the factors do not fit them."""
    count = 1 + max(expert for expert, _ in experts)
    matrices = {matrix for _, matrix in experts}
    parts = {name: _parts(name, matrices) for name in stack.parameters}
    if any(not names or any((e, m) not in experts for e in range(count) for m in names) for names in parts.values()):
        return None
    rows = {name: [experts[0, matrix][0] for matrix in names] for name, names in parts.items()}
    shapes = {f"{module}.{name}": (count, sum(rows[name]), experts[0, names[0]][1]) for name, names in parts.items()}
    try:
        updates = stack.settled(shapes, inputs_first=False)
    except ValueError:
        return None
    single = {}
    for name, names in parts.items():
        for expert in range(count):
            first = expert * sum(rows[name])
            for matrix, height in zip(names, rows[name], strict=True):
                update = replace(updates[f"{module}.{name}"], rows=(first, first + height))
                single[f"{module}.{expert}.{matrix}.weight"] = update
                first += height
    return single


def _parts(parameter: str, matrices: set[str]) -> tuple[str, ...]:
    """The matrices of one expert that a stacked parameter holds, in the order of their rows."""
    choices = {
        "gate_up_proj": (("gate_proj", "up_proj"), ("w1", "w3")),
        "up_proj": (("up_proj",), ("w3",)),
        "down_proj": (("down_proj",), ("w2",)),
    }
    return next((names for names in choices.get(parameter, ()) if set(names) <= matrices), ())


def _alike(one: str, other: str) -> bool:
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")
