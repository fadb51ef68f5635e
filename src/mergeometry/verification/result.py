"""What a verification finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

SCHEMA = 1

Kind: TypeAlias = Literal["changed", "missing", "extra"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One file, tensor or input that is not what the run record says."""

    kind: Kind
    what: Literal["file", "tensor", "input", "record"]
    name: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.what} {self.name}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True, slots=True)
class Verification:
    """An output held against its run record; without differences they agree."""

    output: str
    differences: tuple[Difference, ...]
    files: int
    """Files of the output that were looked at."""
    tensors: int
    """Tensors of the output that were hashed."""
    inputs: int
    """Inputs that were hashed; none unless asked for."""
    bytes_hashed: int
    notes: tuple[str, ...] = ()
    """What could not be held against the record, which does not say it."""

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"schema": SCHEMA, "ok": self.ok, **asdict(self)}
