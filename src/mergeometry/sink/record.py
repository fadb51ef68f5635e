"""The run record, ``mergeometry.json``: what was merged, how, from what, and with what result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mergeometry.errors import SourceError
from mergeometry.regular_files import read_regular
from mergeometry.sink.fields import Fields
from mergeometry.sink.record_parts import (
    InputRecord,
    MethodRecord,
    SidecarRecord,
    TensorRecord,
    Totals,
    digest_of,
)
from mergeometry.sink.target import record_path

if TYPE_CHECKING:
    from mergeometry.sink.staging import Staging

SCHEMA = 2
_WITH_SHA256 = 1
"""The schema whose digests are all SHA-256, in fields of that name."""
_RECORD_BYTES = 256 * 1024 * 1024  # about 400 bytes per tensor; the largest public models have 90,000
_OPTIONAL = ("contents", "timings", "decisions", "unread", "residuals")
"""Fields that records of earlier versions lack, in their order."""


@dataclass(frozen=True, slots=True, repr=False)
class RunRecord:
    """One whole run; ``digest`` is the content hash of the output's weights, however they are sharded."""

    recipe: Mapping[str, Any]
    """The recipe as it was merged, with what it left open."""
    fingerprint: str
    """A digest of all that the weights depend on, by which `--resume` knows its own run."""
    digest: str
    """The content hash of the output's weights."""
    versions: Mapping[str, str]
    """This package, the libraries that compute, Python and the platform."""
    inputs: tuple[InputRecord, ...]
    """The base and the models, with the hashes of what was read of them."""
    methods: tuple[MethodRecord, ...]
    """The methods that merged, with their parameters, sources, and how many tensors each merged."""
    tensors: tuple[TensorRecord, ...]
    """What happened to each tensor."""
    totals: Totals
    """Bytes, seconds and peak memory of the run."""
    sidecars: SidecarRecord = field(default_factory=SidecarRecord)
    """Files next to the base's weights: which were copied and which left out."""
    warnings: tuple[str, ...] = ()
    """What a user should know of the merge, in sentences."""
    adapt: Mapping[str, Any] | None = None
    """What was learned on unlabelled data, from which data, and how it went; None where nothing was."""
    refinements: tuple[MethodRecord, ...] = ()
    """Steps that followed the merge of every matrix, in order."""
    scaling: Mapping[str, Any] | None = None
    """The rule that the scales follow, with the least, median and largest of them; None where the recipe gives them."""
    data: Mapping[str, Any] | None = None
    """Unlabelled inputs that each model was run on before the merge; None where no method needed any."""
    files: tuple[str, ...] = ()
    """Every file of the output, by which `--overwrite` tells what somebody else put there."""
    parameters: Mapping[str, int] = field(default_factory=dict)
    """Parameters merged by the method itself, by `other`, by the methods of `tensors:` rules, and copied."""
    adapter: Mapping[str, Any] | None = None
    """What an adapter holds: the rank and the energy kept of each module, what is whole and what is left out."""
    contents: Mapping[str, Any] = field(default_factory=dict)
    """Size and digest of every file but this one; of a file of weights, the digest of its header."""
    timings: Mapping[str, Any] = field(default_factory=dict)
    """Wall and processor seconds of each stage until the record was written, and how many tensors were resumed."""
    decisions: Mapping[str, Any] = field(default_factory=dict)
    """What the run chose by itself, and why: workers, routes, pairs of names, ties, tokens, files."""
    unread: Mapping[str, Any] = field(default_factory=dict)
    """Tensors of an input, by its label, that its hash does not cover, since they were not read."""
    search: Mapping[str, Any] | None = None
    """What was tried on labelled inputs, how it scored, and the choice; None without a search."""
    residuals: Mapping[str, Any] = field(default_factory=dict)
    """For each model the adapter beside the merged model: bytes, ranks, and the share kept of what the merge lost."""
    schema: int = SCHEMA

    def __repr__(self) -> str:
        return (
            f"RunRecord({len(self.tensors)} tensors by {', '.join(method.name for method in self.methods)}, "
            f"{self.totals.bytes_written:,} bytes in {self.totals.seconds:.1f} s, {len(self.warnings)} notes, "
            f"{self.digest[:20]}...)"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON values."""
        plain = asdict(self)
        for source in plain["inputs"]:
            for key in [key for key in ("repository", "commit") if not source[key]]:
                del source[key]
        for tensor in plain["tensors"]:
            if not tensor["values"]:
                del tensor["values"]
        for key in ("adapt", "data", "adapter", "search"):
            if plain[key] is None:
                del plain[key]
        if not self.refinements:
            del plain["refinements"]
        if self.scaling is None:
            del plain["scaling"]
        for key in _OPTIONAL:
            if not plain[key]:
                del plain[key]
        return {"schema": self.schema, **{key: value for key, value in plain.items() if key != "schema"}}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``to_json`` wrote; ``SourceError`` if the schema differs, or a field is missing or mistyped."""
        fields = Fields(value, "the run record")
        if (schema := fields.integer("schema")) not in (_WITH_SHA256, SCHEMA):
            raise SourceError(f"the run record has schema {schema}; this version reads schemas 1 and {SCHEMA}")
        contents, timings, decisions, unread, residuals = (
            fields.mapping(key) if key in value else {} for key in _OPTIONAL
        )
        return cls(
            fields.mapping("recipe"),
            fields.text("fingerprint"),
            digest_of(fields),
            {key: str(text) for key, text in fields.mapping("versions").items()},
            fields.each("inputs", InputRecord.from_json),
            fields.each("methods", MethodRecord.from_json),
            fields.each("tensors", TensorRecord.from_json),
            Totals.from_json(fields.mapping("totals")),
            SidecarRecord.from_json(fields.mapping("sidecars")),
            fields.texts("warnings"),
            fields.mapping("adapt") if value.get("adapt") is not None else None,
            fields.each("refinements", MethodRecord.from_json) if "refinements" in value else (),
            fields.mapping("scaling") if value.get("scaling") is not None else None,
            fields.mapping("data") if value.get("data") is not None else None,
            fields.texts("files"),
            fields.mapping("parameters"),
            fields.mapping("adapter") if value.get("adapter") is not None else None,
            contents,
            timings,
            decisions,
            unread,
            fields.mapping("search") if value.get("search") is not None else None,
            residuals,
        )


def write_record(staging: Staging, record: RunRecord) -> str:
    """Write the record into a staged output and return its digest; ``OutputError`` if that fails."""
    return staging.write_file(record_path(staging.target).name, encode_record(record))


def encode_record(record: RunRecord) -> bytes:
    """Encode a record as the file's bytes."""
    return (json.dumps(record.to_json(), indent=1, allow_nan=False) + "\n").encode()


def read_record(output: Path) -> RunRecord:
    """Read the run record of an output, a folder or one file; ``SourceError`` if it is missing or malformed."""
    path = record_path(output)
    try:
        data = read_regular(path, _RECORD_BYTES)
    except OSError as error:
        hint = "give an output that `mergeometry merge` wrote"
        raise SourceError(f"the run record cannot be read: {error.strerror}", file=path, hint=hint) from error
    try:
        return RunRecord.from_json(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise SourceError("the run record is not valid JSON", file=path) from error
    except SourceError as error:
        error.file = str(path)
        raise
