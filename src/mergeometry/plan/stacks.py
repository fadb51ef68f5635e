"""Assigns an adapter's factors of stacked experts to the base's parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mergeometry.conventions.kinds import experts_inputs_first
from mergeometry.plan.matching import Match
from mergeometry.sources import Adapter, Checkpoint


def settle_stacks(
    models: Sequence[Checkpoint | Adapter], matches: Sequence[Match], base: Checkpoint
) -> tuple[tuple[Checkpoint | Adapter, ...], list[str]]:
    """The models with every stack's factors assigned, and a reason for each stack for which that is impossible."""
    settled, reasons = list[Checkpoint | Adapter](), list[str]()
    for model, match in zip(models, matches, strict=True):
        if not isinstance(model, Adapter) or not model.stacked:
            settled.append(model)
            continue
        theirs = {own: tuple(base.tensors[name].shape) for name, own in match.pairs.items()}
        updates, left = dict(model.updates), {}
        for module, stack in model.stacked.items():
            if any(weight not in theirs for weight in stack.weights):
                left[module] = stack  # the base has no such tensors, which the comparison of names reports
                continue
            try:
                updates |= stack.settled(theirs, experts_inputs_first(base.config))
            except ValueError as error:
                left[module] = stack
                reasons.append(f"{model.label}: the adapter's experts {error}")
        settled.append(replace(model, updates=dict(sorted(updates.items())), stacked=left))
    return tuple(settled), reasons
