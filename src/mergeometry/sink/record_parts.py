"""What a run record is made of: inputs, methods, tensors, totals, and the files next to the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from mergeometry.sink.fields import Fields


@dataclass(frozen=True, slots=True)
class InputRecord:
    """One model that went in; ``digest`` is the content hash of its weights, empty where they are not read.

    ``role`` is base or model.
    """

    label: str
    role: str
    path: str
    kind: str
    digest: str
    repository: str = ""
    """Its repository on the hub; empty where it does not come from there."""
    commit: str = ""

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``asdict`` wrote; ``SourceError`` if a field is missing or of another type."""
        fields = Fields(value, "an input")
        told = (key for key in ("repository", "commit") if key in value)
        texts = (fields.text(key) for key in ("label", "role", "path", "kind"))
        return cls(*texts, digest=digest_of(fields), **{key: fields.text(key) for key in told})


@dataclass(frozen=True, slots=True)
class MethodRecord:
    """One method or refinement that was used, with its parameters, its source, and how many tensors it merged."""

    name: str
    parameters: Mapping[str, Any]
    source: str
    tensors: int

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``asdict`` wrote; ``SourceError`` if a field is missing or of another type."""
        fields = Fields(value, "a method")
        return cls(fields.text("name"), fields.mapping("parameters"), fields.text("source"), fields.integer("tensors"))


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """One tensor of the output."""

    name: str
    method: str
    scale: float | None
    seconds: float
    dtype: str
    shape: tuple[int, ...]
    digest: str
    notes: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    """Weights, scale and parameters here, where the recipe has more than one number for them."""

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``to_json`` wrote; ``SourceError`` if a field is missing or of another type."""
        fields = Fields(value, "a tensor")
        return cls(
            fields.text("name"),
            fields.text("method"),
            None if fields.is_null("scale") else fields.number("scale"),
            fields.number("seconds"),
            fields.text("dtype"),
            fields.integers("shape"),
            digest_of(fields),
            fields.texts("notes"),
            fields.mapping("values") if "values" in value else {},
        )


@dataclass(frozen=True, slots=True)
class Totals:
    """Time, memory and bytes that the run took."""

    seconds: float
    peak_memory: int
    bytes_read: int
    bytes_written: int

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``asdict`` wrote; ``SourceError`` if a field is missing or of another type."""
        fields = Fields(value, "the totals")
        counts = (fields.integer(key) for key in ("peak_memory", "bytes_read", "bytes_written"))
        return cls(fields.number("seconds"), *counts)


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """One file copied from the base, with what was changed in it."""

    name: str
    digest: str
    changes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``asdict`` wrote; ``SourceError`` if a field is missing or of another type."""
        fields = Fields(value, "a copied file")
        return cls(fields.text("name"), digest_of(fields), fields.texts("changes"))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One file of the base that was not copied, and why."""

    name: str
    reason: str

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``asdict`` wrote; ``SourceError`` if a field is missing or of another type."""
        fields = Fields(value, "a file left out")
        return cls(fields.text("name"), fields.text("reason"))


@dataclass(frozen=True, slots=True)
class SidecarRecord:
    """What happened to the files next to the base's weights."""

    copied: tuple[CopiedFile, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``asdict`` wrote; ``SourceError`` if a field is missing or of another type."""
        fields = Fields(value, "the sidecars")
        return cls(
            fields.each("copied", CopiedFile.from_json),
            fields.each("left_out", LeftOut.from_json),
            fields.texts("notes"),
        )


def digest_of(fields: Fields) -> str:
    """Return a digest, from a record of either schema."""
    if fields.has("digest"):
        return fields.text("digest")
    number = fields.text("sha256")
    return number and f"sha256:{number}"
