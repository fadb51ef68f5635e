"""The place of every byte of the output, fixed before any arithmetic."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mergeometry import limits
from mergeometry.digests import Algorithm, digest_of, number_of
from mergeometry.dtypes import DTYPES, item_size
from mergeometry.errors import OutputError

_ALIGNMENT = 8
# The format's library sorts the data by this list backwards (widest first), then by name.
_ORDER = (
    "BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 I16 U16 F16 BF16 I32 U32 F32 C64 F64 I64 U64".split()  # noqa: SIM905
)
_RANK = {code: -position for position, code in enumerate(_ORDER)}


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One tensor of the output as planned."""

    name: str
    code: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its data."""
        return math.prod(self.shape) * item_size(self.code)


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one tensor's bytes in a staged file."""

    file: str
    start: int
    nbytes: int
    code: str


@dataclass(frozen=True, slots=True)
class FileLayout:
    """One weight file: its name in the folder, its first bytes, its whole size."""

    name: str
    header: bytes
    size: int


def header_entry(file: FileLayout, algorithm: Algorithm) -> dict[str, Any]:
    """What the run record says of a file of weights, whose tensors have digests of their own."""
    return {"bytes": file.size, "header_digest": digest_of(file.header, algorithm)}


@dataclass(frozen=True)
class Layout:
    """All weight files of an output, the slot of every tensor, and the shard indexes by the names of their files."""

    files: tuple[FileLayout, ...]
    slots: Mapping[str, Slot]
    indexes: Mapping[str, Mapping[str, Any]]

    @property
    def nbytes(self) -> int:
        """Bytes of all weight files."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        """Identify the layout: equal for equal tensors, sharding and metadata."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.name}\n{file.size}\n".encode() + file.header)
        return digest.hexdigest()


def lay_out(
    tensors: Sequence[OutputTensor],
    *,
    shard_size: int,
    stem: str = "model",
    metadata: Mapping[str, str] | None = None,
) -> Layout:
    """Distribute tensors over files of at most ``shard_size`` bytes, in the order of their names.

    A larger tensor gets a file of its own, as with Hugging Face. The bytes are those that the format's own library
    writes.

    Raises:
        OutputError: there are no tensors, a name occurs twice or cannot be written, a dtype is unknown, or
            ``shard_size`` is not usable.
    """
    _check(tensors, shard_size)
    shards = _shards(sorted(tensors, key=lambda tensor: tensor.name), shard_size)
    single = len(shards) == 1
    files: list[FileLayout] = []
    slots: dict[str, Slot] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"{stem}.safetensors" if single else f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors"
        ordered = sorted(shard, key=lambda tensor: (_RANK[tensor.code], tensor.name))
        header = encode_header(ordered, {"format": "pt", **(metadata or {})})
        start = len(header)
        for tensor in ordered:
            slots[tensor.name] = Slot(name, start, tensor.nbytes, tensor.code)
            start += tensor.nbytes
        files.append(FileLayout(name, header, start))
    if single:
        return Layout(tuple(files), slots, {})
    index = {
        "metadata": {"total_size": sum(tensor.nbytes for tensor in tensors)},
        "weight_map": {name: slots[name].file for name in sorted(slots)},
    }
    return Layout(tuple(files), slots, {f"{stem}.safetensors.index.json": index})


def encode_header(ordered: Sequence[OutputTensor], metadata: Mapping[str, str]) -> bytes:
    """Encode the length and the JSON header of one file whose data is in this order.

    Raises:
        OutputError: the header is larger than readers accept.
    """
    entries: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    start = 0
    for tensor in ordered:
        end = start + tensor.nbytes
        entries[tensor.name] = {"dtype": tensor.code, "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    if len(text) > limits.HEADER_BYTES:
        raise OutputError(
            f"the header of one output file would take {len(text)} bytes; at most {limits.HEADER_BYTES} are read back",
            hint="set a smaller output.shard_size",
        )
    return len(text).to_bytes(8, "little") + text


def weights_digest(entries: Iterable[tuple[str, str, Sequence[int], str]], algorithm: Algorithm) -> str:
    """Identify a model by its content: the digest of its tensors' (name, code, shape, digest), however it is sharded.

    The tensors' digests are by the same algorithm, which stands in front of them and is left out of what is hashed.
    """
    lines = sorted(json.dumps([name, code, list(shape), number_of(digest)]) for name, code, shape, digest in entries)
    return digest_of("".join(f"{line}\n" for line in lines).encode(), algorithm)


def _check(tensors: Sequence[OutputTensor], shard_size: int) -> None:
    if not tensors:
        raise OutputError("there is no tensor to write")
    if shard_size < 1:
        raise OutputError(f"a shard size of {shard_size} bytes is not usable", hint="give at least 1 byte, say 5GB")
    seen: set[str] = set()
    for tensor in tensors:
        if tensor.code not in _RANK or tensor.code not in DTYPES:
            raise OutputError(f"dtype {tensor.code} cannot be written", tensor=tensor.name)
        if tensor.name in seen:
            raise OutputError("two output tensors have the same name", tensor=tensor.name)
        if tensor.name == "__metadata__" or not _encodable(tensor.name):
            raise OutputError("the name of an output tensor cannot be written to a file", tensor=tensor.name)
        if any(size < 0 for size in tensor.shape):
            raise OutputError(f"the shape {tensor.shape} cannot be written", tensor=tensor.name)
        seen.add(tensor.name)


def _encodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shards(tensors: Sequence[OutputTensor], shard_size: int) -> list[list[OutputTensor]]:
    shards: list[list[OutputTensor]] = []
    current: list[OutputTensor] = []
    filled = 0
    for tensor in tensors:
        if tensor.nbytes > shard_size:
            shards.append([tensor])
            continue
        if current and filled + tensor.nbytes > shard_size:
            shards.append(current)
            current, filled = [], 0
        current.append(tensor)
        filled += tensor.nbytes
    return [*shards, current] if current else shards
