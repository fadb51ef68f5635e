"""Lists folders that could be the base of some models, by names and shapes of tensors; for an error to name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mergeometry.conventions.hub_cache import hub_cache
from mergeometry.errors import MergeometryError
from mergeometry.hub_names import HubReference, cached_name
from mergeometry.plan.compare import names_of, source_of
from mergeometry.plan.matching import match_names
from mergeometry.recipe import Recipe
from mergeometry.sink.target import RECORD_NAME
from mergeometry.sources import Adapter, Checkpoint, TensorInfo, open_checkpoint, open_model
from mergeometry.sources.adapter_config import CONFIG_FILE as ADAPTER_CONFIG
from mergeometry.sources.hub import cached_snapshot
from mergeometry.sources.named_base import named_base
from mergeometry.sources.updates import DenseUpdate
from mergeometry.sources.weights import has_weights

_NO_BASES = (ADAPTER_CONFIG, RECORD_NAME)
"""Files that an adapter's folder or a merge's has."""

_LOOKED_AT, _NAMED = 64, 5
"""Most folders whose headers are read, and most that are named."""


def fitting_bases(recipe: Recipe) -> list[str]:
    """Folders next to the models and snapshots in the hub's cache that every model fits onto; the models excepted."""
    models = []
    for entry in recipe.models:
        try:
            models.append(open_model(entry.path, entry.name))
        except MergeometryError:
            return []  # a merge says why it cannot be read
    given = {os.path.realpath(entry.path) for entry in recipe.models}
    found: list[str] = []
    for looked_at, place in enumerate(_places(recipe)):
        if looked_at == _LOOKED_AT or len(found) == _NAMED:
            break
        if os.path.realpath(place) in given:
            continue
        try:
            base = open_checkpoint(place, "base")
        except (MergeometryError, OSError):
            continue  # what cannot be read is no candidate
        if all(_fits(model, base) for model in models):
            found.append(str(place))
    # What names a base is a fine-tune itself, more likely than not.
    return sorted(found, key=lambda place: named_base(Path(place)) is not None)


def _places(recipe: Recipe) -> Iterator[Path]:
    parents = dict.fromkeys(Path(os.path.realpath(entry.path)).parent for entry in recipe.models if entry.path)
    for parent in parents:
        for folder in sorted(place for place in parent.iterdir() if place.is_dir()):
            if has_weights(folder) and not any(os.path.lexists(folder / name) for name in _NO_BASES):
                yield folder
    cache = hub_cache()
    for folder in sorted(cache.glob("models--*")) if cache.is_dir() else ():
        name = cached_name(str(folder / "snapshots" / "any"))
        if name is None:
            continue
        try:
            yield cached_snapshot(HubReference(name))
        except MergeometryError:
            continue


def _fits(model: Checkpoint | Adapter, base: Checkpoint) -> bool:
    """Whether every tensor of a model that the base may have is there with its shape, and most of the base's are."""
    match = match_names(base.tensors, names_of(model), ())
    if not match.pairs or (isinstance(model, Adapter) and match.extra):
        return False
    if isinstance(model, Checkpoint) and 2 * len(match.missing) > len(base.tensors):
        return False
    for name, own in match.pairs.items():
        source, shape = source_of(model, own), base.tensors[name].shape
        if isinstance(source, TensorInfo):
            if source.shape != shape:
                return False
        elif (
            source is not None
            and not isinstance(source, DenseUpdate)
            and not (source.fits(shape) or source.fits(shape[::-1]))
        ):
            return False
    return True
