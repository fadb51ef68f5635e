"""Scores one set of weights on one split: the base, an expert, or a merge at a scale; runs in worker processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from mergeometry.comparison.merging import MergedTensor, MergeJob, merge_tensor
from mergeometry.comparison.read_inputs import read_splits
from mergeometry.comparison.scorer import Scorer
from mergeometry.comparison.scratch import Stored
from mergeometry.comparison.setup import Setup
from mergeometry.comparison.tasks_file import load_tasks
from mergeometry.dtypes import torch_dtype
from mergeometry.encoders.sites import Site, expert_weights, sites_of
from mergeometry.errors import MismatchError, NumericalError
from mergeometry.execution.usage import process_usage
from mergeometry.plan import Plan, make_plan
from mergeometry.plan.tasks import TensorTask
from mergeometry.recipe import Recipe, load_recipe
from mergeometry.sources import Checkpoint


@dataclass(frozen=True, slots=True)
class Settings:
    """What all jobs of a comparison share, as text, from which a worker builds its scorer once."""

    recipe: str
    tasks: str
    splits: tuple[tuple[str, tuple[str, ...]], ...]
    """Each split with the tasks that are scored on it."""
    identity: str
    """Digest of everything that is read, so that a scorer is not reused for other inputs."""
    device: str = "cpu"
    """Where models are run."""


def settings_of(setup: Setup, identity: str) -> Settings:
    """The settings of all jobs that score merges of a setup on its splits."""
    splits = tuple((split, tuple(tasks)) for split, tasks in setup.splits.items())
    return Settings(json.dumps(setup.plans[0].recipe.canonical()), setup.tasks.model_dump_json(), splits, identity)


@dataclass(frozen=True, slots=True)
class MergedDelta:
    """One entry's merged task vector of one tensor, or of a slice of one, and how it becomes a weight."""

    tensor: str
    first: int
    """The entry of the tensor that it starts at."""
    stored: Stored
    transposed: bool
    code: str
    """The dtype that the weight is rounded to, as if it were written."""
    scale: float | None
    """A fixed scale from a `tensors:` rule, or None where the job's scale applies."""


def merged_delta(base: Checkpoint, task: TensorTask, stored: Stored, scale: float | None) -> MergedDelta:
    """What becomes of a merged task vector; ``scale`` is its own, or None where that of the job applies."""
    tensor = base.tensors[task.base.name]
    first = (task.base.start - tensor.start) // tensor.dtype.itemsize
    return MergedDelta(tensor.name, first, stored, task.transposed, task.outputs[0].code, scale)


def fixes_scale(recipe: Recipe, name: str) -> bool:
    """Whether the recipe gives the tensor a scale of its own, which is kept where others are tried."""
    rule = next((rule for rule in recipe.tensors if fnmatchcase(name, rule.match)), None)
    return rule is not None and rule.scale is not None


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """The base (neither expert nor merge), an expert by its index, or a merge at a scale, on one split."""

    key: str
    settings: Settings
    split: str
    tasks: tuple[str, ...]
    expert: int | None = None
    entry: int | None = None
    scale: float = 1.0
    scale_text: str = ""
    """The scale in words."""
    merged: tuple[tuple[str, MergedDelta], ...] = ()
    """By the names of tensors, or of their slices."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A score for each input of the tasks, and how much each counts where they differ."""

    scores: dict[str, list[float]]
    weights: dict[str, list[int]] | None
    peak_memory: int

    def to_json(self) -> dict[str, Any]:
        """The values to keep, without the memory, which belongs to this run."""
        return {"scores": self.scores, "weights": self.weights}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Scored:
        """Read what `to_json` wrote."""
        return cls(value["scores"], value["weights"], 0)


def carry_out(job: MergeJob | ScoreJob) -> MergedTensor | Scored:
    """Run one job of a comparison.

    Raises:
        MergeometryError: an input changed, a value is not finite, or a method fails.
    """
    return merge_tensor(job) if isinstance(job, MergeJob) else score(job)


def score(job: ScoreJob) -> Scored:
    """Put the weights into the encoder and score them.

    Raises:
        NumericalError: a merged weight is not finite.
    """
    scorer, plan, sites = _bench(job.settings)
    if job.expert is not None:
        scorer.load(expert_weights(plan, job.expert, scorer.encoder, sites))
    else:
        scorer.load(moved_weights(scorer, sites, [delta for _, delta in job.merged], job.scale))
    weights = scorer.counts(job.split)
    counted = None if weights is None else {task: weights[task] for task in job.tasks}
    return Scored(scorer.scores(job.split, job.tasks), counted, process_usage()[0])


@lru_cache(maxsize=1)
def _bench(settings: Settings) -> tuple[Scorer, Plan, list[Site]]:
    """The scorer of a comparison, with the plan that locates the experts."""
    recipe, tasks = load_recipe(json.loads(settings.recipe)), load_tasks(json.loads(settings.tasks))
    plan = make_plan(recipe)
    splits, problems, _ = read_splits(tasks, plan.base, dict(settings.splits))
    if problems:
        raise MismatchError("the tasks changed during the comparison", problems)
    scorer = Scorer(plan.base, tasks.encoder, splits, settings.device)
    return scorer, plan, sites_of(plan, scorer.encoder)


def moved_weights(
    scorer: Scorer, sites: list[Site], merged: list[MergedDelta], scale: float
) -> Iterator[tuple[str, Tensor]]:
    """The weights of a merge at a scale, rounded as they would be written."""
    by_tensor: dict[str, list[MergedDelta]] = {}
    for delta in merged:
        by_tensor.setdefault(delta.tensor, []).append(delta)
    for site in sites:
        if site.name not in by_tensor:
            continue
        base = scorer.base(site.parameter)
        parts = sorted(by_tensor[site.name], key=lambda delta: delta.first)
        flat = torch.cat([_weight(base.reshape(-1), delta, scale) for delta in parts])
        yield site.parameter, flat.view(base.shape)


def _weight(base: Float32[Tensor, " entries"], delta: MergedDelta, scale: float) -> Float32[Tensor, " part"]:
    """The merged weight of a tensor, or of the slice that the task vector belongs to, in the order of the file."""
    update = delta.stored.read().to(base.device)
    update = (update.mT if delta.transposed else update).reshape(-1)
    by = scale if delta.scale is None else delta.scale
    part = base[delta.first : delta.first + update.numel()]
    weight = part.add(update, alpha=by).to(torch_dtype(delta.code)).float()
    if not bool(torch.isfinite(weight.sum())):
        raise NumericalError(
            f"a merged value is NaN or infinite in {delta.code} at scale {by:g}", tensor=delta.tensor,
            hint="compare lower scales, or set output.dtype wider",
        )  # fmt: skip
    return weight
