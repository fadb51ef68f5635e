"""Full checkpoints: one safetensors file, or shards with an index, and their config.json."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.errors import SourceError, printable
from mergeometry.sources.files import located, naming_model, read_small
from mergeometry.sources.header import Header, read_header
from mergeometry.sources.index import check_index_agrees, check_shards_exist, listing, read_index
from mergeometry.sources.kinds import CONVERT_HINT, PICKLE_SUFFIXES, refuse_suffix
from mergeometry.sources.strict_json import parse_object
from mergeometry.sources.tensors import TensorInfo

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
CONFIG_FILE = "config.json"
ADAPTER_FILE = "adapter_model.safetensors"
_SINGLE_SUFFIX, _INDEX_SUFFIX = ".safetensors", ".safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A full model on disk: where each of its tensors lies, in order of their names; no weight is read yet."""

    path: Path
    label: str
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    config: Mapping[str, Any] | None
    files: tuple[Path, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(info.nbytes for info in self.tensors.values())


def open_checkpoint(path: str | os.PathLike[str], label: str) -> Checkpoint:
    """Open a model's folder or a single safetensors file by reading headers only.

    Raises:
        SourceError: a file is missing, malformed, hostile or of a kind that is never read; the error names the label.
    """
    with naming_model(label):
        place = located(path)
        if not place.is_dir():
            refuse_suffix(place)
            if place.name == ADAPTER_FILE:
                raise SourceError(
                    "an adapter's weights mean nothing without its settings", file=place, hint="give its folder"
                )
            # Only the canonical name shows that the config.json next to it belongs to the same model.
            config = read_config(place.parent) if place.name == SINGLE_FILE else None
            return _checkpoint(place, label, {place: read_header(place)}, config)
        config = read_config(place)
        index, single = _find_weights(place)
        if single is not None:
            return _checkpoint(place, label, {single: read_header(single, place)}, config)
        assert index is not None
        weight_map = read_index(index, place)
        shards = sorted(set(weight_map.values()))
        check_shards_exist(place, shards, index)
        headers = {place / shard: read_header(place / shard, place) for shard in shards}
        holders: dict[str, list[str]] = {}
        for file, header in headers.items():
            for name in header.tensors:
                holders.setdefault(name, []).append(file.name)
        check_index_agrees(weight_map, holders, index)
        return _checkpoint(place, label, headers, config)


def read_config(folder: Path) -> dict[str, Any] | None:
    """Parse the folder's config.json, None if it is missing; SourceError if it is malformed or of a quantised model."""
    path = folder / CONFIG_FILE
    if not path.exists() and not path.is_symlink():
        return None
    raw = read_small(path, folder, limits.JSON_BYTES, CONFIG_FILE)
    # Infinity is no JSON, but published state-space models have it in their time-step limits.
    config = parse_object(raw, path, CONFIG_FILE, nesting=limits.JSON_NESTING, finite=False)
    quantization = config.get("quantization_config")
    if quantization:
        method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        raise SourceError(
            f"the model is quantised ({printable(method[:40]) if isinstance(method, str) else 'quantization_config'}); "
            "arithmetic on quantised numbers means nothing",
            file=path,
            hint="de-quantise it and save it in 16 or 32 bit first",
        )
    return config


def _checkpoint(place: Path, label: str, headers: dict[Path, Header], config: dict[str, Any] | None) -> Checkpoint:
    tensors = {name: info for header in headers.values() for name, info in header.tensors.items()}
    metadata: dict[str, str] = {}
    for header in reversed(headers.values()):
        metadata.update(header.metadata)
    return Checkpoint(
        path=place,
        label=label,
        tensors=dict(sorted(tensors.items())),
        metadata=metadata,
        config=config,
        files=tuple(headers),
    )


def _find_weights(folder: Path) -> tuple[Path | None, Path | None]:
    """Return the folder's index or its single weights file, whichever it has."""
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
    indexes = [name for name in names if name.endswith(_INDEX_SUFFIX)]
    if len(indexes) == 1:
        return folder / indexes[0], None
    singles = [name for name in names if name.endswith(_SINGLE_SUFFIX) and name != ADAPTER_FILE]
    if len(singles) == 1 and not indexes:
        return None, folder / singles[0]
    if indexes or singles:
        raise SourceError(
            f"the folder holds several files that could be the model: {listing(indexes or singles)}",
            file=folder,
            hint=f"give one of them, or add the {INDEX_FILE} of the shards",
        )
    raise _no_weights(folder, names)


def _no_weights(folder: Path, names: list[str]) -> SourceError:
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
            hint="de-quantise it to safetensors first",
        )
    return SourceError("the folder holds no *.safetensors file", file=folder, hint="give the model's own folder")
