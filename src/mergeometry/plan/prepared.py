"""From a recipe whose models lie anywhere to one whose models are local, and to its plan.

What a hub holds is planned by headers first, so that a mismatch shows before gigabytes are fetched.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mergeometry.hub_names import HubReference, cached_commit, halves_of, hub_reference, is_long
from mergeometry.plan.auto import weights_unread
from mergeometry.plan.build import make_plan
from mergeometry.plan.plan import Plan
from mergeometry.recipe import Recipe
from mergeometry.sources import TensorInfo, open_model
from mergeometry.sources.access import Access, ShowBytes
from mergeometry.sources.checkpoint import is_quantised
from mergeometry.sources.equality import same_values
from mergeometry.sources.files import naming_model
from mergeometry.sources.hub import (
    HubModel,
    cached_snapshot,
    fetched,
    find_model,
    has_snapshot,
    is_offline,
    write_outline,
)
from mergeometry.sources.hub.outline import close_outline, pickled_files, places_of, small_files, weight_files
from mergeometry.sources.pickles import converted

_UNREAD_TIES = (
    "whether the halves of a tied table are equal is seen once the weights are fetched; here they are taken to be"
)


@dataclass(frozen=True, slots=True)
class LocalRecipe:
    """A recipe whose models are all local, and where those came from."""

    recipe: Recipe
    notes: tuple[str, ...] = ()


def prepared_plan(recipe: Recipe, access: Access, *, weights: bool = True, show: ShowBytes | None = None) -> Plan:
    """Plan a merge of models that may lie on the hub; without ``weights`` nothing but headers is fetched.

    A plan without weights is for reading: it cannot be carried out.

    Raises:
        MergeometryError: the recipe or an input is not usable; all mismatches are listed at once.
    """
    started, worked = time.perf_counter(), time.process_time()
    if not weights and _remote(recipe) and not (access.offline or is_offline()):
        return _outlined(recipe, access).plan
    local = local_recipe(recipe, access, show)
    plan = _noted(make_plan(local.recipe), local.notes)
    return replace(plan, planned_in=(time.perf_counter() - started, time.process_time() - worked))


def local_recipe(recipe: Recipe, access: Access, show: ShowBytes | None = None) -> LocalRecipe:
    """Fetch what a recipe names on the hub, once a plan by its headers shows that the inputs fit together.

    Raises:
        MergeometryError: the inputs do not fit together, or the hub is not reached or refuses.
    """
    remote = _remote(recipe)
    if not remote:
        return _unpickled(LocalRecipe(recipe, tuple(_shadowed(recipe))), access)
    if access.offline or is_offline():
        return _unpickled(_from_cache(recipe, remote), access)
    outline = _outlined(recipe, access, show)
    folders = fetched([(model, outline.files[path]) for path, model in outline.models.items()], show)
    placed = dict(zip(outline.models, map(str, folders), strict=True))
    return _unpickled(LocalRecipe(_placed(recipe, placed), outline.notes), access)


def local_model(path: str | Path, label: str, access: Access, show: ShowBytes | None = None) -> Path:
    """The folder of one model, fetched where the path names one on the hub.

    Raises:
        SourceError: the hub is not reached or refuses, or what it has is no model.
    """
    with naming_model(label):
        place = _one_fetched(str(path), label, access, show)
        unpickled = converted(place) if access.allow_pickle else None
        return place if unpickled is None else unpickled[0]


def _one_fetched(path: str, label: str, access: Access, show: ShowBytes | None) -> Path:
    reference = _reference(path)
    if reference is None:
        return Path(path)
    if access.offline or is_offline():
        return cached_snapshot(reference)
    model = find_model(reference)
    if access.allow_pickle and (names := pickled_files(model)):
        return fetched([(model, names)], show)[0]
    folder = write_outline(model, _temporary())
    files = _needed(model, folder, label)
    close_outline(folder)
    return fetched([(model, files)], show)[0]


def _unpickled(local: LocalRecipe, access: Access) -> LocalRecipe:
    """The recipe with copies in safetensors in place of pickled weights, where those are allowed."""
    if not access.allow_pickle:
        return local
    places, notes = dict[str, str](), list[str]()
    for path, label in _labels(local.recipe).items():
        with naming_model(label):
            if (copy := converted(Path(path))) is not None:
                places[path] = str(copy[0])
                notes += [f"{label}: {note}" for note in copy[1]]
    return LocalRecipe(_placed(local.recipe, places), (*local.notes, *notes))


@dataclass(frozen=True, slots=True)
class _Outline:
    """A plan by headers: the models of the hub by the paths that name them, and the files that each needs."""

    plan: Plan
    models: Mapping[str, HubModel]
    files: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]


def _outlined(recipe: Recipe, access: Access, show: ShowBytes | None = None) -> _Outline:
    parent, labels = _temporary(), _labels(recipe)
    models: dict[str, HubModel] = {}
    folders: dict[str, Path] = {}
    whole: dict[str, str] = {}
    files: dict[str, tuple[str, ...]] = {}
    for path, reference in _remote(recipe).items():
        with naming_model(labels[path]):
            models[path] = find_model(reference)
            if access.allow_pickle and (names := pickled_files(models[path])):
                # Their names and shapes are inside the pickle.
                files[path] = names
                whole[path] = str(fetched([(models[path], names)], show)[0])
            else:
                folders[path] = write_outline(models[path], parent)
            if recipe.dequantise and path in folders and is_quantised(folders[path]):
                # What says how they are packed lies among the weights.
                folder = folders.pop(path)
                places = places_of(folder)
                files[path] = (*small_files(models[path], places), *weight_files(models[path], folder, places))
                whole[path] = str(fetched([(models[path], files[path])], show)[0])
    notes = tuple(f"{labels[path]}: {model.note}" for path, model in models.items())
    unread: list[str] = []

    def equal(one: TensorInfo, other: TensorInfo) -> bool:
        if not one.file.is_relative_to(parent):
            return same_values(one, other)
        unread.append(_UNREAD_TIES)
        return (one.code, one.shape) == (other.code, other.shape)

    try:
        places = {**whole, **{path: str(folder) for path, folder in folders.items()}}
        local = _unpickled(LocalRecipe(_placed(recipe, places)), access)
        plan = _noted(make_plan(local.recipe, equal, weights_unread), local.notes)
        files |= {path: _needed(models[path], folder, labels[path]) for path, folder in folders.items()}
    finally:
        for folder in folders.values():
            close_outline(folder)
    return _Outline(_noted(plan, (*notes, *dict.fromkeys(unread))), models, files, notes)


def _needed(model: HubModel, folder: Path, label: str) -> tuple[str, ...]:
    """The files of a model of the hub that a merge reads."""
    weights = [str(file.relative_to(folder)) for file in open_model(folder, label).files]
    return (*small_files(model, places_of(folder)), *weights)


def _from_cache(recipe: Recipe, remote: Mapping[str, HubReference]) -> LocalRecipe:
    labels = _labels(recipe)
    placed: dict[str, str] = {}
    notes = []
    for path, reference in remote.items():
        with naming_model(labels[path]):
            placed[path] = str(cached_snapshot(reference))
        notes.append(
            f"{labels[path]}: {reference.repository}, commit {cached_commit(placed[path])}, from the hub's cache"
        )
    return LocalRecipe(_placed(recipe, placed), tuple(notes))


def _remote(recipe: Recipe) -> dict[str, HubReference]:
    """The paths of a recipe that name models on the hub; a local folder of such a name wins."""
    found = ((path, _reference(path)) for path in _labels(recipe))
    return {path: reference for path, reference in found if reference is not None}


def _reference(path: str) -> HubReference | None:
    reference = hub_reference(path)
    return None if reference is None or (not is_long(path) and os.path.lexists(path)) else reference


def _shadowed(recipe: Recipe) -> Iterator[str]:
    """Notes on local folders that are called as models in the hub's cache are."""
    for path, label in _labels(recipe).items():
        reference = hub_reference(path)
        if reference is not None and has_snapshot(reference):
            yield f"{label}: the folder {path} is taken, and not the model of this name on the hub (hf://{path})"


def _labels(recipe: Recipe) -> dict[str, str]:
    """The recipe's paths, those of models and of adapters in them, each with the first label that it has."""
    labels: dict[str, str] = {}
    for whole, label in recipe.labelled_paths().items():
        for path in _atoms(whole):
            labels.setdefault(path, label)
    return labels


def _atoms(path: str) -> tuple[str, ...]:
    """The paths that `model+adapter` is made of; a path with a plus in its name wins."""
    return (path,) if os.path.lexists(path) else halves_of(path) or (path,)


def _placed(recipe: Recipe, places: Mapping[str, str]) -> Recipe:
    return recipe.with_paths(lambda path: "+".join(places.get(atom, atom) for atom in _atoms(path)))


def _noted(plan: Plan, notes: Sequence[str]) -> Plan:
    return replace(plan, notes=(*notes, *plan.notes)) if notes else plan


def _temporary() -> Path:
    """A folder for outlines, which lasts as long as the process: a plan's configurations are read again later."""
    folder = tempfile.mkdtemp(prefix="mergeometry-outlines-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
