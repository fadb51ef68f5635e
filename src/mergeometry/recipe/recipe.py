"""The typed recipe: everything that decides what a merge computes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationInfo, model_validator

from mergeometry.recipe.adapt import AdaptSection
from mergeometry.recipe.data import DataSection
from mergeometry.recipe.parts import Heads, MethodChoice, MethodField, ModelEntry, OutputOptions, TensorRule, as_model
from mergeometry.recipe.passthrough import with_base
from mergeometry.recipe.per_model import refuse_unknown
from mergeometry.recipe.scale import Scale, ScaleGrid
from mergeometry.recipe.search import SearchSection
from mergeometry.recipe.stack import Base, located_base, paths_of_base
from mergeometry.recipe.strict import StrictModel
from mergeometry.recipe.together import (
    refuse_learning_from_many_scales,
    refuse_learning_without_parts,
    refuse_search_beside_others,
)
from mergeometry.recipe.tokenizer import TokenizerField, TokenizerOptions, is_template, tokenizer_options, unknown_names
from mergeometry.words import nearest

AUTO_METHOD = "auto"
"""In place of a method's name, and where none is named: the plan chooses one by what the models are."""

AUTO_HEADS = "auto"
"""In place of globs: the plan names the heads, where they are plain."""

CHOICES = ("tokenizer", "chat_template", "config")
"""Keys that name the model, or the base, whose files of a kind the output gets."""
_OPTIONAL = ("adapt", "data", "dequantise", "search", *CHOICES)
"""Keys that the record of a recipe leaves out where it does not have them."""

LEARNING_STARTS_AT = 0.3
"""Scale that named coefficients start from where the recipe gives none (AdaMerging, arXiv 2310.02575)."""


def _objective_of_method(given: Any, reading: ValidationInfo) -> Any:
    """The section as given, with the objective that `method: adamerging` is named after where it has none."""
    method = reading.data.get("method")
    if method is None or method.name != "adamerging":
        return given
    keys = given.model_dump(exclude_unset=True) if isinstance(given, AdaptSection) else given
    return {"objective": "adamerging", **keys} if isinstance(keys, Mapping) else given


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
    adapt: Annotated[AdaptSection | None, BeforeValidator(_objective_of_method)] = None
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
    def _sections_go_together(self) -> Recipe:
        refuse_learning_without_parts(self)
        refuse_learning_from_many_scales(self)
        refuse_search_beside_others(self)
        return self

    @property
    def is_open(self) -> bool:
        """Whether something is still to be chosen on labelled inputs, so that it cannot be merged yet."""
        return self.search is not None or isinstance(self.scale, ScaleGrid)

    @model_validator(mode="after")
    def _every_model_has_inputs(self) -> Recipe:
        if self.data is None:
            return self
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


def _free_name(wanted: str, taken: Collection[str]) -> str:
    candidates = itertools.chain([wanted], (f"{wanted}-{number}" for number in itertools.count(2)))
    return next(name for name in candidates if name not in taken)
