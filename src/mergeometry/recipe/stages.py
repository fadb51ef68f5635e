"""Recipes of several stages: YAML documents with names, of which one may be a model of another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry.errors import RecipeError
from mergeometry.recipe.files import Read, documents_of, read_document
from mergeometry.recipe.load import recipe_of
from mergeometry.recipe.mergekit import Lines
from mergeometry.recipe.recipe import Recipe
from mergeometry.words import nearest

NAME = "name"
"""The key by which a document says what it is called as a model of others."""

_UNFIT = frozenset('/\\:*?"<>|+@')
"""What a stage's name cannot have: it is that of a folder, and a model of other recipes."""


@dataclass(frozen=True)
class Stage:
    """One merge of several, and what it is called; the last one, which gives the output, need not have a name."""

    name: str | None
    read: Read
    file: Path
    needs: tuple[str, ...]
    """The stages whose results are among its models."""

    @property
    def title(self) -> str:
        """What it is called in messages."""
        return "the last stage" if self.name is None else f"stage {self.name!r}"

    def recipe(self, place: Callable[[str], Path]) -> Recipe:
        """The recipe, with the results of other stages where ``place`` says.

        Raises:
            RecipeError: a key is unknown, or a value does not fit.
        """
        located = self.read.located

        def path_of(text: str) -> str:
            if text in self.needs:
                return str(place(text))
            return text if located is None else located(text)

        return recipe_of(self.read, self.file, path_of)


def is_staged(path: Path) -> bool:
    """Whether a file holds several recipes, or one with a name.

    Raises:
        RecipeError: it cannot be read.
    """
    documents = documents_of(path)
    return len(documents) > 1 or any(isinstance(given, Mapping) and NAME in given for given, _ in documents)


def read_stages(path: Path) -> tuple[Stage, ...]:
    """Every stage of a file, each after those that it needs.

    Raises:
        RecipeError: the file cannot be read, a stage is not named as a folder can be, two have one name or none, or
            they need each other.
    """
    documents = documents_of(path)
    names: list[str | None] = []
    for given, lines in documents:
        name = _name(given, lines)
        if name in names:
            what = (
                "two documents have no name: one gives the output" if name is None else f"two stages are named {name!r}"
            )
            raise lines.error(() if name is None else (NAME,), what)
        names.append(name)
    known = [name for name in names if name is not None]
    stages = []
    for name, (given, lines) in zip(names, documents, strict=True):
        read = read_document({key: value for key, value in given.items() if key != NAME}, lines)
        paths = dict.fromkeys(_paths(read.given))
        for text in paths:
            _refuse_unknown(text, known, lines)
        used = [text for text in paths if text in known]
        if name in used:
            raise lines.error((NAME,), f"{name!r} is a model of itself")
        stages.append(Stage(name, read, path, tuple(used)))
    return _in_order(stages, path)


def _name(given: Any, lines: Lines) -> str | None:
    if not isinstance(given, Mapping):
        raise RecipeError("a recipe must be a mapping of keys to values", file=lines.file, hint="see docs/recipes.md")
    if NAME not in given:
        return None
    name = given[NAME]
    if (
        not isinstance(name, str)
        or not name.strip(". ")
        or _UNFIT & set(name)
        or not name.isprintable()
        or len(name) > 100
    ):
        raise lines.error(
            (NAME,), f"a stage is named as a folder can be, without {' '.join(sorted(_UNFIT))}, got {name!r}"
        )
    return name


def _paths(given: Any, key: str = "") -> list[str]:
    """Every path of a model in a recipe of our form."""
    if isinstance(given, Mapping):
        return [path for name, item in given.items() for path in _paths(item, str(name))]
    if isinstance(given, list | tuple):
        return [path for item in given for path in _paths(item, "path" if key == "models" else key)]
    return [given] if key in ("base", "path") and isinstance(given, str) else []


def _refuse_unknown(text: str, known: Sequence[str], lines: Lines) -> None:
    """Refuse a model that looks like a stage's name, but is neither a stage nor a folder."""
    folder = Path() if lines.file is None else lines.file.parent
    if (
        known
        and text not in known
        and "/" not in text
        and not any((place / text).exists() for place in (Path(), folder))
    ):
        raise RecipeError(f"no stage is named {text!r}, and no folder{nearest(text, list(known))}", file=lines.file)


def _in_order(stages: Sequence[Stage], path: Path) -> tuple[Stage, ...]:
    """The stages, each after those that it needs, otherwise as they are written."""
    waiting, found = list(stages), []
    while waiting:
        done = {stage.name for stage in found}
        ready = next((stage for stage in waiting if done.issuperset(stage.needs)), None)
        if ready is None:
            circle = ", ".join(repr(stage.name or "the last") for stage in waiting)
            raise RecipeError(f"the stages {circle} need each other's results: none can be first", file=path)
        waiting.remove(ready)
        found.append(ready)
    return tuple(found)
