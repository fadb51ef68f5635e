"""The merged model as a function of coefficients: values for a forward pass, gradients back from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mergeometry.adapt.coefficients import CoefficientTable
from mergeometry.adapt.encoders.base import Encoder
from mergeometry.adapt.learnable import Learnable, learnable_of
from mergeometry.errors import DataError, RecipeError
from mergeometry.execution.compute import load_delta
from mergeometry.execution.inputs import Inputs as Files
from mergeometry.methods.base import Directional, Method
from mergeometry.plan.tasks import Plan, TensorTask
from mergeometry.sources import TensorReader
from mergeometry.values import Delta, LowRank


@dataclass(frozen=True, slots=True)
class Site:
    """One tensor of the model: its name on disk, where the model runs it, and whether it lies transposed there."""

    name: str
    parameter: str
    transposed: bool


class MergedModel:
    """Learnable tensors over the base's weights, which the encoder holds; ``sites`` are those that are run."""

    def __init__(self, encoder: Encoder, tensors: Mapping[str, Learnable], sites: Sequence[Site]) -> None:
        self.encoder, self.tensors, self.sites = encoder, dict(tensors), tuple(sites)

    def weights(self, table: CoefficientTable, dtype: torch.dtype) -> dict[str, Tensor]:
        """Every merged weight under the present coefficients, by the parameter that it stands for."""
        found = {}
        for site in self.sites:
            update = self.tensors[site.name].update(table.of(site.name))
            found[site.parameter] = self.base(site).add(update.mT if site.transposed else update).to(dtype)
        return found

    def pull_back(self, site: Site, gradient: Tensor, table: CoefficientTable) -> Tensor:
        """The gradient of one tensor's coefficients from that of its weight."""
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
    """Read every task vector once, but those of ``doubles``, and keep what each task adds to the merge.

    Raises:
        RecipeError: a method of the plan has no part for each task.
        SourceError: an input changed or ended early.
        NumericalError: an input is not finite.
    """
    check_parts(plan)
    tasks = [task for task in plan.tasks if task.method is not None and task.name not in doubles]
    found, labels = {}, [model.label for model in plan.models]
    with TensorReader() as reader:
        for number, task in enumerate(tasks):
            found[task.name] = learnable_of(_parts(task, Files(reader, labels)))
            if progress:
                progress(number + 1, len(tasks))
    return found


def check_parts(plan: Plan) -> None:
    """Refuse methods whose result cannot be told apart by task.

    Raises:
        RecipeError: the plan has one.
    """
    mixed = sorted({task.method_name for task in plan.tasks if task.method is not None and not task.method.has_parts})
    if mixed:
        raise RecipeError(
            f"{', '.join(mixed)} has no part for each task, so there are no coefficients to learn",
            hint="learn on task_arithmetic, average, adamerging, ties, tsv_m, mda or dc_merge",
        )


def expert_weights(plan: Plan, index: int, encoder: Encoder, sites: Sequence[Site]) -> Iterator[tuple[str, Tensor]]:
    """The weights of one fine-tuned model by parameter, for those that differ from the base's."""
    tasks = {task.name: task for task in plan.tasks}
    with TensorReader() as reader:
        files = Files(reader, [model.label for model in plan.models])
        for site in sites:
            task = tasks[site.name]
            if task.sources[index] is None:
                continue
            base = _base(task, files)
            delta = load_delta(task, index, files, base)
            update = delta.dense() if isinstance(delta, LowRank) else delta.float()
            yield site.parameter, base.to(torch.float32).add(update.mT if task.transposed else update)


def sites_of(plan: Plan, encoder: Encoder) -> list[Site]:
    """Where the merged tensors are run.

    Raises:
        DataError: the model runs none of them.
    """
    found = []
    for task in plan.tasks:
        parameter = encoder.names.get(task.name)
        if task.method is not None and parameter is not None:
            found.append(Site(task.name, parameter, task.transposed))
    if not found:
        raise DataError("the model runs none of the tensors that are merged", hint="see `encoder:` in the recipe")
    return found


def parts_of(method: Method, deltas: Iterable[Delta], weights: Sequence[float]) -> list[Delta]:
    """What each task adds to a merge; where the method allows, one task vector at a time is in memory."""
    if isinstance(method, Directional):
        pairs = zip(deltas, weights, strict=True)
        return method.parts_of([method.directions(own, len(weights)).scaled(weight) for own, weight in pairs])
    return method.parts(list(deltas), weights)


def _parts(task: TensorTask, files: Files) -> list[Delta]:
    assert task.method is not None
    base = None if task.adapters_only else _base(task, files)
    deltas = (load_delta(task, index, files, base) for index in range(len(task.sources)))
    return parts_of(task.method, deltas, task.weights)


def _base(task: TensorTask, files: Files) -> Tensor:
    return files.numbers("base", task.base)
