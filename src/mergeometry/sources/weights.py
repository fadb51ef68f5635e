"""The safetensors files of one folder that make up one set of weights: a single file, or shards with an index."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mergeometry.conventions.adapters import foreign_adapter
from mergeometry.conventions.folders import LIBRARY_FILES, Kind, is_variant, kind_of_file, stem_of
from mergeometry.errors import SourceError
from mergeometry.sources.header import Header, read_header
from mergeometry.sources.index import check_index_agrees, check_shards_exist, listing, read_index
from mergeometry.sources.kinds import CONVERT_HINT, PICKLE_SUFFIXES
from mergeometry.sources.tensors import TensorInfo

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
ADAPTER_FILE = "adapter_model.safetensors"
_INDEX_SUFFIX = ".safetensors.index.json"


def read_weights(folder: Path, root: Path) -> tuple[dict[Path, Header], Path]:
    """Read the headers of a folder's weights, by file, and return them with the file or index that named them.

    ``root`` is the model's own folder, which links may not leave.

    Raises:
        SourceError: there are no weights or several, or a file is missing, malformed or hostile.
    """
    index, single = find_weights(folder)
    if single is not None:
        return {single: read_header(single, root)}, single
    assert index is not None
    weight_map = read_index(index, root)
    shards = sorted(set(weight_map.values()))
    check_shards_exist(folder, shards, index)
    headers = {folder / shard: read_header(folder / shard, root) for shard in shards}
    holders: dict[str, list[str]] = {}
    for file, header in headers.items():
        for name in header.tensors:
            holders.setdefault(name, []).append(file.name)
    check_index_agrees(weight_map, holders, index)
    return headers, index


def has_weights(folder: Path) -> bool:
    """Whether a folder holds weights, readable or not."""
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return False
    return any(kind_of_file(name).kind in (Kind.WEIGHTS, Kind.COPY, Kind.PART, Kind.UNREAD) for name in names)


def find_weights(folder: Path) -> tuple[Path | None, Path | None]:
    """Return the folder's index or its single weights file, whichever it has.

    Raises:
        SourceError: there are no weights or several.
    """
    names = sorted(entry.name for entry in os.scandir(folder))
    if SINGLE_FILE in names and INDEX_FILE in names:
        raise SourceError(
            f"the folder holds both {SINGLE_FILE} and {INDEX_FILE}, which may be different models",
            file=folder,
            hint="remove the one that is out of date",
        )
    if SINGLE_FILE in names:
        return None, folder / SINGLE_FILE
    if INDEX_FILE in names:
        return folder / INDEX_FILE, None
    weights = _main([name for name in names if kind_of_file(name).kind is Kind.WEIGHTS])
    indexes = [name for name in weights if name.endswith(_INDEX_SUFFIX)]
    if len(indexes) == 1:
        return folder / indexes[0], None
    singles = [name for name in weights if not name.endswith(".json")]
    if len(singles) == 1 and not indexes:
        return None, folder / singles[0]
    if indexes or singles:
        raise SourceError(
            f"the folder holds several files that could be the model: {listing(indexes or singles)}",
            file=folder,
            hint=f"give one of them, or add the {INDEX_FILE} of the shards",
        )
    raise _no_weights(folder, names)


def _main(names: list[str]) -> list[str]:
    """The files without variants of others, and without copies under the names of another library."""
    stems = {stem_of(name) for name in names}
    plain = [name for name in names if not any(is_variant(name, stem) for stem in stems)]
    others = [name for name in plain if stem_of(name) not in LIBRARY_FILES]
    return others or plain


def refuse_foreign_adapter(tensors: Mapping[str, TensorInfo]) -> None:
    """Raise SourceError if the tensors are those of an adapter, which is named."""
    if found := foreign_adapter(tensors):
        name, kind = found
        raise SourceError(
            f"the weights are {kind.kind}, not a model", file=tensors[name].file, tensor=name, hint=kind.hint
        )


def _no_weights(folder: Path, names: list[str]) -> SourceError:
    for name in names:
        if name.lower().endswith(".safetensors"):
            refuse_foreign_adapter(read_header(folder / name, folder).tensors)
    pickles = [name for name in names if name.lower().endswith((*PICKLE_SUFFIXES, ".bin.index.json"))]
    if pickles:
        return SourceError(
            f"the folder holds pickled weights only ({listing(pickles)}); they are never read: opening them runs code",
            file=folder,
            hint=CONVERT_HINT,
        )
    quantised = [name for name in names if name.lower().endswith(".gguf")]
    if quantised:
        return SourceError(
            f"the folder holds GGUF files only ({listing(quantised)})",
            file=folder,
            hint="give the file itself, and write `dequantise: true`; or de-quantise it to safetensors first",
        )
    adapters = [name for name in names if (folder / name / "adapter_config.json").is_file()]
    if adapters:
        return SourceError(
            f"the folder holds no weights itself, and adapters in {listing(adapters)}",
            file=folder,
            hint=f"give the adapter's own folder, such as {folder / adapters[0]}",
        )
    if "model_index.json" in names:
        parts = [name for name in names if (folder / name / "config.json").is_file()]
        return SourceError(
            f"the folder is a diffusers pipeline of several models ({listing(parts)})",
            file=folder,
            hint="merge its models one by one: give the folder of each, such as the one of its unet or transformer",
        )
    return SourceError("the folder holds no *.safetensors file", file=folder, hint="give the model's own folder")
