"""Learns a merge of plain PyTorch modules in memory, with a function that turns inputs into features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from pydantic import ValidationError
from torch import Tensor, nn

from mergeometry.encoders.heads import Head
from mergeometry.encoders.plain import FeatureFunction, PlainEncoder
from mergeometry.errors import DataError, RecipeError, listed
from mergeometry.execution.threads import one_thread
from mergeometry.learning.build_learner import Material, build_learner
from mergeometry.learning.module_states import (
    check_states,
    expert_weights,
    learned_state_dict,
    merged_of,
    with_averaged_buffers,
)
from mergeometry.learning.result import folded_heads
from mergeometry.learning.state import Point, Report
from mergeometry.methods.base import Method
from mergeometry.methods.registry import build
from mergeometry.recipe.adapt import LearningSettings, Objective
from mergeometry.recipe.recipe import LEARNING_STARTS_AT
from mergeometry.recipe.strict import explain
from mergeometry.words import nearest

Heads = Mapping[str, tuple[Float[Tensor, "classes d"], Float[Tensor, " classes"] | None]]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Learned:
    """A learned merge: weights to load into the module, and the learned values behind them."""

    state_dict: dict[str, Tensor]
    """All of the module's tensors, in their own dtypes."""
    heads: dict[str, tuple[Tensor, Tensor]]
    """Weight and bias of each task's head with its rotation folded in: they take the merged module's features."""
    coefficients: dict[str, Tensor]
    """Learned coefficients by the parts that have their own: tasks, layers, tensors, directions or pairs."""
    rotations: dict[str, Float[Tensor, "d d"]]
    """The rotation of each task's features, where one was learned."""
    points: tuple[Point, ...]
    """The objective and its terms, step by step."""
    best_step: int
    """The step whose state is kept: the best on the held-out inputs."""
    notes: tuple[str, ...]
    """What was left out or decided, in sentences."""

    def __repr__(self) -> str:
        return (
            f"Learned({len(self.state_dict)} tensors, best step {self.best_step} of {len(self.points)} recorded points)"
        )


def learn(
    module: nn.Module,
    experts: Mapping[str, Mapping[str, Tensor]],
    data: Mapping[str, Tensor | Sequence[Any]],
    features: FeatureFunction,
    *,
    heads: Heads | None = None,
    method: Method | None = None,
    other: Method | None = None,
    scale: float | None = None,
    objective: Objective = "distill",
    seed: int = 0,
    threads: int = 1,
    report: Report | None = None,
    **settings: Any,
) -> Learned:
    """Merge fine-tuned state dicts of a module with coefficients and rotations learned on unlabelled inputs.

    ``experts`` and ``data`` are keyed by task. An input is a tensor, or tensors by name; data are a tensor whose first
    axis runs over inputs, or a sequence of inputs. ``features(module, inputs)`` runs the module that it is called with
    on a stack of inputs and returns (inputs, d). ``method`` merges the 2-D weights of `nn.Linear`, ``other``
    everything else, and ``scale`` is what coefficients start from. Where ``coefficients`` are not among the settings,
    these are by default `OwnBlocks()`, `Rows()` and 1, the merge that `method: auto` chooses; else `TSVM()`,
    `Average()` and 0.3. ``settings`` are the other keys of a recipe's `adapt:` section, from ``coefficients`` and
    ``rotation`` to ``steps`` and ``learning_rate`` (docs/recipes.md); ``precision`` is
    float32 by default. Floating-point buffers, such as a batch norm's running means, are averaged first and then stay
    fixed. The module itself does not change; it runs in evaluation mode.

    Source: MDA (arXiv 2512.00391) section 4.2; AdaMerging (arXiv 2310.02575); Hinton et al. (arXiv 1503.02531).

    Raises:
        MismatchError: a state dict does not fit the module.
        RecipeError: a setting is unknown or out of range, or the method has no part for each task.
        DataError: data, heads, features and objective do not fit each other.
        NumericalError: a weight is not finite, or learning diverges.
    """
    chosen = _settings({"objective": objective, "precision": "float32", **settings})
    labels = list(experts)
    _check_tasks(labels, data, heads or {})
    check_states(module, experts)
    averaged = with_averaged_buffers(module, experts)
    if method is None and chosen.coefficients == "auto":
        method = build("own_blocks", {})
        other = other or build(method.others, {})
    if scale is None:
        scale = 1.0 if chosen.coefficients == "auto" else LEARNING_STARTS_AT
    with one_thread():
        encoder = _encoder(averaged, features, data[labels[0]])
        merged, idle = merged_of(
            encoder, experts, data[labels[0]], method or build("tsv_m", {}), other or build("average", {})
        )
        material = Material(
            labels,
            merged,
            dict.fromkeys(merged.tensors, float(scale)),
            [encoder.prepare(data[label]) for label in labels],
            [_head(label, (heads or {}).get(label), encoder) for label in labels],
            lambda task: expert_weights(encoder, experts[labels[task]]),
            seed,
        )
        prepared = build_learner(material, chosen, workers=threads, say=lambda *_: None)
        state = prepared.learner.learn(report or (lambda _: None), lambda _: None)
    task_rotations = zip(labels, prepared.scene.rotations, strict=True)
    return Learned(
        learned_state_dict(module, averaged, prepared),
        {label: (head["weight"], head["bias"]) for label, head in folded_heads(prepared, labels).items()},
        {key: value.detach().cpu().clone() for key, value in prepared.table.parameters.items()},
        {label: rotation.matrix().detach().cpu() for label, rotation in task_rotations if rotation is not None},
        tuple(state.points),
        state.best_step,
        (*idle, *prepared.notes),
    )


def _settings(given: Mapping[str, Any]) -> LearningSettings:
    try:
        return LearningSettings.model_validate(dict(given))
    except ValidationError as error:
        reasons = explain(error, LearningSettings, {})
        raise RecipeError(listed("the settings of learning cannot be used:", reasons)) from error


def _check_tasks(labels: Sequence[str], data: Mapping[str, Any], heads: Mapping[str, Any]) -> None:
    if not labels:
        raise DataError("there are no experts to merge")
    for what, given in (("data", data), ("heads", heads)):
        for name in given:
            if name not in labels:
                raise DataError(f"{what} are given for {name!r}, which is not an expert{nearest(name, list(labels))}")
    if missing := [label for label in labels if label not in data]:
        raise DataError(f"no data for {', '.join(map(repr, missing))}: every expert needs some")


def _encoder(module: nn.Module, features: FeatureFunction, data: Any) -> PlainEncoder:
    """The module as an encoder; one input shows how wide its features are."""
    probe = PlainEncoder(module, features, 1)
    batch = probe.batch([probe.prepare(data).items[0]])
    with torch.no_grad():
        result = features(probe.module, batch.arguments["inputs"])
    if not isinstance(result, Tensor) or result.ndim != 2 or len(result) != 1:
        what = list(result.shape) if isinstance(result, Tensor) else f"a {type(result).__name__}"
        raise DataError(f"the feature function returns {what} for one input, not a tensor of [1, d]")
    return PlainEncoder(module, features, result.shape[1])


def _head(label: str, given: tuple[Tensor, Tensor | None] | None, encoder: PlainEncoder) -> Head | None:
    if given is None:
        return None
    weight = given[0].detach().to(encoder.device, torch.float32)
    bias = torch.zeros(len(weight)).to(weight) if given[1] is None else given[1].detach().to(weight)
    if weight.ndim != 2 or weight.shape[1] != encoder.width or len(weight) < 2 or bias.shape != weight.shape[:1]:
        raise DataError(
            f"a head is a weight (classes, {encoder.width}) of two classes or more and a bias (classes), "
            f"not {list(weight.shape)} and {list(bias.shape)}",
            model=label,
        )
    if not bool(torch.isfinite(weight).all() and torch.isfinite(bias).all()):
        raise DataError("the head holds a number that is not finite in float32", model=label)
    return Head(weight, bias)
