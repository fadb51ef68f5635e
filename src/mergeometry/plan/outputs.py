"""What a merge writes: whole tensors, or the factors of an adapter, and where each is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mergeometry.conventions.modules import Part
from mergeometry.dtypes import NAMED_CODES
from mergeometry.errors import RecipeError
from mergeometry.recipe import AdapterOutput, Recipe
from mergeometry.sink import LORA_STEM, Layout, lay_out, lay_out_parts
from mergeometry.sources import Checkpoint, TensorInfo

if TYPE_CHECKING:
    from mergeometry.plan.tasks import TensorTask

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
    wanted = recipe.output.adapter
    in_peft = not isinstance(wanted, AdapterOutput) or wanted.format == "peft"
    # PEFT and diffusers read one weights file only.
    return lay_out(outputs, shard_size=2**62, stem="adapter_model" if in_peft else LORA_STEM)


def _output_parts(base: Checkpoint) -> list[Part]:
    """The base's sets of weights, under the names that the library of each loads.

    A model of transformers gets the name that transformers loads; all else keeps its own.
    """
    named = base.path.is_dir() and "model_type" not in (base.config or {})
    return [part if named or part.prefix else part._replace(stem=_STANDARD) for part in base.parts]
