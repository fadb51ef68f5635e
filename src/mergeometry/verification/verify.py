"""Hashes an output again and lists what is not as its run record says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mergeometry.digests import algorithm_of
from mergeometry.errors import SourceError
from mergeometry.sink import RunRecord, read_record, weights_digest
from mergeometry.sink.target import ATTESTATIONS, is_single_file, record_path, resolved_target
from mergeometry.sources.header import Header, read_header
from mergeometry.verification.hashing import Hasher
from mergeometry.verification.inputs import InputCheck
from mergeometry.verification.result import Difference, Verification

Progress = Callable[[str, int, int], None]
"""Called with what is hashed, the bytes done, and the bytes of all."""

_HEADS = "heads/"
_UNHASHED = "this version's records say no digest of"


def verify(
    output: str | Path,
    *,
    inputs: bool = False,
    key: str | Path | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Hash an output again, and with ``inputs`` the models that it was merged from, and compare with its run record.

    Every tensor and every file that differs, is missing, or was added is listed; nothing is written. With the public
    ``key`` of a signer, the output's signature has to hold too (extra `signing`).

    Raises:
        SourceError: there is no run record, or it is malformed, or the key cannot be read.
        MergeometryError: a key is given, and the extra is not installed.
    """
    target = resolved_target(output)
    record = read_record(target)
    found = dict(_files_of(target, record))
    check = InputCheck(record) if inputs else None
    hasher = Hasher(sum(_size(path) for path in found.values()) + (check.nbytes if check else 0), progress)
    differences = [*_of_the_record(record), *_of_the_names(target, record, found)]
    notes: list[str] = []
    weights, others = _split(target, record, found)
    differences += _of_weights(record, weights, hasher)
    for name, path in others.items():
        differences += _of_file(record, name, path, hasher, notes)
    if key is not None:
        from mergeometry.verification.signatures import signature_differences  # noqa: PLC0415  (an extra)

        differences += signature_differences(target, key)
    if check is not None:
        differences += check.differences(hasher)
        notes += check.notes
    return Verification(
        output=str(target),
        differences=tuple(differences),
        files=len(found),
        tensors=len(record.tensors),
        inputs=check.count if check else 0,
        bytes_hashed=hasher.done,
        notes=tuple(notes),
    )


def _files_of(target: Path, record: RunRecord) -> Iterator[tuple[str, Path]]:
    """Everything that lies in the output, by its name there; beside a single file, only what the record names."""
    if is_single_file(target):
        # Only plain names: a record may come from anywhere.
        names = [name for name in record.files if name == Path(name).name]
        yield from ((name, target.with_name(name)) for name in names if os.path.lexists(target.with_name(name)))
        return
    for folder, below, files in os.walk(target):
        place = Path(folder)
        links = [name for name in below if (place / name).is_symlink()]
        for name in sorted([*files, *links]):
            yield (place / name).relative_to(target).as_posix(), place / name


def _size(path: Path) -> int:
    return path.lstat().st_size


def _of_the_record(record: RunRecord) -> Iterator[Difference]:
    """Whether the record agrees with itself."""
    listed = ((tensor.name, tensor.dtype, tensor.shape, tensor.digest) for tensor in record.tensors)
    algorithm = algorithm_of(record.digest)
    if record.tensors and (algorithm is None or weights_digest(listed, algorithm) != record.digest):
        yield Difference(
            "changed", "record", "mergeometry.json", "its tensors do not have the content hash that it says"
        )


def _of_the_names(target: Path, record: RunRecord, found: Mapping[str, Path]) -> Iterator[Difference]:
    expected = {*record.files, record_path(target).name}
    for name in sorted(expected - found.keys()):
        yield Difference("missing", "file", name)
    for name in sorted(found.keys() - expected - ATTESTATIONS):
        yield Difference("extra", "file", name, "the merge did not write it")


def _split(target: Path, record: RunRecord, found: Mapping[str, Path]) -> tuple[dict[str, Path], dict[str, Path]]:
    """The files of weights, whose tensors have digests of their own, and the other files that the merge wrote."""
    own = {name: path for name, path in found.items() if name in record.files}
    weights = {name: path for name, path in own.items() if _is_weights(record, name)}
    return weights, {name: path for name, path in own.items() if name not in weights and path != record_path(target)}


def _is_weights(record: RunRecord, name: str) -> bool:
    if record.contents:
        return "header_digest" in _entry(record, name)
    return name.endswith(".safetensors") and not name.startswith(_HEADS)


def _entry(record: RunRecord, name: str) -> Mapping[str, Any]:
    entry = record.contents.get(name, {})
    return entry if isinstance(entry, Mapping) else {}


def _of_weights(record: RunRecord, weights: Mapping[str, Path], hasher: Hasher) -> Iterator[Difference]:
    """Every tensor by its own digest, and every byte around them by that of the header."""
    expected = {tensor.name: tensor for tensor in record.tensors}
    unseen, whole = dict(expected), True
    for name, path in weights.items():
        try:
            header = read_header(path, path.parent)
            if reason := _header_reason(_entry(record, name), path, header, hasher):
                yield Difference("changed", "file", name, reason)
            for tensor in header.tensors.values():
                known = unseen.pop(tensor.name, None)
                if known is None:
                    reason = "it is in two files" if tensor.name in expected else f"{name} holds it"
                    yield Difference("extra", "tensor", tensor.name, reason)
                elif (known.dtype, known.shape) != (tensor.code, tensor.shape):
                    yield Difference("changed", "tensor", tensor.name, f"it is {tensor.code} {list(tensor.shape)} now")
                elif not hasher.matches(path, tensor.start, tensor.nbytes, known.digest, tensor.name):
                    yield Difference("changed", "tensor", tensor.name, f"other values, in {name}")
        except SourceError as error:
            whole = False
            yield Difference("changed", "file", name, error.what)
    if whole and set(weights) >= {name for name in record.files if _is_weights(record, name)}:
        yield from (Difference("missing", "tensor", name) for name in unseen)


def _header_reason(entry: Mapping[str, Any], path: Path, header: Header, hasher: Hasher) -> str:
    """Why a file of weights is not the one that was written, apart from its tensors' values."""
    size, first = _size(path), min((info.start for info in header.tensors.values()), default=0)
    if entry.get("bytes", size) != size:
        return f"it has {size:,} bytes, and had {entry['bytes']}"
    digest = entry.get("header_digest")
    if isinstance(digest, str) and not hasher.matches(path, 0, first, digest, path.name):
        return "another header: names, shapes, order or metadata"
    return ""


def _of_file(record: RunRecord, name: str, path: Path, hasher: Hasher, notes: list[str]) -> Iterator[Difference]:
    """A file next to the weights."""
    entry, size = _entry(record, name), _size(path)
    copied = {file.name: file.digest for file in record.sidecars.copied}
    digest = entry.get("digest", copied.get(name))
    try:
        if entry.get("bytes", size) != size:
            yield Difference("changed", "file", name, f"it has {size:,} bytes, and had {entry['bytes']}")
        elif not isinstance(digest, str):
            notes.append(f"{_UNHASHED} {name}")
        elif not hasher.matches(path, 0, size, digest, name):
            yield Difference("changed", "file", name, "other bytes")
    except SourceError as error:
        yield Difference("changed", "file", name, error.what)
