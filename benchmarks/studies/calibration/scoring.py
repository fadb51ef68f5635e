"""Scores merges of any models of a suite, or of any of their layers, with one encoder that is built once."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry.comparison.attach_moments import attach_moments
from mergeometry.comparison.entries import Entry, read_entries
from mergeometry.comparison.merging import merge_jobs, merge_tensor
from mergeometry.comparison.read_inputs import VALIDATION
from mergeometry.comparison.scoring import MergedDelta, ScoreJob, Settings, score
from mergeometry.comparison.scratch import create
from mergeometry.comparison.setup import Setup
from mergeometry.plan import Plan, make_plan

Deltas = Mapping[str, MergedDelta]
"""Tensor, or slice of one, to its merged task vector on disk."""


@dataclass(slots=True)
class Bench:
    """A suite's encoder and validation inputs, and room for merges."""

    setup: Setup
    folder: Path
    count: int = 0

    def merged(self, models: Collection[str], method: Any) -> Deltas:
        """Merge some of the models by a method, at scale 1."""
        entry: Entry = read_entries([method])[0][0]
        recipe = self.setup.recipe
        some = recipe.model_copy(update={"models": tuple(one for one in recipe.models if one.name in models)})
        return self.deltas([make_plan(entry.recipe(some, 1.0))])[0]

    def deltas(self, plans: Sequence[Plan]) -> list[Deltas]:
        """Merge by every plan."""
        self.count += 1
        place = self.folder / str(self.count)
        place.mkdir(parents=True)
        if any(plan.recipe.data is not None for plan in plans):
            plans = [one.plan for one in attach_moments(self.setup, plans, place, lambda *_: None)]
        jobs, sizes = merge_jobs(plans, place / "merged")
        create(sizes)
        made: list[dict[str, MergedDelta]] = [{} for _ in plans]
        for job in jobs:
            for variant, stored in zip(job.variants, merge_tensor(job).stored, strict=True):
                task = variant.task
                tensor = plans[0].base.tensors[task.base.name]
                first = (task.base.start - tensor.start) // tensor.dtype.itemsize
                for user in variant.users:
                    made[user][job.name] = MergedDelta(
                        tensor.name, first, stored, task.transposed, task.outputs[0].code, None
                    )
        return list(made)

    def accuracy(self, deltas: Deltas, scale: float, tasks: Sequence[str]) -> dict[str, list[float]]:
        """Whether each validation input of the tasks is classified correctly."""
        merged = tuple(deltas.items())
        job = ScoreJob("", self._settings(), VALIDATION, tuple(tasks), entry=0, scale=scale, merged=merged)
        return score(job).scores

    def _settings(self) -> Settings:
        setup = self.setup
        recipe = json.dumps(setup.plans[0].recipe.canonical())
        return Settings(recipe, setup.tasks.model_dump_json(), ((VALIDATION, setup.seen),), setup.digest)
