"""The scale of every tensor by a rule for layers: which layer a tensor belongs to, and what is known of the layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from mergeometry.conventions.layer_names import LayerNames
from mergeometry.errors import RecipeError
from mergeometry.plan.slices import pieces_of
from mergeometry.plan.tasks import TensorTask
from mergeometry.recipe import Recipe
from mergeometry.recipe.scale import ScaleRule
from mergeometry.scaling import Layer, LayerRule, Statistics

_Key = tuple[str, int]


def refuse_without_layers(recipe: Recipe, tasks: Sequence[TensorTask]) -> None:
    """Refuse a rule for layers where no merged matrix lies in a layer: every tensor would keep the factor alone.

    Raises:
        RecipeError: the recipe has such a rule, and there is no such matrix.
    """
    rule = recipe.scale
    if not isinstance(rule, ScaleRule) or rule.per != "layer":
        return
    merged = [piece for task in tasks for piece in pieces_of(task) if piece.scaling is not None]
    numbered = LayerNames([*dict.fromkeys([*(task.name for task in tasks), *(piece.name for piece in merged)])], None)
    if not any(len(piece.shape) == 2 and _key(numbered, piece.name) is not None for piece in merged):
        raise RecipeError(
            f"scale: {rule.rule} gives every layer a scale, and no merged matrix lies in a layer with a number",
            hint="give a number, or a rule per model or per tensor",
        )


def layer_scales(
    rule: LayerRule, measured: Mapping[str, Statistics], names: Sequence[str], factor: float = 1.0
) -> dict[str, float]:
    """A scale for each of these tensors: its layer's, or ``factor`` alone before and after the layers.

    Layers that no matrix was measured of keep ``factor`` alone too. Layers of several towers are ranked together.
    """
    numbered = LayerNames([*dict.fromkeys([*names, *measured])], None)
    of_layer: dict[_Key, list[tuple[float, float]]] = {}
    for name, statistics in measured.items():
        key = _key(numbered, name)
        if key is not None and statistics.proxies is not None:
            of_layer.setdefault(key, []).append(statistics.proxies)
    keys = sorted(of_layer)
    layers = [_layer(of_layer[key], (key[1] + 1) / numbered.towers[key[0]].count) for key in keys]
    scales = dict(zip(keys, rule.formula(layers) if layers else [], strict=True))
    found = {name: _key(numbered, name) for name in names}
    return {name: factor * (1.0 if key is None else scales.get(key, 1.0)) for name, key in found.items()}


def _key(numbered: LayerNames, name: str) -> _Key | None:
    place = numbered.place(name)
    return None if place is None or place.layer is None else (place.tower.name, place.layer)


def _layer(proxies: Iterable[tuple[float, float]], place: float) -> Layer:
    contrasts, conflicts = zip(*proxies, strict=True)
    return Layer(fmean(contrasts), fmean(conflicts), place)
