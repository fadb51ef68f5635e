"""The methods of a recipe, each built and checked once, and which of them merges a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from mergeometry.errors import RecipeError
from mergeometry.methods import registry
from mergeometry.recipe import MethodChoice, Recipe
from mergeometry.recipe.scale import Scale
from mergeometry.refinements import registry as refinement_registry

if TYPE_CHECKING:
    from mergeometry.methods.base import Method
    from mergeometry.refinements.base import Refinement


def other_of(recipe: Recipe) -> MethodChoice:
    """The method for tensors that are not matrices: the recipe's `other`, or else the default of its method."""
    return recipe.other or MethodChoice(name=registry.find(recipe.method.name).others)


class RecipeMethods:
    """The recipe's methods, each built and checked once."""

    def __init__(self, recipe: Recipe) -> None:
        self.main = self._build(recipe.method)
        self.other = self._build(other_of(recipe))
        if self.main[1].needs_learning and recipe.adapt is None:
            raise RecipeError(
                f"{recipe.method.name} learns its coefficients on unlabelled data, and there is no `adapt:` section",
                hint="see docs/learning.md; without data, task_arithmetic adds the same task vectors at one scale",
            )
        self.refinements: tuple[tuple[str, Refinement], ...] = tuple(
            (choice.name, refinement_registry.build(choice.name, choice.given)) for choice in recipe.refine
        )
        self.rules = [rule and self._build(rule) for rule in (rule.method for rule in recipe.tensors)]
        _refuse_data(recipe, [self.main, *(rule for rule in self.rules if rule is not None)])
        if self.other[1].matrices_only:
            raise RecipeError(
                f"`other` is {self.other[0]!r}, which merges matrices only",
                hint="`other` is for tensors that are not matrices: average, task_arithmetic, ties, ...",
            )

    def choose(self, recipe: Recipe, name: str, *, matrix: bool) -> tuple[tuple[str, Method], Scale]:
        """The method and the scale of a tensor: the first rule that matches its name, or else what is usual."""
        usual = self.main if matrix or not self.main[1].matrices_only else self.other
        for rule, choice in zip(recipe.tensors, self.rules, strict=True):
            if fnmatchcase(name, rule.match):
                return choice or usual, recipe.scale if rule.scale is None else rule.scale
        return usual, recipe.scale

    def _build(self, choice: MethodChoice) -> tuple[str, Method]:
        return choice.name, registry.build(choice.name, choice.given)


def _refuse_data(recipe: Recipe, methods: Sequence[tuple[str, Method]]) -> None:
    """Refuse a method without the data that it needs, and data that no method needs."""
    needing = [name for name, method in methods if method.needs_activations]
    if needing and recipe.data is None:
        raise RecipeError(
            f"{needing[0]} merges by activations, and there is no `data:` section with unlabelled inputs of each task",
            hint="see docs/recipes.md; without data, average and tsv_m merge the same models",
        )
    if recipe.data is not None and not needing:
        raise RecipeError(
            "`data:` gives unlabelled inputs, and no method of the recipe needs them",
            hint="leave it out, or merge by a method that does, such as regmean or esm",
        )
