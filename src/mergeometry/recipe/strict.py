"""Models of what users write: no unknown keys, no later changes, every problem explained in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from mergeometry.words import nearest

_OWN = "tokens"
"""A section whose keys are users' own, and may be in brackets."""

_BITS = 256
_LETTERS = 300
"""What an error repeats of a value that does not fit."""


class StrictModel(BaseModel):
    """A frozen section of a recipe that refuses unknown keys and numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    shorthand: ClassVar[str] = ""
    """The key that a plain text stands for where a mapping is expected; none by default."""


def explain(error: ValidationError, root: type[BaseModel], not_yet: Mapping[str, str]) -> list[str]:
    """Explain every problem of a validation in one line; an unknown key comes with the nearest known one.

    ``root`` is the model that was validated, ``not_yet`` the keys that have an explanation of their own.
    """
    # A default that depends on a key with a problem is no problem of its own.
    problems = [problem for problem in error.errors() if problem["type"] != "default_factory_not_called"]
    # A list with an item that is not usable counts as too short as well, which tells a user nothing.
    spoilt = {problem["loc"][:end] for problem in problems for end in range(len(problem["loc"]))}
    told = [problem for problem in problems if not (problem["type"] == "too_short" and problem["loc"] in spoilt)]
    return [_explained(problem, root, not_yet) for problem in told]


def _explained(problem: Any, root: type[BaseModel], not_yet: Mapping[str, str]) -> str:
    # Parts in brackets are tags of the ways to write a key; an unknown key is the user's own, whatever it looks like.
    *outer, last = problem["loc"] or (None,)
    unknown = problem["type"] == "extra_forbidden"
    tagged = last is None or (not unknown and str(last).startswith("<"))
    kept = [part for before, part in pairwise([None, *outer]) if before == _OWN or not str(part).startswith("<")]
    problem["loc"] = (*kept, *([] if tagged and outer[-1:] != [_OWN] else [last]))
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        key = str(problem["loc"][-1])
        if place in not_yet:
            return f"{place}: {not_yet[place]}"
        return f"unknown key {place!r}" + nearest(key, _keys_at(problem["loc"][:-1], root))
    if problem["type"] == "missing":
        return f"{place!r} is missing"
    given = problem.get("input")
    got = "" if isinstance(given, Mapping | list | tuple | BaseModel) else f" (got {_brief(given)})"
    message = problem["msg"].removeprefix("Value error, ") + got
    return f"{place}: {message}" if place else message


def _brief(given: object) -> str:
    """A value as it is written, without the middle of a long one."""
    if isinstance(given, int) and given.bit_length() > _BITS:
        # Python refuses to write the longest.
        return f"a whole number of {given.bit_length():,} bits"
    text = repr(given)
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS // 2]}...{text[-_LETTERS // 2 :]}"


def _keys_at(location: tuple[int | str, ...], root: type[BaseModel]) -> list[str]:
    sections = [root]
    for part in location:
        fields = [section.model_fields[str(part)] for section in sections if str(part) in section.model_fields]
        sections = [one for field in fields for one in _models_in(field.annotation)] or sections
    return list(dict.fromkeys(key for section in sections for key in section.model_fields))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
