"""Reads recipes from files, ours and mergekit's, and anchors the paths in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.errors import RecipeError
from mergeometry.hub_names import anchored, halves_of, is_long
from mergeometry.recipe.mergekit import Lines, Translation, is_mergekit, lines_of, translate
from mergeometry.recipe.yaml import parse_documents
from mergeometry.regular_files import read_regular
from mergeometry.working_folder import folder_for


@dataclass(frozen=True)
class Read:
    """A recipe as it was written, with our keys, and what to know of it."""

    given: dict[str, Any]
    located: Callable[[str], str] | None = None
    """What turns the path of a model into one that holds anywhere; None where paths stand for themselves."""
    notes: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)


def read_given(source: str | Path | Mapping[str, Any]) -> Read:
    """Read one recipe, from a file or a mapping.

    Raises:
        RecipeError: the file cannot be read, holds no recipe or several, or is a mergekit recipe that cannot be
            translated.
    """
    if isinstance(source, Mapping):
        if not is_mergekit(source):
            return Read(dict(source))
        return _translated(translate(source), "this", None)
    path = Path(source)
    documents = documents_of(path)
    if len(documents) > 1:
        hint = "`mergeometry merge` and `mergeometry plan` take several, which are the stages of a merge"
        raise RecipeError(f"the file holds {len(documents)} recipes, and one is needed here", file=path, hint=hint)
    if not documents:
        documents = [(None, Lines(path))]
    return read_document(*documents[0])


def read_document(given: Any, lines: Lines) -> Read:
    """Read one document of a file.

    Raises:
        RecipeError: it is no mapping, or a mergekit recipe that cannot be translated.
    """
    folder = Path() if lines.file is None else lines.file.parent
    if is_mergekit(given):
        return _translated(translate(given, lines), "this file" if lines.file is None else lines.file.name, folder)
    if not isinstance(given, dict):
        raise RecipeError("a recipe must be a mapping of keys to values", file=lines.file, hint="see docs/recipes.md")
    return Read(given, lambda place: anchored_model(place, folder))


def documents_of(path: Path) -> list[tuple[Any, Lines]]:
    """Every YAML document of a file, with its lines.

    Raises:
        RecipeError: the file cannot be read, is too large, or is not plain YAML.
    """
    text = text_of(path, "the recipe")
    return [(given, lines_of(node, path)) for given, node in parse_documents(text, path)]


def text_of(path: Path, what: str) -> str:
    """The text of a file that somebody wrote by hand; ``what`` it is called in an error.

    Raises:
        RecipeError: the file cannot be read, is too large, or is not UTF-8.
    """
    try:
        raw = read_regular(path, limits.RECIPE_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        # It may be read again, and a reader may wait for ever.
        hint = "save what the pipe holds as a file" if path.is_fifo() else None
        raise RecipeError(f"{what} cannot be read: {reason}", file=path, hint=hint) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{what} is not UTF-8 text", file=path) from error


def resolved(path: str, folder: Path) -> str:
    """A path of data, relative to a folder.

    Raises:
        RecipeError: it begins with the home folder of a user who is unknown.
    """
    try:
        return str(folder / Path(path).expanduser())
    except RuntimeError as error:
        raise RecipeError(f"the home folder in {path!r} is unknown", hint="write the full path") from error


def _translated(translation: Translation, name: str, folder: Path | None) -> Read:
    note = f"{name} is a mergekit recipe; `mergeometry import-recipe` prints it in our own form"
    located = None if folder is None else lambda place: _of_mergekit(place, folder)
    return Read(translation.recipe, located, (note, *translation.notes), translation.origins)


def _of_mergekit(path: str, folder: Path) -> str:
    """A model's path: mergekit's are relative to the current folder; where nothing is there, to the recipe's."""
    here = folder_for(path) / path
    if not is_long(path) and here.exists():
        return str(here)
    if (halves := halves_of(path)) is not None:
        return "+".join(_of_mergekit(half, folder) for half in halves)
    return anchored_model(path, folder)


def anchored_model(path: str, folder: Path) -> str:
    """The path of a model relative to a folder; a name on the hub stays one.

    Raises:
        RecipeError: it begins with the home folder of a user who is unknown.
    """
    try:
        return anchored(path, folder)
    except RuntimeError as error:
        raise RecipeError(f"the home folder in {path!r} is unknown", hint="write the full path") from error
