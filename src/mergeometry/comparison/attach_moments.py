"""Runs the experts once for all entries that merge by activations, and gives each entry its moments."""

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
from mergeometry.plan import Plan


@dataclass(frozen=True, slots=True)
class Informed:
    """A plan ready to be merged, the seconds that this would take for it alone, and notes."""

    plan: Plan
    seconds: float
    notes: list[str]


def attach_moments(
    setup: Setup, plans: Sequence[Plan], folder: Path, say: Callable[[str, int, int], None]
) -> list[Informed]:
    """Attach moments to the plans that need them, in the order given; moments are stored in ``folder``.

    Raises:
        MergeometryError: the models cannot be run on the inputs, or the disk has no room for the moments.
    """
    alone = [plan for plan in plans if plan.recipe.data is not None and not follows_merge(plan)]
    # All plans share the rules, so the one with the most such matrices has those of every other.
    widest = max(alone, key=lambda plan: len(merged_by_activations(plan)), default=None)
    shared = None if widest is None else _collected(setup, widest, folder / "experts", say)
    informed = []
    for number, plan in enumerate(plans):
        if plan.recipe.data is None:
            informed.append(Informed(plan, 0.0, []))
            continue
        # What follows the merge sees the inputs that its own merge gives.
        found = _collected(setup, plan, folder / f"merge-{number}", say) if follows_merge(plan) else shared
        assert found is not None
        moments, collecting = found
        started = time.perf_counter()
        ready, notes = attach(plan, moments)
        informed.append(Informed(ready, collecting + time.perf_counter() - started, notes))
    return informed


def _collected(setup: Setup, plan: Plan, folder: Path, say: Callable[[str, int, int], None]) -> tuple[Moments, float]:
    """The moments of a plan's layers, and the seconds that they took."""
    section = plan.recipe.data
    assert section is not None
    say("running the experts on unlabelled inputs", 0, 1)
    folder.mkdir()
    check_room(estimate(plan, section, setup.unlabelled), folder)
    started = time.perf_counter()
    moments = collect_for(plan, section, setup.unlabelled, folder)
    return moments, time.perf_counter() - started
