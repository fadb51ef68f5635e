"""Where an output comes from, as an in-toto statement: its files with their digests, and how they were made.

The predicate has SLSA's parts (slsa.dev/spec/v1.1/provenance): what was asked for, from what, and by whom it was made.
Its type is our own: SLSA's levels are promises of a build service, which a merge on anybody's machine cannot make.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mergeometry.errors import OutputError, listed
from mergeometry.sink import InputRecord, RunRecord, read_record
from mergeometry.sink.beside import write_beside
from mergeometry.sink.failures import explained
from mergeometry.sink.public_names import pinned_names, public_names, public_recipe
from mergeometry.sink.target import ATTESTATIONS, PROVENANCE_NAME, RECORD_NAME, is_single_file, resolved_target
from mergeometry.verification.verify import Progress, verify

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://mergeometry.github.io/mergeometry/provenance/v1"
BUILDER = "https://github.com/mergeometry/mergeometry"


def write_provenance(output: str | Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Verify an output, write the statement of its provenance into it, and return the statement.

    Raises:
        SourceError: there is no run record, or it is malformed.
        OutputError: the output is not as its record says, is one file, or cannot be written to.
    """
    target = intact_folder(output, progress)
    made = statement(target, read_record(target))
    write_beside(target / PROVENANCE_NAME, (json.dumps(made, indent=1) + "\n").encode())
    return made


def intact_folder(output: str | Path, progress: Progress | None = None) -> Path:
    """The folder of an output, once it is found to be as its record says.

    Raises:
        SourceError: there is no run record, or it is malformed.
        OutputError: the output is not as its record says, or is one file.
    """
    target = resolved_target(output)
    if is_single_file(target):
        hint = "merge into a folder: its record, its card and its weights are attested together"
        raise OutputError(
            "provenance and signatures are those of folders, and this is one file", file=target, hint=hint
        )
    found = verify(target, progress=progress)
    if not found.ok:
        raise OutputError(
            listed("the output is not as its run record says:", map(str, found.differences[:10])),
            file=target,
            hint=f"`mergeometry verify {target}` lists every difference; merge anew",
        )
    return target


def statement(target: Path, record: RunRecord) -> dict[str, Any]:
    """The statement on a folder, every file of which is hashed, but for what attests the others."""
    names = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())
    subjects = [
        {"name": name, "digest": {"sha256": _sha256(target / name)}} for name in names if name not in ATTESTATIONS
    ]
    known = public_names(record, {})
    pinned = pinned_names(record, known)
    return {
        "_type": STATEMENT,
        "subject": subjects,
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": f"{PREDICATE}#merge",
                "externalParameters": {"recipe": public_recipe(record, pinned)},
                "internalParameters": {"fingerprint": record.fingerprint, "routes": record.decisions.get("routes", {})},
                "resolvedDependencies": [_dependency(source, known[source.label]) for source in record.inputs],
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": dict(record.versions)},
                "byproducts": [one for one in subjects if one["name"] == RECORD_NAME],
            },
        },
    }


def _dependency(source: InputRecord, name: str) -> Mapping[str, Any]:
    """An input as SLSA's ResourceDescriptor; its digest is that of its tensors, so its name says whose rule it is."""
    found: dict[str, Any] = {
        "name": source.label,
        "annotations": {"role": source.role, "kind": source.kind, "model": name},
    }
    if source.repository:
        found["uri"] = f"hf://{source.repository}@{source.commit}"
    if source.digest:
        found["digest"] = {"mergeometryContent": source.digest}
    return found


def _sha256(path: Path) -> str:
    with explained("a file cannot be read", path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
