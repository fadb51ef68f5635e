"""Turns one tensor of the base, and what the models hold of it, into a task."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mergeometry.conventions.experts import Stack
from mergeometry.conventions.layer_names import Place
from mergeometry.dtypes import MERGEABLE
from mergeometry.plan.adapter_form import AdapterForm
from mergeometry.plan.choice import Chosen, RecipeMethods
from mergeometry.plan.outputs import output_code
from mergeometry.plan.slices import slices_of
from mergeometry.plan.tasks import Source, TensorTask
from mergeometry.recipe import Recipe
from mergeometry.sink import OutputTensor
from mergeometry.sources import TensorInfo


@dataclass(frozen=True)
class Part:
    """One tensor of the base, and what the models hold of it."""

    name: str
    original: str
    """The tensor that it is a copy of, or its own name: copies are merged alike."""
    info: TensorInfo
    sources: tuple[Source, ...]
    carried: tuple[tuple[str, TensorInfo], ...]
    matrix: bool
    transposed: bool
    stack: Stack | None
    """The matrices that it holds, where each can be merged by itself."""
    form: AdapterForm | None
    """How an adapter holds the merge, where the output is one."""
    place: Place | None
    """Where it stands among the model's layers."""


@dataclass(frozen=True)
class Alike:
    """The tasks made so far, one per kind: a mixture has thousands of experts of equal shapes, and equal costs."""

    known: dict[Any, TensorTask] = field(default_factory=dict)

    def key(self, recipe: Recipe, chosen: Chosen, part: Part) -> Any:
        """What a task's checks, route and cost follow from; None where that is more than shapes and dtypes."""
        inputs = (part.info, *part.sources)
        files = tuple((one.code, one.shape) for one in inputs if type(one) is TensorInfo)
        if len(files) < len(inputs) or part.stack or part.form or part.carried or chosen.values:
            return None
        return (
            id(chosen.method), chosen.name, chosen.weights, chosen.scale, id(chosen.scaling), part.matrix,
            part.transposed, output_code(recipe, part.info), files,
        )  # fmt: skip

    def task(self, key: Any, part: Part) -> TensorTask | None:
        """The task of a tensor of which another is known that differs by its name and its files alone."""
        if (known := self.known.get(key)) is None:
            return None
        outputs = tuple(OutputTensor(part.name, output.code, output.shape) for output in known.outputs)
        return known.renamed(part.name, part.info, part.sources, outputs)

    def keep(self, key: Any, chosen: Chosen, task: TensorTask) -> None:
        """Keep a task for others like it, unless its method draws other numbers for every tensor."""
        # The task holds the method, so that no other object gets its id.
        if key is not None and task.method is chosen.method:
            self.known[key] = task


def task_of(recipe: Recipe, methods: RecipeMethods, part: Part, alike: Alike) -> TensorTask:
    """Give a tensor its method, its scale and its outputs.

    Raises:
        ValueError: the method or the output cannot take the tensor; the message fits after "tensor X: ".
    """
    info, sources, name, stack = part.info, part.sources, part.name, part.stack
    code = output_code(recipe, info)
    labels = [entry.name for entry in recipe.models]
    if info.code not in MERGEABLE:
        whole = [(label, copy) for label, copy in zip(labels, sources, strict=True) if isinstance(copy, TensorInfo)]
        return _copy_task(part, (*whole, *part.carried), info.code)
    if all(source is None for source in sources):
        return _copy_task(part, part.carried, code)
    chosen = methods.choose(recipe, part.original, part.place, matrix=part.matrix or stack is not None)
    if stack is not None and chosen.method.merges_by and chosen.method.matrices_only:
        stack = None
        chosen = methods.choose(recipe, part.original, part.place, matrix=part.matrix)
    key = alike.key(recipe, chosen, part)
    if (task := alike.task(key, part)) is not None:
        return task
    unbound, weights = chosen.method, chosen.weights
    shape = tuple(reversed(info.shape)) if part.transposed else info.shape
    weighs_first = unbound.weights_are_shares and not methods.main[1].weights_are_shares and set(weights) != {1.0}
    checked = shape if stack is None else stack.shape
    for one in unbound.each(len(sources)):
        one.check(len(sources), checked, [1.0] * len(weights) if weighs_first else weights)
    method = unbound.for_tensor(recipe.seed, part.original, labels)
    outputs = (OutputTensor(name, code, info.shape),)
    if part.form is not None:
        outputs = part.form.outputs(name, info, method, sources, shape, code)
    matrix = part.matrix or stack is not None
    kind: Literal["matrix", "other"] = "matrix" if matrix else "other"
    task = TensorTask(
        name, kind, info, sources, method, chosen.name, weights, chosen.scale, part.transposed, part.carried, outputs,
        refinements=methods.refinements if matrix else (), scaling=chosen.scaling, weighs_first=weighs_first,
        values=chosen.values,
    )  # fmt: skip
    if stack is None:
        alike.keep(key, chosen, task)
        return task
    return replace(task, slices=slices_of(task, stack, lambda name: unbound.for_tensor(recipe.seed, name, labels)))


def _copy_task(
    part: Part,
    equal: tuple[tuple[str, TensorInfo], ...],
    code: str,
) -> TensorTask:
    outputs = (OutputTensor(part.name, code, part.info.shape),)
    if part.form is not None:
        outputs = part.form.copies(part.name, part.info, code)
    return TensorTask(part.name, "copied", part.info, (), None, "copy", (), 0.0, False, equal, outputs)
