"""What decides an output's bytes, as one digest and by its parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mergeometry.plan.plan import Plan
from mergeometry.sink import versions
from mergeometry.sources.tensors import FileStamp


class Identity(NamedTuple):
    """A run's digest, which an interrupted run must have to be continued, and a digest of each of its parts."""

    digest: str
    parts: Mapping[str, str]


def identity_of(plan: Plan, more: str = "") -> Identity:
    """Identify a run by its recipe, versions, the identity of every input file, its vocabulary, and ``more``."""
    identity = {
        "recipe": plan.recipe.canonical(),
        "versions": versions(),
        "files": sorted([str(path), *stamp] for path, stamp in files_read(plan).items()),
        **({"vocabulary": plan.vocabulary.digest} if plan.vocabulary else {}),
        **({"more": more} if more else {}),
    }
    return Identity(_digest(identity), {part: _digest(value) for part, value in identity.items()})


def files_read(plan: Plan) -> dict[Path, FileStamp]:
    """The files that a merge reads weights from, as their headers were read."""
    return {stored.file: stored.stamp for info in plan.infos() for stored in info.stored}


def fingerprint(plan: Plan, more: str = "") -> str:
    """The digest alone."""
    return identity_of(plan, more).digest


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
