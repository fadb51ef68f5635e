"""Finds the base of models that come without one: the base that their own files name, never a guess."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mergeometry.errors import RecipeError, SourceError, listed
from mergeometry.hub_names import HubReference, halves_of, hub_reference, is_long
from mergeometry.plan.fitting_bases import fitting_bases
from mergeometry.plan.likeness import base_cosine
from mergeometry.recipe import ModelEntry, Recipe
from mergeometry.sources import Checkpoint, open_model
from mergeometry.sources.files import naming_model
from mergeometry.sources.hub import cached_snapshot, fetched, find_model, has_snapshot, is_offline
from mergeometry.sources.named_base import FILES, Named, named_base
from mergeometry.sources.weights import has_weights
from mergeometry.words import counted

_UNRELATED = 0.3
"""Cosine of weights below which a model does not come from a base; fine-tunes have more than 0.9."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A model, the base that it names, and where that is: folders here, or a name on the hub."""

    label: str
    named: Named | None
    places: tuple[str, ...]


def with_base_found(recipe: Recipe, *, offline: bool = False) -> Recipe:
    """The recipe with the base that its models name, and a note that says who named it.

    A name is a folder, relative to the current folder or the model's, or a repository in the hub's cache; or one on the
    hub, where a model comes from there too.

    Raises:
        RecipeError: no model names a base that is found, or two are found; it says what was looked at, and which
            folders would fit.
        SourceError: a model cannot be read, or is no fine-tune of the base that it names.
    """
    offline = offline or is_offline()
    asked = [_asked(entry, recipe.models, offline=offline) for entry in recipe.models]
    places = list(dict.fromkeys(place for one in asked for place in one.places))
    if len(places) > 1:
        reasons = [f"{one.label}: {one.named.file} names {one.named.text!r}: {' or '.join(one.places)}"
                   for one in asked if one.named and one.places]  # fmt: skip
        raise _unknown("the base was found more than once, and only one can be taken", reasons, places)
    if not places:
        fitting = fitting_bases(recipe)
        reasons = [_not_found(one) for one in asked]
        reasons.append(
            f"folders that fit, by names and shapes of tensors: {', '.join(fitting)}"
            if fitting
            else "no folder next to the models, and no model in the hub's cache, fits by names and shapes of tensors"
        )
        raise _unknown("the base of these models was not found", reasons, [*fitting, *_on_hub(asked)])
    (base,) = places
    _refuse_unrelated(base, recipe.models)
    named = {one.named.file: one.named.text for one in asked if one.named and one.places}
    found = recipe.model_copy(update={"base": base})
    file, text = next(iter(named.items()))
    naming = counted(sum(bool(one.places) for one in asked), "model")
    found._notes = (*recipe.notes, f"base: {base}, which {file} names as {text!r} ({naming} of {len(asked)})")
    return found


def _asked(entry: ModelEntry, models: Sequence[ModelEntry], *, offline: bool) -> _Asked:
    path = entry.paths[0] if os.path.lexists(entry.paths[0]) else (halves_of(entry.paths[0]) or entry.paths)[0]
    with naming_model(entry.name):
        reference = None if not is_long(path) and os.path.lexists(path) else hub_reference(path)
        if reference is None and not os.path.lexists(path):
            raise SourceError("there is no such model", file=path, hint="give a folder or a .safetensors file")
        folder = Path(path) if reference is None else _settings_of(reference, offline=offline)
        folder = folder if folder.is_dir() else folder.parent
        named = named_base(folder)
    if named is None:
        return _Asked(entry.name, None, ())
    given = {os.path.realpath(one) for model in models for one in model.paths}
    places = [str(place) for place in _folders(named, folder) if os.path.realpath(place) not in given]
    name = hub_reference(named.text)
    if name is not None:
        name = name._replace(revision=name.revision or named.revision)
        if has_snapshot(name):
            places.append(str(cached_snapshot(name)))
        elif not places and reference is not None and not offline:
            places.append(str(name))
    unique = {os.path.realpath(place): place for place in reversed(places)}
    return _Asked(entry.name, named, tuple(reversed(unique.values())))


def _settings_of(reference: HubReference, *, offline: bool) -> Path:
    """The folder of a model of the hub, of which the files are there that may name its base."""
    if offline or has_snapshot(reference):
        return cached_snapshot(reference)
    model = find_model(reference)
    return fetched([(model, [name for name in FILES if name in model.files])])[0]


def _folders(named: Named, folder: Path) -> Iterator[Path]:
    """Folders of models that a name may mean."""
    if is_long(named.text):
        return
    try:
        wanted = Path(named.text).expanduser()
    except RuntimeError:  # the home folder of a user who is unknown
        return
    for place in dict.fromkeys((Path.cwd() / wanted, folder / wanted, folder.parent / wanted)):
        if has_weights(place) or (place.suffix == ".safetensors" and place.is_file()):
            yield Path(os.path.normpath(place))


def _refuse_unrelated(base: str, models: Sequence[ModelEntry]) -> None:
    """Refuse a base whose weights have nothing in common with those of a full model; an adapter holds none."""
    if not os.path.lexists(base):
        return
    opened = open_model(base, "base")
    for entry in models:
        if not isinstance(opened, Checkpoint) or entry.stack or not Path(entry.path).is_dir():
            continue
        model = open_model(entry.path, entry.name)
        cosine = base_cosine(opened, model) if isinstance(model, Checkpoint) else None
        if cosine is not None and cosine < _UNRELATED:
            raise SourceError(
                f"it is no fine-tune of the base that its files name, {base}: their weights have a cosine of "
                f"{cosine:.2f}, and fine-tunes have more than 0.9",
                model=entry.name,
                file=entry.path,
                hint="name the base that it was trained from: --base FOLDER",
            )


def _not_found(one: _Asked) -> str:
    if one.named is None:
        return f"{one.label}: {', '.join(FILES[:-1])} and {FILES[-1]} name no base"
    return (
        f"{one.label}: {one.named.file} names {one.named.text!r}, which is no folder here nor next to the model, and "
        "not in the hub's cache"
    )


def _on_hub(asked: Sequence[_Asked]) -> list[str]:
    """The names that models give for their base and that may be on the hub."""
    references = [hub_reference(one.named.text) for one in asked if one.named is not None]
    return list(dict.fromkeys(str(one) for one in references if one is not None))


def _unknown(what: str, reasons: Sequence[str], cures: Sequence[str]) -> RecipeError:
    cure = " or ".join(f"--base {place}" for place in dict.fromkeys(cures)) or "--base FOLDER"
    return RecipeError(listed(f"{what}:", dict.fromkeys(reasons)), hint=f"name it: {cure} (in Python: base=...)")
