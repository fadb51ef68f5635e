"""What is compared: methods with their parameters, and refinements after them, named as the user writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mergeometry.errors import RecipeError, listed
from mergeometry.methods import registry
from mergeometry.recipe import Recipe, load_recipe
from mergeometry.recipe.data import DataSection
from mergeometry.recipe.files import text_of
from mergeometry.recipe.yaml import parse_yaml
from mergeometry.words import nearest

ALL = "all"
_KEYS = ("name", "method", "refine", "other")
_CALL = re.compile(r"\s*([\w-]+)\s*(?:\((.*)\))?\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a comparison: ``method``, ``refine`` and ``other`` are the recipe's keys of these names."""

    name: str
    method: Mapping[str, Any]
    refine: Sequence[Any] = field(default=())
    other: str | Mapping[str, Any] | None = None

    def merges_by(self, common: Recipe) -> frozenset[str]:
        """What of the models is collected before they are merged this way, in words: activations, Fisher information.

        Raises:
            RecipeError: a rule of the recipe names an unknown method.
        """
        used = [self.method["name"], *(rule.method.name for rule in common.tensors if rule.method is not None)]
        return frozenset(by for name in used if (by := registry.find(name).merges_by))

    def recipe(self, common: Recipe, scale: float, data: DataSection | None = None) -> Recipe:
        """The recipe that merges the models this way; ``data`` is given where something is collected.

        Raises:
            RecipeError: the recipe is not valid with this entry.
        """
        given = {
            **common.model_dump(mode="json", exclude={"adapt", "data", "method", "scale", "search", "output"}),
            "scale": scale,
        }
        given["output"] = {"dtype": common.output.dtype} if "dtype" in common.output.model_fields_set else {}
        given["method"] = dict(self.method)
        if data is not None:
            given["data"] = data.model_dump(mode="json")
        if self.refine:
            given["refine"] = list(self.refine)
        if self.other is not None:
            given["other"] = self.other
        return load_recipe(given)


def read_entries(methods: str | Path | Sequence[Any]) -> tuple[list[Entry], bool]:
    """Read what is to be compared, and whether it is ``all``, of which methods that do not fit may be left out.

    ``methods`` is ``all``; names separated by commas, each with parameters in parentheses where it has any
    (``tsv_m, ties(density=0.1)``) and refinements after a plus (``tsv_m + svc``); the name of a .yaml file with a list;
    or a list of such names and of mappings ``{name, method, refine, other}``.

    Raises:
        RecipeError: an item cannot be read, or two have the same name; it lists every reason.
    """
    if isinstance(methods, Path) or (isinstance(methods, str) and methods.endswith((".yaml", ".yml"))):
        items = _from_file(Path(methods))
    else:
        items = split(methods) if isinstance(methods, str) else list(methods)
    if items == [ALL]:
        return [
            Entry(name, {"name": name}) for name in registry.names() if not registry.find(name).needs_learning
        ], True
    entries, problems = [], []
    for place, item in enumerate(items):
        try:
            entries.append(_entry(item))
        except RecipeError as error:
            problems.append(f"{place + 1}: {error.what}" + (f" ({error.hint})" if error.hint else ""))
    names = [entry.name for entry in entries]
    problems += [f"two entries are named {name!r}" for name in sorted({n for n in names if names.count(n) > 1})]
    if not items:
        problems.append("the list is empty")
    if problems:
        raise RecipeError(listed("the methods to compare are not usable:", problems))
    return entries, False


def _from_file(path: Path) -> list[Any]:
    items = parse_yaml(text_of(path, "the list of methods"), path)
    if not isinstance(items, list):
        raise RecipeError("the file is not a list", file=path, hint="[tsv_m, {name: mine, method: {name: ties}}]")
    return items


def _entry(item: Any) -> Entry:
    if isinstance(item, Entry):
        return item
    if isinstance(item, str):
        return _called(item)
    if not isinstance(item, Mapping):
        raise RecipeError(f"an entry is a method's name or a mapping, got {item!r}")
    for key in item:
        if key not in _KEYS:
            raise RecipeError(f"unknown key {key!r}{nearest(str(key), list(_KEYS))}")
    if "method" not in item:
        raise RecipeError("'method' is missing")
    method = {"name": item["method"]} if isinstance(item["method"], str) else item["method"]
    if not isinstance(method, Mapping) or not isinstance(method.get("name"), str):
        raise RecipeError("`method` is a name, or a mapping with a `name`")
    given = {str(key): value for key, value in method.items() if key != "name"}
    registry.build(method["name"], given)
    refine = item.get("refine") or ()
    steps = [refine] if isinstance(refine, (str, Mapping)) else list(refine)
    name = item.get("name") or method["name"]
    return Entry(str(name), {"name": method["name"], **given}, steps, item.get("other"))


def _called(text: str) -> Entry:
    """An entry such as ``dc_merge(smoothing=linear) + svc``, whose name is the text."""
    first, *rest = [called(part) for part in _outside(text, "+")]
    name, given = first
    registry.build(name, given)
    steps = [{"name": step, **parameters} if parameters else step for step, parameters in rest]
    return Entry(" ".join(text.split()), {"name": name, **given}, steps)


def called(text: str) -> tuple[str, dict[str, Any]]:
    """Read a name with parameters in parentheses, such as ``ties(density=0.1)``.

    Raises:
        RecipeError: the text has another form.
    """
    match = _CALL.fullmatch(text)
    if match is None:
        raise RecipeError(f"{text.strip()!r} is not a method", hint="write name, or name(parameter=value, ...)")
    name, inside = match.groups()
    given = {}
    for part in _outside(inside or "", ","):
        key, equals, value = part.partition("=")
        if not part.strip() and not given:
            continue
        if not equals:
            raise RecipeError(f"{name}: {part.strip()!r} is not a parameter", hint="write parameter=value")
        if key.strip() in given:
            raise RecipeError(f"{name}: {key.strip()!r} is given twice")
        given[key.strip()] = parse_yaml(value)
    return name, given


def split(text: str) -> list[str]:
    """Split a list at its commas outside brackets."""
    return [part.strip() for part in _outside(text, ",") if part.strip()]


def _outside(text: str, mark: str) -> list[str]:
    """Split a text at each mark outside brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == mark and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
