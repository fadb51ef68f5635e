"""The merged model as a function of its coefficients: weights for a forward pass, and gradients from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

from mergeometry.encoders.base import Encoder
from mergeometry.encoders.sites import Site
from mergeometry.errors import RecipeError
from mergeometry.execution.task_reader import TaskReader
from mergeometry.execution.task_vectors import TaskVectors, begin_parts
from mergeometry.learning.coefficients import CoefficientTable
from mergeometry.learning.learnable import Learnable, learnable_of
from mergeometry.methods.families.accumulator import accumulate
from mergeometry.plan.plan import Plan
from mergeometry.plan.tasks import TensorTask
from mergeometry.sources import TensorReader
from mergeometry.values import Delta


class MergedModel:
    """Learnable tensors on top of the encoder's base weights; ``sites`` are the tensors that are run."""

    def __init__(self, encoder: Encoder, tensors: Mapping[str, Learnable], sites: Sequence[Site]) -> None:
        self.encoder, self.tensors, self.sites = encoder, dict(tensors), tuple(sites)

    def weights(self, table: CoefficientTable, dtype: torch.dtype) -> dict[str, Tensor]:
        """Every merged weight under the current coefficients, by parameter."""
        merged = {}
        for site in self.sites:
            update = self.tensors[site.name].update(table.of(site.name))
            merged[site.parameter] = self.base(site).add(update.mT if site.transposed else update).to(dtype)
        return merged

    def pull_back(self, site: Site, gradient: Tensor, table: CoefficientTable) -> Tensor:
        """The gradient of one tensor's coefficients from the gradient of its weight."""
        oriented = (gradient.mT if site.transposed else gradient).float()
        return self.tensors[site.name].pull_back(oriented, table.of(site.name))

    def base(self, site: Site) -> Tensor:
        """The base's own weight."""
        return self.encoder.base(site.parameter)

    @property
    def nbytes(self) -> int:
        """Bytes of all tasks' parts."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


def load_learnables(
    plan: Plan, doubles: Collection[str] = (), progress: Callable[[int, int], None] | None = None
) -> dict[str, Learnable]:
    """Read every task vector once, except those of ``doubles``, and keep each task's part of the merge.

    Raises:
        RecipeError: a method of the plan has no part for each task.
        SourceError: an input changes or ends early.
        NumericalError: an input is not finite.
    """
    check_parts(plan)
    tasks = [task for task in plan.tasks if task.method is not None and task.name not in doubles]
    learnables, labels = {}, [model.label for model in plan.models]
    with TensorReader() as reader:
        for number, task in enumerate(tasks):
            learnables[task.name] = learnable_of(_parts(task, TaskReader(reader, labels)))
            if progress:
                progress(number + 1, len(tasks))
    return learnables


def check_parts(plan: Plan) -> None:
    """Check that every method's result splits into one part per task.

    Raises:
        RecipeError: a method of the plan does not.
    """
    merged = [task for task in plan.tasks if task.method is not None and not task.method.has_parts]
    without_parts = sorted({task.method_name for task in merged})
    if without_parts:
        hint = "use method: task_arithmetic, average, adamerging, ties, tsv_m, mda or dc_merge"
        if all(task.kind == "other" for task in merged) and plan.recipe.other is None:
            hint = f"it is what {plan.recipe.method.name} merges other tensors by: write `other: average`, or {hint}"
        raise RecipeError(
            f"{', '.join(without_parts)} has no part for each task, so there are no coefficients to learn", hint=hint
        )


def _parts(task: TensorTask, files: TaskReader) -> list[Delta]:
    vectors = TaskVectors(task, files)
    return accumulate(begin_parts(task, vectors), len(vectors), vectors.__getitem__)
