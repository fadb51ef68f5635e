"""Folds a language model's shared rotation into its output layer, which is untied from the embedding where needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from mergeometry.encoders.base import Encoder
from mergeometry.encoders.language import LanguageModel
from mergeometry.errors import RecipeError
from mergeometry.learning.rotation import TaskRotation
from mergeometry.plan.outputs import lay_out_plan
from mergeometry.plan.plan import Plan
from mergeometry.plan.tasks import TensorTask
from mergeometry.recipe import Recipe
from mergeometry.sink import OutputTensor

_UNTIED: Mapping[str, Any] = {"tie_word_embeddings": False}


def check_output(recipe: Recipe, kind: str) -> None:
    """Check, before anything is learned, that the output can hold the rotation.

    Raises:
        RecipeError: the output is an adapter, which cannot hold the output layer of a language model; or the model is
            an encoder-decoder, whose features are scaled or not depending on whether that layer is tied.
    """
    turns = recipe.adapt is not None and recipe.adapt.resolved_rotation != "none"
    if turns and kind == "seq2seq":
        raise RecipeError("encoder-decoder models are learned without a rotation", hint="adapt: {rotation: none}")
    if turns and kind == "causal" and recipe.output.adapter:
        raise RecipeError(
            "a language model's rotation folds into its output layer, which an adapter cannot hold",
            hint="write adapt: {rotation: none}, or leave output.adapter out",
        )


def with_rotated_output(
    plan: Plan, encoder: Encoder, rotations: Sequence[TaskRotation | None]
) -> tuple[Plan, Mapping[str, Any]]:
    """The plan with the output layer rotated, and the keys that config.json needs for it.

    Without a rotation, or with a head per task, the plan is unchanged and there are no keys.
    """
    rotation = rotations[0]
    if not isinstance(encoder, LanguageModel) or rotation is None:
        return plan, {}
    matrix = rotation.matrix().detach().cpu()
    stored_name = encoder.output_name or encoder.output_copy
    if stored_name is not None:
        tasks = [_turned(task, matrix) if task.name == stored_name else task for task in plan.tasks]
        return replace(plan, tasks=tuple(tasks)), _UNTIED if encoder.tied else {}
    shared = next(task for task in plan.tasks if encoder.names.get(task.name) == encoder.tied)
    name = encoder.layer_name
    code = shared.outputs[0].code
    untied = replace(
        _turned(shared, matrix), name=name, outputs=(OutputTensor(name, code, shared.base.shape),), equal=()
    )
    tasks = [*plan.tasks, untied]
    return replace(plan, tasks=tuple(tasks), layout=lay_out_plan(plan.recipe, plan.base, tasks)), _UNTIED


def _turned(task: TensorTask, matrix: Tensor) -> TensorTask:
    return replace(task, turned=matrix)
