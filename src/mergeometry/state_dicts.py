"""Merging models that are in memory already: state dicts and PyTorch modules."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from mergeometry.errors import MismatchError, RecipeError
from mergeometry.execution.in_memory import checkpoint_of, execute_in_memory
from mergeometry.plan.build import plan_of
from mergeometry.recipe import load_recipe

if TYPE_CHECKING:
    from mergeometry.execution.run import Progress
    from mergeometry.methods.base import Method
    from mergeometry.refinements.base import Refinement

State = Mapping[str, Tensor]
Module = TypeVar("Module", bound=nn.Module)


def merge_state_dicts(
    base: State,
    models: Sequence[State] | Mapping[str, State],
    method: Method | str | Mapping[str, Any],
    *,
    weights: Sequence[float | Sequence[Any]] | None = None,
    scale: float | str | Sequence[Any] | Mapping[str, Any] = 1.0,
    other: Method | str | Mapping[str, Any] | None = None,
    refine: Sequence[Refinement | str | Mapping[str, Any]] = (),
    tensors: Sequence[Mapping[str, Any]] = (),
    heads: Sequence[str] = (),
    dtype: str = "base",
    seed: int = 0,
    config: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """Merge fine-tuned state dicts of one base in memory, to the bytes that a merge of the same files writes.

    ``models`` are in order, or by name; ``weights`` holds one value per model. The other arguments are a recipe's keys
    (docs/recipes.md), ``dtype`` that of its `output`. ``config`` is the base's configuration, which says what a model
    such as GPT-2 stores transposed. Names that a ``heads`` glob covers stay with their models and are not returned.
    Tensors that share their memory in the base are merged once and shared in the result, unless a model has them apart.
    Inputs stay as they are; the result lies on the base's devices, in the order of its names.

    Raises:
        RecipeError: the method, a parameter or another setting is not usable.
        MismatchError: the state dicts do not fit together; every reason is listed.
        SourceError: a value is not a dense tensor with values.
        NumericalError: an input or a merged value is not finite.
    """
    named = dict(models) if isinstance(models, Mapping) else {f"model{i}": state for i, state in enumerate(models)}
    settings = _settings(
        weights=weights, scale=scale, other=other, refine=refine, tensors=tensors, heads=heads, dtype=dtype, seed=seed
    )
    merged, _ = _merge(base, named, {"method": method, **settings}, config or {}, (), progress)
    return merged


def merge_modules(
    base: Module,
    models: Sequence[nn.Module] | Mapping[str, nn.Module],
    method: Method | str | Mapping[str, Any],
    *,
    weights: Sequence[float | Sequence[Any]] | None = None,
    scale: float | str | Sequence[Any] | Mapping[str, Any] = 1.0,
    other: Method | str | Mapping[str, Any] | None = None,
    refine: Sequence[Refinement | str | Mapping[str, Any]] = (),
    tensors: Sequence[Mapping[str, Any]] = (),
    heads: Sequence[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> Module:
    """Merge fine-tuned copies of a module, and return a copy of the base with the merged weights.

    Arguments are those of `merge_state_dicts`. The modules themselves say more than names do: an `nn.Embedding` is
    never taken for a linear map, and a Transformers model's own configuration says what it stores transposed.

    Raises:
        MismatchError: the modules do not fit together, or the base ties weights that a model has apart.
        MergeometryError: as from `merge_state_dicts`.
    """
    named = dict(models) if isinstance(models, Mapping) else {f"model{i}": module for i, module in enumerate(models)}
    settings = _settings(
        weights=weights, scale=scale, other=other, refine=refine, tensors=tensors, heads=heads, dtype="base", seed=seed
    )
    tables = [
        f"{name}.weight" for name, part in base.named_modules() if isinstance(part, nn.Embedding | nn.EmbeddingBag)
    ]
    states = {name: module.state_dict() for name, module in named.items()}
    merged, untied = _merge(base.state_dict(), states, {"method": method, **settings}, _config(base), tables, progress)
    if untied:
        raise MismatchError(
            "the base ties weights that the models have apart",
            [" and ".join(map(repr, names)) for names in untied],
            hint="untie them in a copy of the base first, or merge by merge_state_dicts",
        )
    result = copy.deepcopy(base)
    result.load_state_dict(merged)
    return result


def _settings(*, dtype: str, refine: Sequence[Any], tensors: Sequence[Any], **given: Any) -> dict[str, Any]:
    settings = {"refine": list(refine), "tensors": list(tensors), **given}
    return settings if dtype == "base" else {**settings, "output": {"dtype": dtype}}


def _merge(
    base: State,
    models: Mapping[str, State],
    settings: Mapping[str, Any],
    config: Mapping[str, Any],
    tables: Sequence[str],
    progress: Progress | None,
) -> tuple[dict[str, Tensor], list[tuple[str, ...]]]:
    """The merged tensors, and the names of those that the base ties and a model does not."""
    shared, untied = _tied(base, list(models.values()))
    copies = {name: first for first, *others in shared for name in others}
    states = [
        {name: tensor for name, tensor in state.items() if name not in copies} for state in (base, *models.values())
    ]
    plan = plan_of(
        load_recipe(_recipe(list(models), settings)),
        checkpoint_of("base", states[0], config),
        tuple(checkpoint_of(name, state) for name, state in zip(models, states[1:], strict=True)),
        tables,
    )
    merged = execute_in_memory(plan, states, progress)
    placed = {name: tensor.to(base[name].device) for name, tensor in merged.items()}
    return {name: placed[copies.get(name, name)] for name in base if copies.get(name, name) in placed}, untied


def _recipe(names: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    given = dict(settings)
    weights = given.pop("weights")
    weights = [1.0] * len(names) if weights is None else list(weights)
    if len(weights) != len(names):
        raise RecipeError(f"expected one weight per model, {len(names)} in all, got {len(weights)}")
    models = [{"path": f"<{name}>", "name": name, "weight": w} for name, w in zip(names, weights, strict=True)]
    return {"base": "<base>", "models": models, **given}


def _tied(base: State, models: Sequence[State]) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Names whose tensors share their memory in the base: those that are equal in every model too, and the others."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, tensor in base.items():
        if isinstance(tensor, Tensor) and tensor.layout is torch.strided and tensor.numel() and not tensor.is_meta:
            place = (tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
            groups.setdefault(place, []).append(name)
    together, apart = [], []
    for names in (tuple(names) for names in groups.values() if len(names) > 1):
        equal = all(_equal(model, names) for model in models)
        (together if equal else apart).append(names)
    return together, apart


def _equal(model: State, names: Sequence[str]) -> bool:
    first, *others = (model.get(name) for name in names)
    return all(
        other is None
        or (first is not None and other.shape == first.shape and (other is first or torch.equal(other, first)))
        for other in others
    )


def _config(module: nn.Module) -> Mapping[str, Any]:
    """A Transformers model's configuration as plain values; empty for other modules."""
    config: Any = getattr(module, "config", None)
    return config.to_dict() if hasattr(config, "to_dict") else {}
