"""Plans a mixture of experts: the copy of one model that is put together from dense ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mergeometry.conventions.mixtures import MixtureLayout, layout_for
from mergeometry.deferred import Float, Tensor, torch
from mergeometry.dtypes import MERGEABLE
from mergeometry.errors import MismatchError, SourceError
from mergeometry.plan.build import make_plan, plan_of
from mergeometry.plan.folders import unread_weights
from mergeometry.plan.inputs import open_input
from mergeometry.plan.plan import Plan
from mergeometry.recipe.mixture import PROMPTED, MixtureRecipe, expert_names
from mergeometry.sources import Adapter, Checkpoint
from mergeometry.sources.mixture import Expert, assemble_mixture, check_parts

_CLOSE = 5.0
"""Condition number of a layer's gates beyond which some experts are hardly told apart, as in mergekit."""


@dataclass(frozen=True)
class Opened:
    """The models of a mixture, and the layout that they are put together to."""

    recipe: MixtureRecipe
    base: Checkpoint
    experts: tuple[Checkpoint, ...]
    """In the order of the recipe's `entries`."""
    layout: MixtureLayout
    layers: int

    @property
    def prompted(self) -> bool:
        """Whether gates are made by running the base on prompts."""
        return self.recipe.gate in PROMPTED

    @property
    def shape(self) -> tuple[int, int, int]:
        """Layers, gates in each, and the width of the model."""
        return self.layers, len(self.experts), self.base.tensors["model.embed_tokens.weight"].shape[1]


def open_mixture(recipe: MixtureRecipe) -> Opened:
    """Open the models of a mixture, and check them against each other.

    Raises:
        SourceError: a model cannot be read, or no layout is known for models of its type.
        MismatchError: the models do not fit together; every reason is listed.
    """
    base = _open(recipe.base, "base")
    names = expert_names(recipe)
    experts = tuple(_open(one.path, name) for one, name in zip(recipe.entries, names, strict=True))
    kind = (base.config or {}).get("model_type")
    try:
        layout = layout_for(kind, recipe.layout, shared=recipe.shared_expert is not None)
    except ValueError as error:
        raise SourceError(str(error), model="base", file=base.path) from error
    reasons = [reason for model in (base, *experts) for reason in unread_weights(model)]
    reasons += list(_differences(recipe, base, experts))
    if reasons:
        raise MismatchError("the models do not fit together", reasons, hint="nothing was read or written")
    return Opened(recipe, base, experts, layout, check_parts(base, layout))


def plan_mixture(opened: Opened, gates: Float[Tensor, "layers gates width"]) -> Plan:
    """Plan a mixture with these gates, in the order of the recipe's `entries`.

    Raises:
        SourceError: the models' tensors do not fit the layout.
    """
    recipe = opened.recipe
    experts = [
        Expert(model, one.noise, one.residual_scale) for model, one in zip(opened.experts, recipe.entries, strict=True)
    ]
    count = len(recipe.experts)
    whole = assemble_mixture(
        opened.base, experts[:count], opened.layout, gates, per_token=recipe.experts_per_token,
        shared=next(iter(experts[count:]), None), seed=recipe.seed,
    )  # fmt: skip
    plan = plan_of(recipe.as_merge(), whole, (replace(whole, label="mixture"),))
    return replace(plan, notes=(*plan.notes, *_remarks(opened, gates)))


def unprompted(opened: Opened) -> Float[Tensor, "layers gates width"]:
    """Gates that need no prompts: random ones by the recipe's seed, or zeros, which weigh all experts alike."""
    generator = torch.Generator().manual_seed(opened.recipe.seed)
    gate, width = opened.recipe.gate, opened.shape[-1]
    assert gate not in PROMPTED
    if gate == "random":
        return torch.randn(opened.shape, generator=generator)
    if gate == "uniform_random":  # as torch.nn.Linear starts
        return (2 * torch.rand(opened.shape, generator=generator) - 1) / width**0.5
    return torch.zeros(opened.shape)


def _open(path: str, label: str) -> Checkpoint:
    model = open_input(path, label, make_plan)
    if isinstance(model, Adapter):
        raise SourceError("a mixture is made of full models", model=label, file=model.path, hint="write MODEL+ADAPTER")
    return model


def _differences(recipe: MixtureRecipe, base: Checkpoint, experts: Sequence[Checkpoint]) -> Iterator[str]:
    codes = {info.code for info in base.tensors.values() if info.code in MERGEABLE}
    for expert in experts:
        for key in ("model_type", "hidden_act"):
            own, theirs = ((model.config or {}).get(key) for model in (expert, base))
            if own != theirs and None not in (own, theirs):
                yield f"{expert.label}: config.json has {key}: {own}, the base's {theirs}"
        codes |= {info.code for name, info in expert.tensors.items() if ".mlp." in name}
    if len(codes) > 1 and "dtype" not in recipe.output.model_fields_set:
        yield f"the models are stored in {', '.join(sorted(codes))}; set `output.dtype` for the result"


def _remarks(opened: Opened, gates: Float[Tensor, "layers gates width"]) -> Iterator[str]:
    recipe, routed = opened.recipe, len(opened.recipe.experts)
    if routed > 1 and len({one.path for one in recipe.experts}) == 1 and not any(one.noise for one in recipe.experts):
        yield "all experts are the same model, so that the mixture computes what that does until it is trained"
    if opened.prompted and routed > 1:
        close = [n for n, layer in enumerate(gates) if float(torch.linalg.cond(layer[:routed].double())) > _CLOSE]
        if close:
            shown = ", ".join(map(str, close[:8])) + (", ..." if len(close) > 8 else "")
            yield f"the gates of layers {shown} lie close to each other: prompts that are more different lead better"
    if recipe.gate == "uniform" and recipe.experts_per_token < routed:
        yield "all gates are zero, so that the first experts are taken for every token until the gates are trained"
