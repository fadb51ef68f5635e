"""Translates a mergekit recipe to one of ours, by which the same inputs merge to the same model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mergeometry.hub_names import folder_name
from mergeometry.recipe.mergekit.document import Document, Reference, Slice, Source, read_document
from mergeometry.recipe.mergekit.lines import Lines
from mergeometry.recipe.mergekit.methods import METHODS, Method, Parameter
from mergeometry.recipe.mergekit.settings import Rule, over_slices, plain_value, rules_for
from mergeometry.recipe.mergekit.tokens import tokenizer_keys
from mergeometry.words import nearest

_DTYPES = ("float64", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Translation:
    """One of our recipes, and what to know of its translation."""

    recipe: dict[str, Any]
    notes: tuple[str, ...] = ()
    """What has no effect here, with its line."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """For keys of our recipe, where mergekit's gives them: `` (line 7: parameters.t)``."""


def is_mergekit(given: object) -> bool:
    """Whether a document is a mergekit recipe."""
    return isinstance(given, Mapping) and "merge_method" in given


def translate(given: Mapping[str, Any], lines: Lines | None = None) -> Translation:
    """Translate one mergekit recipe.

    Raises:
        RecipeError: a key, a method or a parameter is unknown, or a value is not of its kind; it names the line.
    """
    document = read_document(given, lines or Lines())
    method = METHODS.get(document.method)
    if method is None:
        known = nearest(document.method, sorted(METHODS))
        raise document.lines.error(("merge_method",), f"mergekit 0.1.5 has no method {document.method!r}{known}")
    return _Translator(document, method).translation()


class _Translator:
    def __init__(self, document: Document, method: Method) -> None:
        self._document, self._method, self._lines = document, method, document.lines
        self._notes = list(document.notes)
        self._origins: dict[str, str] = {}
        self._inputs = [self._of_slice(slice_) for slice_ in document.slices]

    def translation(self) -> Translation:
        document = self._document
        self._refuse_unknown()
        base, models = self._sources()
        entries: list[dict[str, Any]] = [self._entry(column, base) for column in models]
        method: dict[str, Any] = {"name": self._method.ours}
        recipe: dict[str, Any] = {"base": self._whole(base), "models": entries, "method": method}
        for parameter in self._method.parameters:
            if parameter.per == "merge" or self._method.inputs == 1:
                self._for_all(parameter, recipe, method, models)
            else:
                self._for_each(parameter, entries, method, models)
        method |= self._method.fixed
        if self._method.base != "required" and self._document.slices[0].base is None:
            method |= self._method.without_base
        recipe |= tokenizer_keys(document, Names(entries, base, models))
        dtype = self._dtype()
        if dtype:
            recipe["output"] = {"dtype": dtype}
        recipe["method"] = method if len(method) > 1 else method["name"]
        return Translation(recipe, tuple(self._notes), self._origins)

    def _of_slice(self, slice_: Slice) -> tuple[Source | None, tuple[Source, ...]]:
        """The base's part of a slice and the parts that are merged, in the order in which ours merges them."""
        method, sources, base = self._method, slice_.sources, slice_.base
        for place, source in enumerate(sources):
            if source.model in [other.model for other in sources[:place]]:
                raise self._lines.error(source.key, f"{source.model.text!r} is among the inputs twice")
        base = None if method.base == "ignored" else base
        own = next((source for source in sources if source.model == base), None)
        name = self._document.method
        if own is None and (base is not None or method.base == "required"):
            missing = (
                "needs a `base_model`" if base is None else f"lacks its base model {base.text!r} among the sources"
            )
            raise self._lines.error(slice_.key, f"{name} {missing}")
        others = tuple(source for source in sources if source is not own)
        for count, wanted, what in (
            (len(sources), method.inputs, "models, its base included"), (len(others), method.others, "models")
        ):  # fmt: skip
            if wanted is not None and count != wanted:
                raise self._lines.error(slice_.key, f"{name} merges {wanted} {what}, got {count}")
        if len(sources) < method.least:
            raise self._lines.error(slice_.key, f"{name} needs {method.least} models with its base, got {len(sources)}")
        if not others:
            raise self._lines.error(slice_.key, f"{name} has no model but the base to merge")
        return own, ((own, *others) if method.includes_base and own is not None else others)

    def _sources(self) -> tuple[tuple[Source, ...], list[tuple[Source, ...]]]:
        """The base and each model, as its parts in every slice."""
        counts = {len(models) for _, models in self._inputs}
        if len(counts) > 1:
            raise self._lines.error(
                ("slices",), f"the slices merge {' and '.join(map(str, sorted(counts)))} models: they must be as many"
            )
        columns = [tuple(models[place] for _, models in self._inputs) for place in range(counts.pop())]
        base = tuple(own or self._stand_in(models) for own, models in self._inputs)
        return base, columns

    def _stand_in(self, models: Sequence[Source]) -> Source:
        """What plays the base's part where the method knows none: task vectors are measured from it, and cancel."""
        given = self._document.base
        if given is None or self._document.layered:
            return models[0]
        return next(source for source in models if source.model == given)

    def _whole(self, column: Sequence[Source]) -> Any:
        """A model, or the stack of its parts."""
        if not self._document.layered:
            return column[0].model.text
        return {"stack": [{"path": part.model.text, "layers": list(part.layers or ())} for part in column]}

    def _entry(self, column: Sequence[Source], base: Sequence[Source]) -> dict[str, Any]:
        whole, model = self._whole(column), column[0].model
        if isinstance(whole, dict):
            return whole
        of_base = model.adapter is not None and Reference(model.path, model.revision) == base[0].model
        return {"path": model.adapter_text if of_base else whole}

    def _for_all(
        self,
        parameter: Parameter,
        recipe: dict[str, Any],
        method: dict[str, Any],
        models: Sequence[Sequence[Source]],
    ) -> None:
        """A parameter that is one for all models."""
        rules = []
        for place, slice_ in enumerate(self._document.slices):
            own = (models[0][place].scope,) if parameter.per != "merge" else ()
            rules.append(rules_for(parameter, (*own, *slice_.scopes), self._lines))
        self._refuse_missing(parameter, rules, None)
        if (name := self._effective(parameter, rules)) is None:
            return
        whole = over_slices(rules, self._document.slices)
        value, key = (
            plain_value(whole),
            name if name == "scale" and self._method.ours != "passthrough" else f"method.{name}",
        )
        self._remember(key, whole, value)
        if key == "scale":
            if value != 1.0:
                recipe["scale"] = value
        else:
            method[name] = value

    def _for_each(
        self,
        parameter: Parameter,
        entries: Sequence[dict[str, Any]],
        method: dict[str, Any],
        models: Sequence[Sequence[Source]],
    ) -> None:
        """A parameter that may differ between models: with each, or once where it is the same."""
        name, found, wholes = None, [], []
        for column in models:
            pairs = zip(column, self._document.slices, strict=True)
            rules = [rules_for(parameter, (part.scope, *slice_.scopes), self._lines) for part, slice_ in pairs]
            self._refuse_missing(parameter, rules, column[0])
            name = self._effective(parameter, rules)
            wholes.append(over_slices(rules, self._document.slices))
            found.append(plain_value(wholes[-1]))
        if name is None:
            return
        if name != "weight" and all(value == found[0] for value in found):
            method[name] = found[0]
            self._remember(f"method.{name}", wholes[0], found[0])
            return
        for place, (entry, value) in enumerate(zip(entries, found, strict=True)):
            self._remember(f"models.{place}.{name}", wholes[place], value)
            if name != "weight" or value != 1.0:
                entry[name] = value

    def _effective(self, parameter: Parameter, rules: Sequence[Sequence[Rule]]) -> str | None:
        """Its name here; None, with a note, where it has no effect."""
        if parameter.own_name is None:
            given = dict.fromkeys(rule.key for one in rules for rule in one if rule.key)
            self._notes.extend(f"{self._lines.place(key)}: without effect, since {parameter.why}" for key in given)
        return parameter.own_name

    def _refuse_missing(self, parameter: Parameter, rules: Sequence[Sequence[Rule]], source: Source | None) -> None:
        for place, one in enumerate(rules):
            if not one:
                key = self._document.slices[place].key if source is None else source.key
                model = "" if source is None else f" of {source.model.text!r}"
                raise self._lines.error(
                    key, f"{self._document.method} needs `{parameter.name}`{model}, which has no default"
                )

    def _remember(self, key: str, rules: Sequence[Rule], value: Any) -> None:
        """Where mergekit's recipe gives a key of ours, and each of its cases."""
        keyed = [rule.key for rule in rules if rule.key]
        if keyed:
            self._origins[key] = f" ({self._lines.place(keyed[0])})"
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            for index, rule in enumerate(rules):
                if rule.key:
                    self._origins[f"{key}.{index}"] = f" ({self._lines.place(rule.key)})"

    def _refuse_unknown(self) -> None:
        """Refuse parameters that the method does not have, or has elsewhere."""
        known = [parameter.name for parameter in self._method.parameters]
        shared = {parameter.name for parameter in self._method.parameters if parameter.per == "merge"}
        own = [(source.scope, source) for slice_ in self._document.slices for source in slice_.sources]
        scopes = [(scope, None) for slice_ in self._document.slices for scope in slice_.scopes]
        name = self._document.method
        for scope, source in [*scopes, *own]:
            for key in scope.settings:
                if key not in known:
                    what = f"{name} has no parameter {key!r}, which mergekit would ignore{nearest(str(key), known)}"
                    raise self._lines.error((*scope.key, key), what if known else f"{name} has no parameters")
                if source is not None and key in shared:
                    hint = "move it to the `parameters` of the slice or of the recipe, or leave it out"
                    what = f"{key!r} holds for all models, so mergekit ignores it with one of them"
                    raise self._lines.error((*scope.key, key), what, hint)
        for slice_ in self._document.slices:
            self._note_on_base(slice_)

    def _note_on_base(self, slice_: Slice) -> None:
        """What is given for the base alone has no effect where the base is not one of the models."""
        only = {parameter.name for parameter in self._method.parameters if parameter.per == "other"}
        for source in slice_.sources:
            if source.model == slice_.base and self._method.base != "ignored":
                self._notes.extend(
                    f"{self._lines.place((*source.scope.key, key))}: without effect, since this model is the base"
                    for key in source.scope.settings
                    if key in only
                )

    def _dtype(self) -> str | None:
        """The precision of the output; ours computes in float32 whatever it is."""
        found: str | None = None
        for key in ("dtype", "out_dtype"):
            given = self._document.given.get(key)
            if given is None:
                continue
            name = str(given).removeprefix("torch.")
            if name not in _DTYPES:
                raise self._lines.error((key,), f"{given!r} is no precision for weights{nearest(name, list(_DTYPES))}")
            if key == "dtype" and self._document.given.get("out_dtype") is not None:
                self._notes.append(f"{self._lines.place((key,))}: merges are computed in float32, and rounded once")
            found = name
        return found


class Names:
    """What our recipe calls each model; a name is written down once it is asked for."""

    def __init__(
        self, entries: Sequence[dict[str, Any]], base: Sequence[Source], models: Sequence[Sequence[Source]]
    ) -> None:
        self._entries, self._base, self._models = entries, base, models

    def of(self, reference: Reference) -> str | None:
        """The name of a model; None where it is not among them."""
        if any(part.model == reference for part in self._base):
            return "base"
        for place, column in enumerate(self._models):
            if any(part.model == reference for part in column):
                return self._name(place)
        return None

    def _name(self, place: int) -> str:
        entry = self._entries[place]
        if "name" not in entry:
            taken = {"base", "union", *(other["name"] for other in self._entries if "name" in other)}
            wanted = folder_name(self._models[place][0].model.path) or "model"
            numbered = itertools.chain([wanted], (f"{wanted}-{number}" for number in itertools.count(2)))
            own = dict(entry)
            entry.clear()
            entry |= {key: own.pop(key) for key in ("path", "stack") if key in own}
            entry |= {"name": next(name for name in numbered if name not in taken), **own}
        return entry["name"]
