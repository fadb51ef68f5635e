"""What a caller adds to a merge's output in addition to the weights: files, heads, and entries of the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mergeometry.deferred import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Extras:
    """Files by name, head tensors by model, a summary for the run record and notes for the user.

    ``identity`` is the digest of all that they depend on beyond recipe and inputs: an interrupted merge
    continues only if it is the same.
    """

    identity: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    heads: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    summary: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the model's config.json that have another value in the output."""
    data: Mapping[str, Any] | None = None
    """The run record's entry on the unlabelled inputs that the models were run on before the merge."""
    residuals: Mapping[str, Any] = field(default_factory=dict)
    """The run record's entries on the residuals by model."""


NOTHING = Extras()
