"""The methods of a recipe, each built and checked once, and which of them merges a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from mergeometry.conventions.layer_names import Place
from mergeometry.errors import RecipeError
from mergeometry.methods import registry
from mergeometry.plan.values import MethodValues, scale_for, weights_for
from mergeometry.recipe import MethodChoice, Recipe
from mergeometry.recipe.data import ACTIVATIONS, FISHER
from mergeometry.recipe.scale import ScaleRule
from mergeometry.refinements import registry as refinement_registry

if TYPE_CHECKING:
    from mergeometry.methods.base import Method
    from mergeometry.refinements.base import Refinement


def other_of(recipe: Recipe) -> MethodChoice:
    """The method for tensors that are not matrices: the recipe's `other`, or else the default of its method."""
    return recipe.other or MethodChoice(name=registry.find(recipe.method.name).others)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a recipe decides for one tensor."""

    name: str
    method: Method
    weights: tuple[float, ...]
    scale: float
    scaling: ScaleRule | None
    values: dict[str, Any]
    """Those of the weights, the scale and the parameters that the recipe does not give as one number for all."""


class RecipeMethods:
    """The recipe's methods, each checked once."""

    def __init__(self, recipe: Recipe) -> None:
        self._main = MethodValues(recipe.method, recipe.models, "method")
        self._other = MethodValues(other_of(recipe), recipe.models, "other")
        self.main = (self._main.name, self._main.prototype)
        if self.main[1].needs_learning and recipe.adapt is None:
            raise RecipeError(
                f"{recipe.method.name} learns its coefficients on unlabelled data, and there is no `adapt:` section",
                hint="see docs/learning.md; without data, task_arithmetic adds the same task vectors at one scale",
            )
        self.refinements: tuple[tuple[str, Refinement], ...] = tuple(
            (choice.name, refinement_registry.build(choice.name, choice.given)) for choice in recipe.refine
        )
        self._rules = [
            rule.method and MethodValues(rule.method, recipe.models, f"tensors.{place}.method")
            for place, rule in enumerate(recipe.tensors)
        ]
        _refuse_data(recipe, [(one.name, one.prototype) for one in (self._main, *self._rules) if one is not None])
        if self._other.prototype.matrices_only:
            raise RecipeError(
                f"`other` is {self._other.name!r}, which merges matrices only",
                hint="`other` is for tensors that are not matrices: average, task_arithmetic, ties, ...",
            )

    @property
    def all(self) -> list[MethodValues]:
        """Every method that the recipe names."""
        return [self._main, self._other, *(rule for rule in self._rules if rule is not None)]

    def choose(self, recipe: Recipe, name: str, place: Place | None, *, matrix: bool) -> Chosen:
        """The method, the weights and the scale of a tensor: of the first rule that matches its name, or the usual.

        Raises:
            ValueError: a value has no case for the tensor; the message fits after "tensor X: ".
        """
        chosen = self._main if matrix or not self._main.prototype.matrices_only else self._other
        scale = recipe.scale
        for rule, method in zip(recipe.tensors, self._rules, strict=True):
            if fnmatchcase(name, rule.match):
                chosen, scale = method or chosen, recipe.scale if rule.scale is None else rule.scale
                break
        method, values = chosen.at(name, place)
        weights, varied = weights_for(recipe, name, place)
        number, scaling, scaled = scale_for(scale, name, place)
        return Chosen(chosen.name, method, weights, number, scaling, {**varied, **values, **scaled})


def _refuse_data(recipe: Recipe, methods: Sequence[tuple[str, Method]]) -> None:
    """Refuse a method without the data that it needs, and data that no method needs."""
    needing = {method.merges_by: name for name, method in reversed(methods) if method.merges_by}
    data = recipe.data
    if data is None:
        for by, name in needing.items():
            raise RecipeError(
                f"{name} merges by {by}, and there is no `data:` section with unlabelled inputs of each task",
                hint="see docs/recipes.md; without data, average and tsv_m merge the same models",
            )
        return
    if not needing:
        raise RecipeError(
            "`data:` gives unlabelled inputs, and no method of the recipe needs them",
            hint="leave it out, or merge by a method that does, such as regmean, esm or fisher",
        )
    if data.for_fisher and FISHER not in needing:
        raise RecipeError(
            f"{data.for_fisher[0]} is for {FISHER}, and no method of the recipe merges by it",
            hint="leave it out, or merge by fisher",
        )
    if data.ready_made and ACTIVATIONS in needing:
        raise RecipeError(
            f"{needing[ACTIVATIONS]} merges by {ACTIVATIONS}, and data.tasks.{next(iter(data.ready_made))} gives no "
            f"inputs, only {FISHER}",
            hint="give every model inputs: {path: texts.jsonl}",
        )
