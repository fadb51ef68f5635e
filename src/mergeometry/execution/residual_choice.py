"""What each residual keeps: ranks, rows and whole modules, by what they keep for their bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mergeometry.deferred import NDArray, np
from mergeometry.execution.residual_jobs import Gap
from mergeometry.linalg.allocation import Gains, counts_at_rate, counts_for_bytes, counts_for_share
from mergeometry.plan.plan import Plan
from mergeometry.plan.residual_cost import entry_bytes, header_bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """What one model's residual holds of every tensor, by the tensor's name."""

    ranks: Mapping[str, int]
    rows: Mapping[str, tuple[int, ...]]
    whole: frozenset[str]
    """Tensors that are written whole, the biases of factors included."""


def kept_of(plan: Plan, gaps: Mapping[str, Gap]) -> Kept:
    """Decide what the residual of one model keeps, whose ``gaps`` are by the tensors' names."""
    form, wanted = plan.residuals, plan.recipe.output.residuals
    assert form is not None and wanted is not None
    factors, rows = form.of_kind("factors"), form.of_kind("rows")
    modules: dict[str, list[str]] = {}
    for name in form.of_kind("whole"):
        modules.setdefault(form.module(name), []).append(name)
    always = form.of_kind("vectors", "bias")
    cost = {name: entry_bytes(wanted, plan.by_name[name], form.stored[name]) for name in form.stored}
    # PEFT loads several adapters only where all of them have rows of the same tables.
    lists = [Gains(_numbers(gaps[name])[: wanted.rank], cost[name], int(form.biases)) for name in factors]
    lists += [Gains(-np.sort(-_numbers(gaps[name])), cost[name], 1) for name in rows]
    lists += [Gains(_sum(gaps, names), sum(cost[name] for name in names)) for names in modules.values()]
    lists += [Gains(_sum(gaps, [name]), cost[name], 1) for name in always]
    if wanted.keep is not None:
        counts = counts_for_share(lists, wanted.keep)
    elif (budget := wanted.budget(plan.layout.nbytes)) is not None:
        counts = counts_for_bytes(lists, budget - header_bytes(form))
    else:
        counts = _of_rank(lists, len(factors))
    ranks = dict(zip(factors, counts, strict=False))
    if not any(ranks.values()):  # of a model that the merge equals: PEFT takes no adapter without factors
        ranks[min(factors, key=lambda name: cost[name])] = 1
    lengths = dict(zip(rows, counts[len(factors) :], strict=False))
    chosen = zip(modules.values(), counts[len(factors) + len(rows) :], strict=False)
    return Kept(
        ranks,
        {name: _leading(_numbers(gaps[name]), length) for name, length in lengths.items()},
        frozenset([*always, *(name for names, count in chosen if count for name in names)]),
    )


def _of_rank(lists: Sequence[Gains], factors: int) -> list[int]:
    """Every direction that the rank allows, and what else keeps as much for its bytes as these do on average."""
    counts = [max(one.least, one.useful) for one in lists[:factors]]
    taken = list(zip(lists[:factors], counts, strict=True))
    spent = sum(count * one.cost for one, count in taken)
    gained = sum(float(one.values[:count].sum()) for one, count in taken)
    return counts + counts_at_rate(lists[factors:], gained / spent if spent else 0.0)


def _numbers(gap: Gap) -> NDArray[np.float64]:
    return np.frombuffer(gap.parts, dtype="<f4").astype(np.float64)


def _sum(gaps: Mapping[str, Gap], names: Sequence[str]) -> NDArray[np.float64]:
    return np.array([sum(gaps[name].energy for name in names)])


def _leading(energies: NDArray[np.float64], count: int) -> tuple[int, ...]:
    """The rows of the largest gaps, in their order."""
    return tuple(sorted(np.argsort(-energies, kind="stable")[:count].tolist()))
