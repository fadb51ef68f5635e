"""What a merge writes: whole tensors, or the factors of an adapter, and where each is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mergeometry.conventions.modules import Part
from mergeometry.dtypes import NAMED_CODES
from mergeometry.errors import RecipeError
from mergeometry.recipe import AdapterOutput, Recipe
from mergeometry.sink import AdapterModule, Layout, OutputTensor, adapter_tensors, lay_out, lay_out_parts
from mergeometry.sources import AdapterDelta, Checkpoint, TensorInfo

if TYPE_CHECKING:
    from mergeometry.methods.base import Method
    from mergeometry.plan.tasks import Source, TensorTask

_STANDARD = "model"
"""What transformers calls the weights of a model."""


def output_code(recipe: Recipe, info: TensorInfo) -> str:
    """The dtype that a merged tensor is written in.

    Factors of an adapter are float32 unless the recipe says otherwise: rounding each of them to the 16 bits of
    a base would lose more than rounding their product, and the result would not be exact.
    """
    if recipe.output.dtype != "base":
        return NAMED_CODES[recipe.output.dtype]
    return "F32" if recipe.output.adapter and info.code != "F64" else info.code


def adapter_rank(recipe: Recipe, info: TensorInfo, sources: Sequence[Source]) -> int:
    """Rank of the adapter for a tensor's merged update: the sum of the inputs' ranks, or less if the recipe asks."""
    total = sum(source.rank for source in sources if isinstance(source, AdapterDelta))
    exact = min(total, *info.shape) if info.shape else 0
    wanted = recipe.output.adapter
    return min(exact, wanted.rank) if isinstance(wanted, AdapterOutput) else exact


def adapter_outputs(
    name: str, method: Method, sources: Sequence[Source], shape: Sequence[int], rank: int, code: str
) -> tuple[OutputTensor, ...]:
    """The two factors that hold a tensor's merged update.

    Raises:
        ValueError: an adapter cannot hold the update; the message fits after "tensor X: ".
    """
    if any(isinstance(source, TensorInfo) for source in sources):
        raise ValueError("a model holds the tensor itself, so an adapter cannot hold its update")
    if not method.stays_low_rank:
        raise ValueError("the method's result is not low-rank, so an adapter cannot hold it")
    if any(isinstance(source, AdapterDelta) and source.embedding for source in sources):
        raise ValueError("it is an adapted embedding, and adapters are written for linear layers only")
    if not name.endswith(".weight"):
        raise ValueError("an adapter holds updates of `.weight` tensors only")
    return tuple(adapter_tensors([adapter_module(name, shape, rank)], code))


def adapter_module(name: str, shape: Sequence[int], rank: int) -> AdapterModule:
    """The adapted module for a tensor; ``shape`` is (outputs, inputs)."""
    return AdapterModule(name.removesuffix(".weight"), rank, shape[0], shape[1])


def lay_out_plan(recipe: Recipe, base: Checkpoint, tasks: Sequence[TensorTask]) -> Layout:
    """Assign every output tensor its file and offset; each part of the base keeps its folder.

    Raises:
        RecipeError: the output is an adapter, and no input adapts any tensor.
    """
    outputs = [output for task in tasks for output in task.outputs]
    if not recipe.output.adapter:
        return lay_out_parts(outputs, _output_parts(base), shard_size=recipe.output.shard_size)
    if not outputs:
        raise RecipeError("output.adapter: no tensor is changed by any adapter")
    # PEFT reads one weights file only.
    return lay_out(outputs, shard_size=2**62, stem="adapter_model")


def _output_parts(base: Checkpoint) -> list[Part]:
    """The base's sets of weights, under the names that the library of each loads.

    A model of transformers gets the name that transformers loads; all else keeps its own.
    """
    named = base.path.is_dir() and "model_type" not in (base.config or {})
    return [part if named or part.prefix else part._replace(stem=_STANDARD) for part in base.parts]
