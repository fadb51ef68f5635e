"""Writes a mixture of experts: makes its gates, for which the base may have to be run, and carries out its plan."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeAlias

from mergeometry.encoders.gates import prompted_gates
from mergeometry.execution.executor import LOCAL, Executor
from mergeometry.execution.extras import Extras
from mergeometry.execution.run import Progress, execute
from mergeometry.execution.workers import MemoryLimit
from mergeometry.plan.mixture import Opened, open_mixture, plan_mixture, unprompted
from mergeometry.plan.plan import Plan
from mergeometry.plan.prepared import local_model
from mergeometry.recipe.mixture import MixtureRecipe
from mergeometry.sink import RunRecord
from mergeometry.sources.access import Access, ShowBytes

Shown: TypeAlias = Callable[[Plan], AbstractContextManager[Progress | None]]
"""Gives what is called with each finished tensor of a plan, for as long as it is carried out."""


def open_models(recipe: MixtureRecipe, access: Access, show: ShowBytes | None = None) -> Opened:
    """Open the models of a mixture, fetched where the recipe names them on the hub.

    Raises:
        MergeometryError: a model cannot be fetched or read, or the models do not fit together.
    """
    places = {path: str(local_model(path, path, access, show)) for path in recipe.paths}
    return open_mixture(recipe.with_paths(lambda path: places[path]))


def write_mixture(
    opened: Opened,
    output: str | Path,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    memory_limit: MemoryLimit = None,
    shown: Shown | None = None,
    executor: Executor = LOCAL,
) -> tuple[Plan, RunRecord]:
    """Write a mixture; the output folder appears complete or not at all.

    Raises:
        MergeometryError: the base cannot be run on the prompts, or what a merge raises.
    """
    gates = prompted_gates(opened) if opened.prompted else unprompted(opened)
    plan = plan_mixture(opened, gates)
    # What an earlier run has written holds only for the very same gates.
    extras = Extras(identity=hashlib.sha256(gates.contiguous().numpy().tobytes()).hexdigest())
    with shown(plan) if shown is not None else nullcontext() as progress:
        record = execute(
            plan,
            output,
            workers=workers,
            overwrite=overwrite,
            resume=resume,
            progress=progress,
            extras=extras,
            memory_limit=memory_limit,
            executor=executor,
        )
    return plan, record
