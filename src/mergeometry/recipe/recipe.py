"""The typed recipe, and its strict reading from YAML 1.2."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError, model_validator

from mergeometry.errors import RecipeError, listed
from mergeometry.recipe.adapt import AdaptSection
from mergeometry.recipe.data import DataSection
from mergeometry.recipe.files import Read, read_given, resolved
from mergeometry.recipe.overrides import override, with_key
from mergeometry.recipe.parts import Heads, MethodChoice, MethodField, ModelEntry, OutputOptions, TensorRule, as_model
from mergeometry.recipe.passthrough import with_base
from mergeometry.recipe.per_model import refuse_unknown
from mergeometry.recipe.scale import Scale, ScaleGrid, ScaleRule
from mergeometry.recipe.search import SearchSection
from mergeometry.recipe.stack import Base, located_base, paths_of_base
from mergeometry.recipe.strict import StrictModel, explain
from mergeometry.recipe.tokenizer import TokenizerField, TokenizerOptions, is_template, tokenizer_options, unknown_names
from mergeometry.recipe.values import is_varied
from mergeometry.words import nearest

AUTO_METHOD = "auto"
"""In place of a method's name, and where none is named: the plan chooses one by what the models are."""

AUTO_HEADS = "auto"
"""In place of globs: the plan names the heads, where they are plain."""

CHOICES = ("tokenizer", "chat_template", "config")
"""Keys that name the model, or the base, whose files of a kind the output gets."""
_OPTIONAL = ("adapt", "data", "dequantise", "search", *CHOICES)
"""Keys that the record of a recipe leaves out where it does not have them."""

_TO_BE_FOUND = "a base to be found"
"""What a recipe without a base holds in its place until one is found."""

LEARNING_STARTS_AT = 0.3
"""Scale that named coefficients start from where the recipe gives none (AdaMerging, arXiv 2310.02575)."""


class Recipe(StrictModel):
    """Everything that decides what a merge computes."""

    base: Base
    models: Annotated[tuple[Annotated[ModelEntry, BeforeValidator(as_model)], ...], Field(min_length=1)]
    method: MethodField = MethodChoice(name=AUTO_METHOD)
    scale: Scale = 1.0
    other: MethodField | None = None
    refine: tuple[MethodField, ...] = ()
    tensors: tuple[TensorRule, ...] = ()
    heads: Heads = ()
    adapt: AdaptSection | None = None
    data: DataSection | None = None
    search: SearchSection | None = None
    tokenizer: TokenizerField | None = None
    chat_template: Annotated[str, Field(min_length=1)] | None = None
    config: Annotated[str, Field(min_length=1)] | None = None
    dequantise: bool | None = None
    """Whether weights that are stored scaled or packed are turned into numbers; they are refused otherwise."""
    output: OutputOptions = OutputOptions()
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 0
    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _notes: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="before")
    @classmethod
    def _base_of_a_copy(cls, given: Any) -> Any:
        return with_base(given)

    @model_validator(mode="after")
    def _named(self) -> Recipe:
        taken = {"base"}
        for entry in self.models:
            if entry.name == "base":
                raise ValueError("a model cannot be named 'base', which is what the base is called")
            if entry.name and entry.name in taken:
                raise ValueError(f"two models are named {entry.name!r}")
            taken.add(entry.name)
        unique = []
        for entry in self.models:
            name = entry.name or _free_name(entry.folder or "model", taken)
            taken.add(name)
            unique.append(entry.model_copy(update={"name": name}))
        object.__setattr__(self, "models", tuple(unique))
        return self

    @model_validator(mode="after")
    def _parameters_of_models(self) -> Recipe:
        rules = (rule.method for rule in self.tensors)
        methods = (self.method, self.other, *rules)
        names = (choice.name for choice in methods if choice is not None)
        refuse_unknown(self.models, (name for name in names if name != AUTO_METHOD))
        return self

    @model_validator(mode="after")
    def _auto_without_parameters(self) -> Recipe:
        if self.method.name == AUTO_METHOD and self.method.given:
            raise ValueError(
                f"method.{next(iter(self.method.given))}: `method: auto` chooses the method and its parameters: name "
                "the method that the parameter is for"
            )
        return self

    @model_validator(mode="after")
    def _files_of_known_models(self) -> Recipe:
        known = ["base", *(entry.name for entry in self.models)]
        for key in CHOICES:
            name = getattr(self, key)
            if key == "tokenizer" and self.vocabulary is not None:
                if problem := next(unknown_names(self.vocabulary, known), None):
                    raise ValueError(problem)
            elif name is not None and name not in known and not (key == "chat_template" and is_template(name)):
                raise ValueError(f"{key}: no model is named {name!r}{nearest(name, known)}")
            if name not in (None, "base") and self.output.adapter:
                raise ValueError(f"{key}: the output is an adapter, whose folder has no such files: leave it out")
        return self

    @model_validator(mode="after")
    def _refined_or_learned(self) -> Recipe:
        if self.refine and self.adapt is not None:
            raise ValueError(
                "refine: a refinement changes the merge as a whole, so no part of it belongs to one model and "
                "`adapt` has nothing to learn: leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _learning_starts_at_a_number(self) -> Recipe:
        per_tensor = isinstance(self.scale, ScaleRule) and self.scale.per == "tensor"
        if isinstance(self.scale, ScaleGrid) and self.adapt is not None:
            raise ValueError("scale: a grid tries merges without learning: give a number, or leave `adapt` out")
        if (per_tensor or is_varied(self.scale)) and self.adapt is not None:
            raise ValueError(
                "scale: `adapt` learns coefficients, which start at one number for all tensors: give a number, or a "
                "rule per model, in place of a gradient or a rule per tensor, or leave `adapt` out"
            )
        return self

    @model_validator(mode="after")
    def _searched_by_whole_merges(self) -> Recipe:
        if self.search is None:
            return self
        if self.adapt is not None:
            raise ValueError("search: it tries merges without learning: leave one of `search` and `adapt` out")
        if self.data is not None:
            raise ValueError(
                "search: it tries merges by weights alone, and `data` is for those that run the models first: give "
                "`scale` a grid in place of `search`"
            )
        if isinstance(self.scale, ScaleGrid):
            raise ValueError("search: it tries scales itself: give `scale` the number to start from, or `auto`")
        return self

    @property
    def is_open(self) -> bool:
        """Whether something is still to be chosen on labelled inputs, so that it cannot be merged yet."""
        return self.search is not None or isinstance(self.scale, ScaleGrid)

    @model_validator(mode="after")
    def _every_model_has_inputs(self) -> Recipe:
        if self.data is None:
            return self
        if self.adapt is not None:
            raise ValueError(
                "data: merging by activations leaves no part that belongs to one model, so `adapt` has nothing "
                "to learn: leave one of the two out"
            )
        models = [entry.name for entry in self.models]
        for name in self.data.tasks:
            if name not in models:
                raise ValueError(f"data.tasks: no model is named {name!r}{nearest(name, models)}")
        without = [name for name in models if name not in self.data.tasks]
        if without:
            raise ValueError(f"data.tasks: no inputs for {', '.join(map(repr, without))}: every model needs some")
        return self

    @model_validator(mode="after")
    def _every_model_has_data(self) -> Recipe:
        if self.adapt is None:
            return self
        models = [entry.name for entry in self.models]
        tasks = [task.name for task in self.adapt.tasks]
        for place, name in enumerate(tasks):
            if name not in models:
                raise ValueError(f"adapt.tasks.{place}.name: no model is named {name!r}{nearest(name, models)}")
        section = self.adapt.with_all(models)
        object.__setattr__(self, "adapt", section)
        without = [name for name in models if name not in {task.name for task in section.tasks}]
        if without:
            raise ValueError(f"adapt.tasks: no data for {', '.join(map(repr, without))}: every model needs a task")
        if self.method.name == "adamerging" and "objective" not in section.model_fields_set:
            given = section.model_dump(exclude_unset=True) | {"objective": "adamerging"}
            section = AdaptSection.model_validate(given)
            object.__setattr__(self, "adapt", section)
        # With coefficients that are not named, learning starts from the merge that the recipe is without it.
        if "scale" not in self.model_fields_set and section.coefficients != "auto":
            object.__setattr__(self, "scale", LEARNING_STARTS_AT)
        return self

    def with_paths(self, change: Callable[[str], str]) -> Recipe:
        """The recipe with the path of its base and of each model changed."""
        models = tuple(entry.located(change) for entry in self.models)
        changed: dict[str, Any] = {"base": located_base(self.base, change), "models": models}
        if self.vocabulary is not None and self.vocabulary.donor is not None:
            changed["tokenizer"] = self.vocabulary.model_copy(update={"donor": change(self.vocabulary.donor)})
        return self.model_copy(update=changed)

    def labelled_paths(self) -> dict[str, str]:
        """The paths of the base, the models and what they are stacked from, each with the first label that it has."""
        labels = dict.fromkeys(paths_of_base(self.base), "base")
        for entry in self.models:
            for path in entry.paths:
                labels.setdefault(path, entry.name)
        if self.vocabulary is not None and self.vocabulary.donor is not None:
            labels.setdefault(self.vocabulary.donor, "donor")
        return labels

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of how it was written, where that was another form than ours."""
        return self._notes

    def where(self, key: str) -> str:
        """Where the file that the recipe was translated from says what this key does; empty where there is none."""
        return self._origins.get(key, "")

    @property
    def vocabulary(self) -> TokenizerOptions | None:
        """What `tokenizer` says, in its long form."""
        return tokenizer_options(self.tokenizer)

    def as_given(self) -> dict[str, Any]:
        """The keys that were given, as plain values: what `load_recipe` takes again."""
        return self.model_dump(exclude_unset=True)

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """Only what was given: the defaults would hide it."""
        for key, value in self.as_given().items():
            yield key, [model.get("path") or model for model in value] if key == "models" else value

    def canonical(self) -> dict[str, Any]:
        """The recipe as plain values with every default filled in, as the run record keeps it."""
        return self.model_dump(mode="json", exclude={key for key in _OPTIONAL if getattr(self, key) is None})


def load_recipe(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    changes: Mapping[str, Any] | None = None,
    find_base: Callable[[Recipe], Recipe] | None = None,
) -> Recipe:
    """Read a recipe from a YAML file or a mapping; paths in a file are relative to its folder.

    ``overrides`` are ``key=value`` texts with dotted keys, such as ``method.rank=8`` or ``models.0.weight=0.5``; values
    are YAML. ``changes`` maps dotted keys to values, which are set first. ``find_base`` gives a recipe that names no
    base the one that its models name.

    Raises:
        RecipeError: the file cannot be read, a key is unknown (the error names the nearest), or a value does not fit.
    """
    read = read_given(source)
    given = read.given
    for key, value in (changes or {}).items():
        given = with_key(given, key, value, Recipe)
    for text in overrides:
        given = override(given, text, Recipe)
    file = None if isinstance(source, Mapping) else Path(source)
    if find_base is None or with_base(given).get("base") is not None or not given.get("models"):
        return recipe_of(replace(read, given=given), file, read.located)
    return find_base(recipe_of(replace(read, given={**given, "base": _TO_BE_FOUND}), file, read.located))


def recipe_of(read: Read, file: Path | None, located: Callable[[str], str] | None) -> Recipe:
    """Check a recipe as it was read, and give the paths of its models as ``located`` does.

    Raises:
        RecipeError: a key is unknown, or a value does not fit.
    """
    recipe = _validate(read.given, file)
    recipe._notes, recipe._origins = read.notes, read.origins
    if located is not None:
        recipe = recipe.with_paths(located)
    if file is None:
        return recipe
    folder = file.parent
    adapt = recipe.adapt and recipe.adapt.with_paths(lambda path: resolved(path, folder))
    data = recipe.data and recipe.data.with_paths(lambda path: resolved(path, folder))
    search = recipe.search and recipe.search.with_paths(lambda path: resolved(path, folder))
    changed: dict[str, Any] = {"adapt": adapt, "data": data, "search": search}
    if isinstance(recipe.scale, ScaleGrid):
        changed["scale"] = recipe.scale.model_copy(update={"tasks": resolved(recipe.scale.tasks, folder)})
    return recipe.model_copy(update=changed)


def _validate(given: Mapping[str, Any], file: Path | None) -> Recipe:
    try:
        return Recipe.model_validate(given)
    except ValidationError as error:
        reasons = explain(error, Recipe, {})
        raise RecipeError(listed("the recipe is not usable:", reasons), file=file) from error


def _free_name(wanted: str, taken: Collection[str]) -> str:
    candidates = itertools.chain([wanted], (f"{wanted}-{number}" for number in itertools.count(2)))
    return next(name for name in candidates if name not in taken)
