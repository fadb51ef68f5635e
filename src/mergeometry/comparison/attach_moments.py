"""Runs the experts once for all entries that merge by activations or Fisher information."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mergeometry.activations.attach import attach
from mergeometry.activations.collect import Moments
from mergeometry.activations.estimate import check_room, estimate
from mergeometry.activations.in_order import follows_merge
from mergeometry.activations.layers import merged_by_activations
from mergeometry.activations.run import collect_for
from mergeometry.comparison.setup import Setup
from mergeometry.execution.executor import LOCAL, Executor
from mergeometry.fisher.attach import attach_fishers
from mergeometry.fisher.collect import Fishers, collect_fishers
from mergeometry.plan import Plan
from mergeometry.plan.fishers import merged_by_fisher
from mergeometry.recipe.data import DataSection


@dataclass(frozen=True, slots=True)
class Informed:
    """A plan ready to be merged, the seconds that this would take for it alone, and notes."""

    plan: Plan
    seconds: float
    notes: list[str]


def attach_moments(
    setup: Setup, plans: Sequence[Plan], folder: Path, say: Callable[[str, int, int], None], executor: Executor = LOCAL
) -> list[Informed]:
    """Attach moments and Fisher information to the plans that need them, in the order given; ``folder`` stores them.

    The ``executor`` is one that shares the folder.

    Raises:
        MergeometryError: the models cannot be run on the inputs, or the disk has no room for what is collected.
    """
    # All plans share the rules, so the one with the most such tensors has those of every other.
    alone = [plan for plan in plans if merged_by_activations(plan) and not follows_merge(plan)]
    widest = max(alone, key=lambda plan: len(merged_by_activations(plan)), default=None)
    shared = None if widest is None else _moments(setup, widest, folder / "experts", say, executor)
    by_fisher = [plan for plan in plans if merged_by_fisher(plan.tasks)]
    widest = max(by_fisher, key=lambda plan: len(merged_by_fisher(plan.tasks)), default=None)
    fishers = None if widest is None else _fishers(setup, widest, folder / "fishers", say, executor)
    informed = []
    for number, plan in enumerate(plans):
        ready, notes, seconds = plan, list[str](), 0.0
        if fishers is not None and merged_by_fisher(plan.tasks):
            started = time.perf_counter()
            ready, notes = attach_fishers(plan, fishers[0])
            seconds = fishers[1] + time.perf_counter() - started
        if merged_by_activations(plan):
            # What follows the merge sees the inputs that its own merge gives.
            place = folder / f"merge-{number}"
            found = _moments(setup, ready, place, say, executor) if follows_merge(plan) else shared
            assert found is not None
            started = time.perf_counter()
            ready, more = attach(ready, found[0])
            notes, seconds = [*notes, *more], seconds + found[1] + time.perf_counter() - started
        informed.append(Informed(ready, seconds, notes))
    return informed


def _moments(
    setup: Setup, plan: Plan, folder: Path, say: Callable[[str, int, int], None], executor: Executor
) -> tuple[Moments, float]:
    """The moments of a plan's layers, and the seconds that they took."""
    section, started = _prepared(setup, plan, folder, say), time.perf_counter()
    memory = estimate(plan, section, setup.unlabelled).memory
    found = collect_for(plan, section, setup.unlabelled, folder, executor, memory)
    return found, time.perf_counter() - started


def _fishers(
    setup: Setup, plan: Plan, folder: Path, say: Callable[[str, int, int], None], executor: Executor
) -> tuple[Fishers, float]:
    """The Fisher information of a plan's tensors, and the seconds that it took."""
    section, started = _prepared(setup, plan, folder, say), time.perf_counter()
    memory = estimate(plan, section, setup.unlabelled).memory
    found = collect_fishers(plan, section, setup.unlabelled, folder, executor, memory)
    return found, time.perf_counter() - started


def _prepared(setup: Setup, plan: Plan, folder: Path, say: Callable[[str, int, int], None]) -> DataSection:
    """The plan's section, once there is a folder with room for what is collected."""
    section = plan.recipe.data
    assert section is not None
    say("running the experts on unlabelled inputs", 0, 1)
    folder.mkdir()
    check_room(estimate(plan, section, setup.unlabelled), folder)
    return section
