"""Which files of a model are its pickled weights."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from mergeometry import limits
from mergeometry.conventions.folders import Kind, kind_of_file
from mergeometry.errors import SourceError
from mergeometry.sources.files import read_small
from mergeometry.sources.index import listing
from mergeometry.sources.kinds import PICKLE_SUFFIXES

_MODEL, _ADAPTER = "pytorch_model.bin", "adapter_model.bin"
_INDEX = "pytorch_model.bin.index.json"
_KNOWN = (_MODEL, "open_clip_pytorch_model.bin", "diffusion_pytorch_model.bin")


class Pickled(NamedTuple):
    """Pickled weights: the files in one folder, and what each is called once it is converted."""

    folder: Path
    files: dict[str, str]
    is_sharded: bool = False


def pickled_weights(place: Path) -> Pickled | None:
    """The pickled weights at a path that has no others; None where it has safetensors, or no weights.

    Raises:
        SourceError: several files could be the model, or an index is malformed.
    """
    if place.is_file():
        found = place.name.lower().endswith(PICKLE_SUFFIXES)
        return Pickled(place.parent, {place.name: f"{place.stem}.safetensors"}) if found else None
    if not place.is_dir():
        return None
    names = [entry.name for entry in os.scandir(place) if not entry.is_dir()]
    chosen = pickles_among(names, place)
    if chosen is None:
        return None
    if chosen != _INDEX:
        return Pickled(place, {chosen: "adapter_model.safetensors" if chosen == _ADAPTER else "model.safetensors"})
    shards = _shards(place)
    targets = {name: f"model{Path(name).stem.removeprefix('pytorch_model')}.safetensors" for name in shards}
    return Pickled(place, targets, is_sharded=True)


def pickles_among(names: Collection[str], place: Path) -> str | None:
    """The pickled file, or the index of several, among the names of a folder's files; None where there are others.

    Raises:
        SourceError: several files could be the model.
    """
    if any(name.lower().endswith(".safetensors") for name in names):
        return None
    if "adapter_config.json" in names:
        return _ADAPTER if _ADAPTER in names else None
    if _INDEX in names:
        return _INDEX
    known = [name for name in _KNOWN if name in names]
    others = [
        name
        for name in sorted(names)
        if (name.lower().endswith(PICKLE_SUFFIXES) and kind_of_file(name).kind in (Kind.UNREAD, Kind.COPY))
        or name.lower().endswith((".pkl", ".pickle"))
    ]
    chosen = known or others
    if len(chosen) > 1:
        raise SourceError(
            f"the folder holds several pickled files that could be the model: {listing(chosen)}",
            file=place,
            hint="give the file itself",
        )
    return chosen[0] if chosen else None


def _shards(place: Path) -> list[str]:
    raw = read_small(place / _INDEX, place, limits.INDEX_BYTES, _INDEX)
    try:
        shards = sorted(set(json.loads(raw)["weight_map"].values()))
        plain = all(isinstance(name, str) and "/" not in name and name.endswith(".bin") for name in shards)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SourceError("the index is malformed", file=place / _INDEX) from error
    if not plain or not shards or len(shards) > limits.SHARDS:
        raise SourceError("the index names something else than *.bin files of its folder", file=place / _INDEX)
    missing = [name for name in shards if not (place / name).is_file()]
    if missing:
        raise SourceError(f"the index names files that are not there: {listing(missing)}", file=place / _INDEX)
    return shards
