"""The index of a sharded checkpoint: which shard holds which tensor."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from mergeometry import limits
from mergeometry.errors import SourceError, printable
from mergeometry.sources.files import read_small
from mergeometry.sources.kinds import CONVERT_HINT, PICKLE_SUFFIXES
from mergeometry.strict_json import parse_object, refuse_wide

_LISTED = 20
_DRIVE = re.compile(r"[A-Za-z]:")


def read_index(path: Path, folder: Path) -> dict[str, str]:
    """Read a shard index as a map of tensor name to file name, each of which is a plain name in the folder.

    Raises:
        SourceError: the index is malformed, or a file name leads out of the folder or to pickled code.
    """
    raw = read_small(path, folder, limits.INDEX_BYTES, "shard index")
    if raw.count(b",") > 2 * limits.INDEX_ENTRIES:
        raise SourceError(f"the shard index names more than {limits.INDEX_ENTRIES:,} tensors", file=path)
    refuse_wide(raw, path, "shard index")
    document = parse_object(raw, path, "shard index", nesting=limits.JSON_NESTING)
    weight_map = document.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise SourceError("the shard index has no weight_map, or an empty one", file=path)
    if len(weight_map) > limits.INDEX_ENTRIES:
        raise SourceError(f"the shard index names more than {limits.INDEX_ENTRIES:,} tensors", file=path)
    accepted: set[str] = set()
    for name, shard in weight_map.items():
        if not isinstance(shard, str):
            raise SourceError("the weight_map must map names to file names", file=path, tensor=name)
        if shard not in accepted:
            _check_file_name(shard, path, name)
            accepted.add(shard)
            if len(accepted) > limits.SHARDS:
                raise SourceError(f"the shard index names more than {limits.SHARDS:,} files", file=path)
    return weight_map


def check_shards_exist(folder: Path, shards: Iterable[str], index: Path) -> None:
    """Raise one SourceError that lists every file of the index that is not in the folder."""
    missing = [shard for shard in shards if not (folder / shard).exists() and not (folder / shard).is_symlink()]
    if missing:
        raise SourceError(
            f"{len(missing)} of the index's files are missing: {listing(missing)}",
            file=index,
            hint="download or copy the model again; an interrupted download leaves such gaps",
        )


def check_index_agrees(weight_map: dict[str, str], holders: dict[str, list[str]], index: Path) -> None:
    """Raise one SourceError that lists every tensor on which index and shards differ.

    ``holders`` maps each tensor to the shards that hold it.
    """
    reasons = []
    for name in sorted(weight_map.keys() | holders.keys()):
        promised, actual = weight_map.get(name), holders.get(name, [])
        if promised is None:
            reasons.append(f"{name!r} is in {', '.join(actual)} but not in the index")
        elif not actual:
            reasons.append(f"{name!r} is in the index but not in {promised}")
        elif actual != [promised]:
            reasons.append(f"{name!r} should be in {promised} and is in {', '.join(actual)}")
    if reasons:
        raise SourceError(
            f"the index and the files it names differ in {len(reasons)} tensors: {listing(reasons, '; ')}", file=index
        )


def listing(items: list[str], separator: str = ", ") -> str:
    """Join the first items for an error's text, and count the rest."""
    shown = separator.join(printable(item) for item in items[:_LISTED])
    return shown if len(items) <= _LISTED else f"{shown}{separator}and {len(items) - _LISTED:,} more"


def _check_file_name(shard: str, index: Path, tensor: str) -> None:
    def refused(what: str, hint: str | None = None) -> SourceError:
        return SourceError(
            f"the index names the file {printable(shard[:200])!r}: {what}", file=index, tensor=tensor, hint=hint
        )

    if "/" in shard or "\\" in shard or _DRIVE.match(shard) or shard in ("", ".", ".."):
        raise refused("only plain names of files in the model's own folder are read")
    if len(shard.encode()) > 255 or not shard.isprintable():
        raise refused("that cannot be a file's name")
    if shard.lower().endswith(PICKLE_SUFFIXES):
        raise refused("pickled weights are never read", CONVERT_HINT)
    if not shard.endswith(".safetensors"):
        raise refused("only *.safetensors files are read")
