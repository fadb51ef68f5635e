"""A recipe's values as plain numbers: the weights, the scale and the method of each tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from mergeometry.conventions.layer_names import LayerNames, Place
from mergeometry.errors import RecipeError
from mergeometry.methods import registry
from mergeometry.plan.matching import Nearest
from mergeometry.recipe import MethodChoice, ModelEntry, Recipe
from mergeometry.recipe.scale import ScaleGrid, ScaleRule
from mergeometry.recipe.strict import explain
from mergeometry.recipe.values import AnyValue, Case, Value, cases_of, has_gradient, is_varied, some_value, value_for

if TYPE_CHECKING:
    from mergeometry.methods.base import Method
    from mergeometry.plan.tasks import TensorTask

_ADAPTER: TypeAdapter[AnyValue] = TypeAdapter(Value)


class MethodValues:
    """One method of a recipe, whose parameters may differ between tensors and between models."""

    def __init__(self, choice: MethodChoice, models: Sequence[ModelEntry], where: str) -> None:
        """Check the parameters; ``where`` is the key of the recipe that names the method.

        Raises:
            RecipeError: the method or a parameter is unknown, or a value is out of range.
        """
        self.name, self.where = choice.name, where
        taken = registry.find(choice.name).per_model
        self.given = {key: _checked(f"{where}.{key}", value) for key, value in choice.given.items()}
        self.own: list[dict[str, AnyValue]] = [
            {key: value for key, value in entry.own.items() if key in taken} for entry in models
        ]
        self._built: dict[Any, Method] = {}
        self.prototype = self._method({key: some_value(value) for key, value in self.given.items()})
        """The method with one value of each parameter, which tells its kind."""

    def at(self, name: str, place: Place | None) -> tuple[Method, dict[str, Any]]:
        """The method of one tensor, and the parameters of it that are not one number for all tensors and models.

        Raises:
            ValueError: no case of a parameter holds for the tensor, or a value is out of range.
        """
        given = {key: value_for(value, name, place) for key, value in self.given.items()}
        varied = {key: given[key] for key, value in self.given.items() if is_varied(value)}
        method = self._method(given)
        if not any(self.own):
            return method, varied
        each = [given | {key: value_for(value, name, place) for key, value in own.items()} for own in self.own]
        methods = [self._method(one) for one in each]
        keys = dict.fromkeys(key for own in self.own for key in own)
        varied |= {key: [getattr(one, key) for one in methods] for key in keys}
        return method.for_models(methods), varied

    def values(self) -> Iterator[tuple[str, AnyValue]]:
        """Every value of the method itself, with its key in the recipe."""
        for key, value in self.given.items():
            yield f"{self.where}.{key}", value

    def _method(self, given: Mapping[str, Any]) -> Method:
        key = tuple(sorted((name, type(value), repr(value)) for name, value in given.items()))
        if key not in self._built:
            self._built[key] = registry.build(self.name, given)
        return self._built[key]


def weights_for(recipe: Recipe, name: str, place: Place | None) -> tuple[tuple[float, ...], dict[str, Any]]:
    """The models' weights in one tensor, and the same where they are not one number for all tensors."""
    weights = []
    for entry in recipe.models:
        try:
            weights.append(float(value_for(entry.weight, name, place)))
        except ValueError as error:
            raise ValueError(f"the weight of {entry.name}: {error}") from error
    varies = any(is_varied(entry.weight) for entry in recipe.models)
    return tuple(weights), {"weight": weights} if varies else {}


def scale_for(
    value: AnyValue | ScaleRule | ScaleGrid, name: str, place: Place | None
) -> tuple[float, ScaleRule | None, dict[str, Any]]:
    """The scale of one tensor, the rule that will compute it, and the scale where it is not one number for all.

    A grid is 1 until one of its scales is chosen.
    """
    if isinstance(value, ScaleGrid):
        return 1.0, None, {}
    if isinstance(value, ScaleRule):
        return 1.0, value, {}
    try:
        scale = float(value_for(value, name, place))
    except ValueError as error:
        raise ValueError(f"the scale: {error}") from error
    return scale, None, {"scale": scale} if is_varied(value) else {}


def unused_values(recipe: Recipe, methods: Sequence[MethodValues], layers: LayerNames) -> Iterator[str]:
    """A reason for every case that no tensor falls under, and for every gradient of a model without layers."""
    for key, value in _values(recipe, methods):
        if not isinstance(value, tuple):
            continue
        at = recipe.where(key)
        if not layers.towers and has_gradient(value):
            yield f"{key}{at}: depends on the layer, and no tensor of the base belongs to a numbered layer"
            continue
        for index, case in enumerate(cases_of(value)):
            reason = _unused(case, layers)
            if reason:
                yield f"{key}.{index}{recipe.where(f'{key}.{index}') or at}: {reason}"


def parameters_shown(task: TensorTask) -> dict[str, Any]:
    """The parameters of a task's method as the run record lists them once for many tensors."""
    assert task.method is not None
    return {key: "differs" if key in task.values else value for key, value in task.method.described().items()}


def _unused(case: Case, layers: LayerNames) -> str:
    if case.match is not None and not any(fnmatchcase(name, case.match) for name in layers.names):
        return f"{case.match!r} matches no tensor{Nearest().hint(case.match, list(layers.names))}"
    anywhere = case.model_copy(update={"match": None})
    if not any(anywhere.holds(name, layers.place(name)) for name in layers.names):
        return (
            f"no tensor is in layers {list(case.layers or ())}"
            if not isinstance(case.layers, str)
            else (f"no tensor comes {case.layers} the layers")
        )
    return ""


def _values(recipe: Recipe, methods: Sequence[MethodValues]) -> Iterator[tuple[str, AnyValue]]:
    for place, entry in enumerate(recipe.models):
        yield f"models.{place}.weight", entry.weight
        for key, value in entry.own.items():
            yield f"models.{place}.{key}", value
    for method in methods:
        yield from method.values()
    if not isinstance(recipe.scale, ScaleRule | ScaleGrid):
        yield "scale", recipe.scale
    for place, rule in enumerate(recipe.tensors):
        if rule.scale is not None:
            yield f"tensors.{place}.scale", rule.scale


def _checked(key: str, value: Any) -> AnyValue:
    """A parameter's value: lists are gradients or cases, since no method takes a list."""
    if not is_varied(value):
        return value
    try:
        return _ADAPTER.validate_python(value)
    except ValidationError as error:
        reasons = explain(error, Case, {})
        raise RecipeError(f"{key}: " + "; ".join(reasons)) from error
