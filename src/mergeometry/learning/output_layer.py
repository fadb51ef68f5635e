"""Folds a language model's shared rotation into its output layer, untying it from the embedding where they share."""

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
from mergeometry.plan.tasks import Plan, TensorTask
from mergeometry.recipe import Recipe
from mergeometry.sink import OutputTensor

_UNTIED: Mapping[str, Any] = {"tie_word_embeddings": False}


def check_output(recipe: Recipe, kind: str) -> None:
    """Refuse to write a rotation that the output has no place for, before anything is learned.

    Raises:
        RecipeError: an adapter was asked for, and a language model's rotation belongs into its output layer; or the
            model is an encoder-decoder, which scales its features by whether that layer is tied.
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
    """The plan with the output layer turned, and the keys of config.json that it needs.

    Both are as they were where nothing turns, or where heads are the tasks' own.
    """
    rotation = rotations[0]
    if not isinstance(encoder, LanguageModel) or rotation is None:
        return plan, {}
    matrix = rotation.matrix().detach().cpu()
    there = encoder.output_name or encoder.output_copy
    if there is not None:
        tasks = [_turned(task, matrix) if task.name == there else task for task in plan.tasks]
        return replace(plan, tasks=tuple(tasks)), _UNTIED if encoder.tied else {}
    shared = next(task for task in plan.tasks if encoder.names.get(task.name) == encoder.tied)
    name = encoder.layer_name
    code = shared.outputs[0].code
    own = replace(_turned(shared, matrix), name=name, outputs=(OutputTensor(name, code, shared.base.shape),), equal=())
    tasks = [*plan.tasks, own]
    return replace(plan, tasks=tuple(tasks), layout=lay_out_plan(plan.recipe, tasks)), _UNTIED


def _turned(task: TensorTask, matrix: Tensor) -> TensorTask:
    return replace(task, turned=matrix)
