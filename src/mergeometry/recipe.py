"""The typed recipe, and its strict reading from YAML 1.2."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from mergeometry import limits
from mergeometry.errors import RecipeError
from mergeometry.strict_yaml import parse_yaml

_NOT_YET = {
    "adapt": "learning on unlabelled data is not part of this version",
    "merge_method": "this is a mergekit recipe: write `method` and each model's `path` and `weight` instead",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Factor = Annotated[float, Field(ge=-1e30, le=1e30)]
"""A number to multiply tensors by, which float32 must hold."""


class ModelEntry(_Strict):
    """One fine-tuned model or adapter: where it is, what to call it, how much it counts."""

    path: Annotated[str, Field(min_length=1)]
    name: str = ""
    weight: Factor = 1.0


class MethodChoice(BaseModel):
    """A method's name with its parameters beside it, checked by the method itself."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    name: str

    @property
    def given(self) -> dict[str, Any]:
        """The parameters that the recipe sets."""
        return dict(self.model_extra or {})


def _as_method(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _as_model(value: object) -> object:
    return {"path": value} if isinstance(value, str) else value


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    number = value.strip().upper().removesuffix("B")
    for unit, factor in (("K", 10**3), ("M", 10**6), ("G", 10**9), ("T", 10**12)):
        if number.endswith(unit):
            try:
                return int(float(number[:-1]) * factor)
            except (ValueError, OverflowError):
                break
    return int(number) if number.isdigit() else value


MethodField = Annotated[MethodChoice, BeforeValidator(_as_method)]


class TensorRule(_Strict):
    """What holds for the tensors whose names match a glob; the first rule that matches wins."""

    match: Annotated[str, Field(min_length=1)]
    method: MethodField | None = None
    scale: Factor | None = None


class AdapterOutput(_Strict):
    """Write an adapter, of the exact rank or truncated to the one given."""

    rank: Annotated[int, Field(ge=1)]


class OutputOptions(_Strict):
    """How the result is written."""

    dtype: Literal["base", "float64", "float32", "float16", "bfloat16"] = "base"
    shard_size: Annotated[int, BeforeValidator(_size), Field(ge=1_000_000)] = 5_000_000_000
    adapter: bool | AdapterOutput = False


class Recipe(_Strict):
    """Everything that decides what a merge computes."""

    base: Annotated[str, Field(min_length=1)]
    models: Annotated[tuple[Annotated[ModelEntry, BeforeValidator(_as_model)], ...], Field(min_length=1)]
    method: MethodField
    scale: Factor = 1.0
    other: MethodField = MethodChoice(name="average")
    tensors: tuple[TensorRule, ...] = ()
    heads: tuple[str, ...] = ()
    output: OutputOptions = OutputOptions()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @field_validator("scale", mode="before")
    @classmethod
    def _scale(cls, value: object) -> object:
        if value == "auto" or isinstance(value, Mapping):
            raise ValueError("`auto` and `grid` are not part of this version: give a number")
        return value

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
            name = entry.name or _free_name(Path(entry.path).name or "model", taken)
            taken.add(name)
            unique.append(entry.model_copy(update={"name": name}))
        object.__setattr__(self, "models", tuple(unique))
        return self

    def canonical(self) -> dict[str, Any]:
        """The recipe as plain values with every default filled in, as the run record keeps it."""
        return self.model_dump(mode="json")


def load_recipe(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a YAML file or a mapping; paths in a file are relative to its folder.

    ``overrides`` are ``key=value`` texts with dotted keys, as ``method.rank=8``; values are YAML.

    Raises:
        RecipeError: the file cannot be read, a key is unknown (the nearest is named), a value does not fit.
    """
    origin = None if isinstance(source, Mapping) else Path(source)
    given = dict(source) if isinstance(source, Mapping) else _read(Path(source))
    for override in overrides:
        _override(given, override)
    recipe = _validate(given, origin)
    if origin is None:
        return recipe
    folder = origin.parent
    models = tuple(entry.model_copy(update={"path": _resolved(entry.path, folder)}) for entry in recipe.models)
    return recipe.model_copy(update={"base": _resolved(recipe.base, folder), "models": models})


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(limits.RECIPE_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"the recipe cannot be read: {error.strerror}", file=path) from error
    if len(raw) > limits.RECIPE_BYTES:
        raise RecipeError(f"the recipe is larger than {limits.RECIPE_BYTES} bytes", file=path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError("the recipe is not UTF-8 text", file=path) from error
    given = parse_yaml(text, path)
    if not isinstance(given, dict):
        raise RecipeError("a recipe is a mapping of keys to values", file=path, hint="see docs/recipes.md")
    return given


def _validate(given: Mapping[str, Any], file: Path | None) -> Recipe:
    try:
        return Recipe.model_validate(given)
    except ValidationError as error:
        reasons = [_explain(problem) for problem in error.errors()]
        raise RecipeError("the recipe is not usable:\n  - " + "\n  - ".join(reasons), file=file) from error


def _explain(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        key = str(problem["loc"][-1])
        if key in _NOT_YET:
            return f"{place}: {_NOT_YET[key]}"
        known = _keys_at(problem["loc"][:-1])
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
        return f"unknown key {place!r}" + (f", did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}")
    if problem["type"] == "missing":
        return f"{place!r} is missing"
    got = "" if isinstance(problem.get("input"), Mapping | list | tuple) else f" (got {problem.get('input')!r})"
    return f"{place}: {problem['msg'].removeprefix('Value error, ')}{got}"


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    section: type[BaseModel] = Recipe
    sections = {"models": ModelEntry, "tensors": TensorRule, "output": OutputOptions, "adapter": AdapterOutput}
    for part in location:
        section = sections.get(str(part), section)
    return list(section.model_fields)


def _override(given: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set needs key=value, got {override!r}", hint="for example --set method.rank=8")
    *parents, last = key.split(".")
    target = given
    for parent in parents:
        inner: Any = target.get(parent)
        if isinstance(inner, str) and parent in {"method", "other"}:
            inner = {"name": inner}
        if not isinstance(inner, dict | None):
            raise RecipeError(f"--set {override}: {parent!r} holds no keys")
        target[parent] = target = dict(inner or {})
    target[last] = parse_yaml(text)


def _resolved(path: str, folder: Path) -> str:
    try:
        return str(folder / Path(path).expanduser())
    except RuntimeError as error:
        raise RecipeError(f"{path!r} names a user who is not known here", hint="write the whole path") from error


def _free_name(wanted: str, taken: Collection[str]) -> str:
    candidates = itertools.chain([wanted], (f"{wanted}-{number}" for number in itertools.count(2)))
    return next(name for name in candidates if name not in taken)
