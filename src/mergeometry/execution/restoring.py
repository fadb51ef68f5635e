"""The outcome of a tensor that an earlier run finished, from its entries in the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mergeometry.digests import algorithm_of
from mergeometry.execution.compute import Outcome

_READER = TypeAdapter(Outcome)


def restored(name: str, entries: Sequence[Mapping[str, Any]]) -> Outcome | None:
    """The outcome that all ``entries`` of a task's outputs hold; None if they are of another form, or disagree."""
    with suppress(ValidationError, TypeError, KeyError):
        outcomes = [_READER.validate_python(entry["outcome"]) for entry in entries]
        first = outcomes[0]
        whole = first.name == name and list(first.written) == [entry["digest"] for entry in entries]
        whole = whole and all(algorithm_of(digest) for *_, digest in first.read)
        if whole and all(one == first for one in outcomes):
            # The memory of the earlier run does not count towards this one.
            return replace(first, peak_memory=0)
    return None
