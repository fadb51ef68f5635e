"""The recipe of a mixture of experts, in our own form and in mergekit-moe's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError, model_validator

from mergeometry.errors import RecipeError, listed
from mergeometry.hub_names import folder_name
from mergeometry.recipe.files import anchored_model, documents_of
from mergeometry.recipe.mergekit.mixture import from_mergekit
from mergeometry.recipe.parts import OutputOptions, as_model
from mergeometry.recipe.passthrough import PASSTHROUGH
from mergeometry.recipe.recipe import Recipe
from mergeometry.recipe.strict import StrictModel, explain

Gate = Literal["hidden", "hidden_average", "cheap_embed", "random", "uniform_random", "uniform"]
PROMPTED = ("hidden", "hidden_average", "cheap_embed")
"""Gates that are made from prompts."""
_TEXTS = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field()]
_NUMBER = Annotated[float, Field(ge=-1e30, le=1e30)]


class ExpertEntry(StrictModel):
    """One dense model whose MLPs become an expert, and the prompts that should lead to it."""

    shorthand: ClassVar[str] = "path"
    path: Annotated[str, Field(min_length=1)]
    prompts: _TEXTS = ()
    negative_prompts: _TEXTS = ()
    noise: Annotated[float, Field(ge=0, le=1e30)] = 0.0
    residual_scale: _NUMBER = 1.0


Entry = Annotated[ExpertEntry, BeforeValidator(as_model)]


class MixtureRecipe(StrictModel):
    """Everything that decides what a mixture of experts is put together from."""

    base: Annotated[str, Field(min_length=1)]
    experts: Annotated[tuple[Entry, ...], Field(min_length=1)]
    shared_expert: Entry | None = None
    layout: Literal["auto", "mixtral", "qwen2_moe", "qwen3_moe"] = "auto"
    gate: Gate = "hidden"
    experts_per_token: Annotated[int, Field(ge=1, strict=True)] = 2
    output: OutputOptions = OutputOptions()
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 0

    @model_validator(mode="after")
    def _usable(self) -> MixtureRecipe:
        if self.experts_per_token > len(self.experts):
            raise ValueError(f"experts_per_token: {self.experts_per_token} of {len(self.experts)} experts")
        if self.output.adapter:
            raise ValueError("output.adapter: a mixture is a full model: leave it out")
        if self.output.residuals is not None:
            raise ValueError("output.residuals: a mixture holds its experts whole and loses nothing: leave it out")
        if self.gate not in PROMPTED:
            return self
        for place, expert in enumerate(self.experts):
            if not expert.prompts:
                raise ValueError(
                    f"experts.{place}.prompts: the gate {self.gate!r} is made from prompts, and there are none"
                )
        if self.shared_expert is not None and not self.shared_expert.prompts:
            raise ValueError(f"shared_expert.prompts: the gate {self.gate!r} is made from prompts, and there are none")
        if len(self.experts) > 1 and len({(one.prompts, one.negative_prompts) for one in self.experts}) == 1:
            raise ValueError("experts: all have the same prompts, so their gates could not tell them apart")
        return self

    @property
    def entries(self) -> tuple[ExpertEntry, ...]:
        """The experts, and the shared one after them."""
        return (*self.experts, *([self.shared_expert] if self.shared_expert is not None else []))

    def as_merge(self) -> MixtureMerge:
        """The merge that writes the mixture: of one model, put together beforehand."""
        merge = MixtureMerge.model_validate(
            {
                "base": self.base,
                "models": [{"path": self.base, "name": "mixture"}],
                "method": PASSTHROUGH,
                "output": self.output,
                "seed": self.seed,
            }
        )
        merge._mixture = self
        return merge

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that the recipe names, once."""
        return tuple(dict.fromkeys([self.base, *(entry.path for entry in self.entries)]))

    def with_paths(self, change: Callable[[str], str]) -> MixtureRecipe:
        """The recipe with the path of each model changed."""

        def changed(entry: ExpertEntry) -> ExpertEntry:
            return entry.model_copy(update={"path": change(entry.path)})

        shared = None if self.shared_expert is None else changed(self.shared_expert)
        experts = tuple(changed(entry) for entry in self.experts)
        return self.model_copy(update={"base": change(self.base), "experts": experts, "shared_expert": shared})


class MixtureMerge(Recipe):
    """A merge that writes a mixture; its record has the mixture's own recipe."""

    _mixture: MixtureRecipe | None = PrivateAttr(default=None)

    def canonical(self) -> dict[str, Any]:
        """The mixture's recipe with every default filled in."""
        assert self._mixture is not None
        plain = self._mixture.model_dump(mode="json")
        return {**{key: value for key, value in plain.items() if value is not None}, "method": {"name": PASSTHROUGH}}


def load_mixture(source: str | Path | Mapping[str, Any]) -> MixtureRecipe:
    """Read the recipe of a mixture, ours or mergekit-moe's; paths in a file are relative to its folder.

    Raises:
        RecipeError: the file cannot be read, a key is unknown, or a value does not fit.
    """
    file = None if isinstance(source, Mapping) else Path(source)
    given = source if isinstance(source, Mapping) else _document(Path(source))
    if "base_model" in given:
        given = from_mergekit(given, file)
    try:
        recipe = MixtureRecipe.model_validate(given)
    except ValidationError as error:
        reasons = explain(error, MixtureRecipe, {})
        raise RecipeError(listed("the recipe is not usable:", reasons), file=file) from error
    return recipe if file is None else recipe.with_paths(lambda path: anchored_model(path, file.parent))


def _document(file: Path) -> Mapping[str, Any]:
    documents = documents_of(file)
    if len(documents) != 1 or not isinstance(documents[0][0], Mapping):
        raise RecipeError("a recipe must be one mapping of keys to values", file=file, hint="see docs/mixtures.md")
    return documents[0][0]


def expert_names(recipe: MixtureRecipe) -> list[str]:
    """What the experts are called, in the order of `entries`."""
    return [folder_name(entry.path) or f"expert {place}" for place, entry in enumerate(recipe.entries)]
