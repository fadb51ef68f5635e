"""The recipe's ``adapt:`` section: what is learned on unlabelled data, from which data, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from mergeometry.recipe.adapt_tasks import AdaptTasks
from mergeometry.recipe.inputs import Count, CountOrNone, EncoderOptions, LossWeight, Positive, Share
from mergeometry.recipe.strict import StrictModel

Objective = Literal["mda", "adamerging", "distill", "logits"]
Granularity = Literal["task", "layer", "shared-layer", "tensor", "direction", "pair", "fixed"]
Coefficients = Literal["auto"] | Granularity
CoefficientsFrom = Literal["all", "entropy"]
Rotation = Literal["subspace", "full", "none"]


@dataclass(frozen=True)
class LossWeights:
    """The weight of each term of the objective; the terms are those of the MDA paper's Algorithm 2 and distillation.

    ``entropy`` of the predictions, ``alpha`` for class means on their prototypes, ``beta`` for rotations near the
    Procrustes target, ``distill`` for the divergence from each task's own expert, ``hidden`` for its features.
    ``logits`` is for those of its features that its head sees.
    """

    entropy: float
    alpha: float
    beta: float
    distill: float
    hidden: float
    logits: float = 0.0

    @property
    def needs_experts(self) -> bool:
        """Whether a term compares the merge with each task's own expert."""
        return self.distill > 0 or self.hidden > 0 or self.logits > 0


_PRESETS = {
    "mda": LossWeights(entropy=1.0, alpha=0.8, beta=0.2, distill=0.0, hidden=0.0),
    "adamerging": LossWeights(entropy=1.0, alpha=0.0, beta=0.0, distill=0.0, hidden=0.0),
    "distill": LossWeights(entropy=0.0, alpha=0.0, beta=0.0, distill=1.0, hidden=3.0),
    "logits": LossWeights(entropy=0.0, alpha=0.0, beta=0.0, distill=1.0, hidden=0.0, logits=1.0),
}
_COEFFICIENTS: dict[Objective, Coefficients] = {
    "mda": "layer",
    "adamerging": "layer",
    "distill": "auto",
    "logits": "auto",
}


def _objective_for(read: Mapping[str, Any]) -> Objective:
    """The objective of a recipe that names none, by the keys read before it."""
    by_heads = any(task.made and task.head is not None for task in read.get("tasks", ()))
    return "logits" if by_heads else "distill"


def _coefficients_for(read: Mapping[str, Any]) -> Coefficients:
    """The coefficients of a recipe that names none, by the keys read before them."""
    return _COEFFICIENTS[read.get("objective", "distill")]


class LearningSettings(StrictModel):
    """How coefficients and rotations are learned, whatever they are learned on.

    Keys that are None take a value that depends on the objective: `weights` and `resolved_rotation` give it.
    """

    objective: Objective = "distill"
    coefficients: Coefficients = Field(default_factory=_coefficients_for)
    coefficients_from: CoefficientsFrom = "all"
    rotation: Rotation | None = None
    prototypes: Literal["head", "random"] = "head"
    entropy: LossWeight | None = None
    alpha: LossWeight | None = None
    beta: LossWeight | None = None
    distill: LossWeight | None = None
    hidden: LossWeight | None = None
    logits: LossWeight | None = None
    steps: Count = 300
    batch_size: Count = 16
    learning_rate: Positive | None = None
    rotation_learning_rate: Positive | None = None
    temperature: Positive = 1.0
    held_out: Share = 0.1
    patience: CountOrNone = 5
    check_every: Count = 20
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    activation_checkpointing: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> LearningSettings:
        turns = self.resolved_rotation != "none"
        if not turns and self.beta:
            raise ValueError("`beta` holds rotations near their target, and `rotation` is none: leave `beta` out")
        if not turns and self.coefficients == "fixed":
            raise ValueError("with `coefficients: fixed` and `rotation: none` there is nothing to learn")
        weights = self.weights
        if self.coefficients_from == "entropy" and not (weights.entropy and turns and self.coefficients != "fixed"):
            raise ValueError(
                "`coefficients_from: entropy` leaves the other terms to the rotations: it needs coefficients that are "
                "not fixed, `entropy` above 0, and `rotation: subspace` or `full`"
            )
        if not (weights.entropy or weights.alpha or weights.needs_experts):
            raise ValueError(
                "one of `entropy`, `alpha`, `distill`, `hidden`, `logits` must be above 0: nothing else uses the data"
            )
        return self

    @property
    def resolved_rotation(self) -> Rotation:
        """The rotation asked for, or the objective's own: `subspace` for mda, `none` for the others."""
        return self.rotation or ("subspace" if self.objective == "mda" else "none")

    @property
    def weights(self) -> LossWeights:
        """The loss weights: those given, the others by the objective; `beta` is 0 where nothing is rotated."""
        preset = _PRESETS[self.objective]
        beta = self.beta if self.beta is not None else preset.beta
        return LossWeights(
            entropy=preset.entropy if self.entropy is None else self.entropy,
            alpha=preset.alpha if self.alpha is None else self.alpha,
            beta=0.0 if self.resolved_rotation == "none" else beta,
            distill=preset.distill if self.distill is None else self.distill,
            hidden=preset.hidden if self.hidden is None else self.hidden,
            logits=preset.logits if self.logits is None else self.logits,
        )

    @property
    def needs_heads(self) -> bool:
        """Whether each task needs classes: a head, or a language model's own output."""
        weights = self.weights
        classes = weights.entropy, weights.alpha, weights.beta, weights.logits
        return self.resolved_rotation != "none" or max(classes) > 0

    @property
    def stops_early(self) -> bool:
        """Whether training may end before its last step: inputs are held out, and `patience` is above 0."""
        return self.patience > 0 and self.held_out > 0

    @property
    def may_learn_pairs(self) -> bool:
        """Whether `coefficients: auto` goes on to one for each pair of directions, if there are inputs enough."""
        return True


class AdaptSection(LearningSettings, AdaptTasks):
    """What is learned after the merge, on unlabelled data alone; see docs/recipes.md for every key.

    Where inputs are made and tasks have heads, the objective is `logits` unless the recipe gives another.
    """

    objective: Objective = Field(default_factory=_objective_for)
    encoder: EncoderOptions = EncoderOptions()
    accelerate: bool = False

    @property
    def may_learn_pairs(self) -> bool:
        """Not from inputs that are made: so many coefficients fit what belongs to no task."""
        return not any(task.made for task in self.tasks)
