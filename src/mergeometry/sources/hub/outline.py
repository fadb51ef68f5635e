"""Writes the outline of a model on the hub: its small files, and its weights as headers alone.

A file of weights in an outline has the size and the header of the real one, and no data: a hole in a sparse file. All
else is as in the hub's cache, so that whatever plans a merge from headers reads an outline like any folder. Nothing may
read values from it; `close_outline` sees to that.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from mergeometry import limits
from mergeometry.conventions.folders import Kind, kind_of_file
from mergeometry.conventions.hub_cache import snapshots_of
from mergeometry.conventions.modules import MODULES_FILE, modules_of
from mergeometry.errors import SourceError
from mergeometry.sources.files import read_small
from mergeometry.sources.hub.client import download, first_bytes
from mergeometry.sources.hub.repository import HubModel
from mergeometry.sources.index import read_index
from mergeometry.sources.pickles.find import pickles_among
from mergeometry.sources.weights import ADAPTER_FILE, find_weights, has_weights
from mergeometry.strict_json import parse_json

_SMALL = (Kind.TOKENIZER, Kind.TEMPLATE, Kind.CONFIGURATION, Kind.DOCUMENT)
_SETTINGS = "adapter_config.json"
_INDEX_END = ".safetensors.index.json"
_WEIGHTS_END = ".safetensors"
_FIRST_READ = 1 << 16
"""Bytes that the first request asks for; the headers of most files fit."""
_MOST_UNNAMED = 8
"""Headers that are fetched where nothing says which file is the model."""


def write_outline(model: HubModel, parent: Path) -> Path:
    """Write the outline of a model below ``parent`` and return its folder.

    Raises:
        SourceError: the hub is not reached, refuses, or sends something else than it announced.
    """
    root = parent / snapshots_of(model.repository).parent.name / "snapshots" / model.commit
    folder = root / model.reference.folder
    for name, file in model.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as empty:
            empty.truncate(file.size)
    if MODULES_FILE in model.files:
        _copy(model, MODULES_FILE, folder)
    places = places_of(folder)
    for name in small_files(model, places):
        _copy(model, name, folder)
    for name in weight_files(model, folder, places):
        write_header(model, name, folder / name)
    return folder


def close_outline(folder: Path) -> None:
    """Empty the files of weights, so that whatever would read a value from them is refused."""
    for path in folder.rglob(f"*{_WEIGHTS_END}"):
        os.truncate(path, 0)


def small_files(model: HubModel, places: Collection[str]) -> Iterator[str]:
    """The files next to the weights that a merge reads or copies, in the model's folder and those of its modules."""
    for name, file in model.files.items():
        place, _, own = name.rpartition("/")
        if place not in places or not (
            own == _SETTINGS or own.endswith(_INDEX_END) or kind_of_file(own).kind in _SMALL
        ):
            continue
        if file.size > limits.SIDECAR_BYTES:
            raise SourceError(
                f"the file has {file.size:,} bytes; at most {limits.SIDECAR_BYTES:,} are fetched next to the weights",
                file=f"{model.reference}: {name}",
            )
        yield name


def pickled_files(model: HubModel) -> tuple[str, ...]:
    """The pickled weights of a model that has no others, and the small files next to them; none where it has.

    Raises:
        SourceError: several pickled files could be the model.
    """
    here = [name for name in model.files if "/" not in name]
    chosen = pickles_among(here, Path(model.place))
    if chosen is None:
        return ()
    # An index names its shards, which are called as it is.
    start = chosen.removesuffix(".bin.index.json")
    shards = [name for name in here if chosen.endswith(".json") and name.startswith(start) and name.endswith(".bin")]
    return (*small_files(model, [""]), chosen, *shards)


def write_header(model: HubModel, name: str, path: Path) -> None:
    """Fetch the header of a file of weights into its outline."""
    size = model.files[name].size
    first = first_bytes(model, name, min(size, _FIRST_READ))
    end = 8 + int.from_bytes(first[:8], "little")
    if len(first) < end <= min(size, limits.HEADER_BYTES):
        first += first_bytes(model, name, end, len(first))
    with path.open("r+b") as outline:
        outline.write(first[:end] if end <= size else first)


def places_of(folder: Path) -> list[str]:
    """The folders with files of a model: its own, and those of its modules (sentence-transformers).

    Raises:
        SourceError: modules.json is malformed.
    """
    path = folder / MODULES_FILE
    if not path.exists():
        return [""]
    raw = read_small(path, folder, limits.JSON_BYTES, MODULES_FILE)
    try:
        modules = modules_of(parse_json(raw, path, MODULES_FILE, nesting=limits.JSON_NESTING))
    except ValueError as error:
        raise SourceError(str(error), file=path) from error
    return list(dict.fromkeys(["", *(module.path for module in modules)]))


def _copy(model: HubModel, name: str, folder: Path) -> None:
    (folder / name).unlink()
    shutil.copyfile(download(model, name), folder / name)


def weight_files(model: HubModel, folder: Path, places: Collection[str]) -> Iterator[str]:
    """The files of weights whose headers decide what the model is."""
    if _SETTINGS in model.files:
        yield from (name for name in (ADAPTER_FILE,) if name in model.files)
        return
    for place in places:
        here = folder / place
        if not here.is_dir() or not has_weights(here):
            continue
        start = f"{place}/" if place else ""
        try:
            index, single = find_weights(here)
        except SourceError:
            # Whoever opens the outline says the same; headers tell what the files are.
            found = [name for name in model.files if name.endswith(_WEIGHTS_END) and name.rpartition("/")[0] == place]
            yield from found[:_MOST_UNNAMED]
            continue
        if single is not None:
            yield start + single.name
        else:
            assert index is not None
            shards = sorted(set(read_index(index, folder).values()))
            yield from (start + shard for shard in shards if start + shard in model.files)
