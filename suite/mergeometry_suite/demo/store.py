"""What the demo's results depend on, so that none is used again after one of it has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from mergeometry.code_digest import CodeDigest
from mergeometry.methods import registry
from mergeometry.sink import versions
from mergeometry_suite.command import load_expert
from mergeometry_suite.demo.entries import Entry
from mergeometry_suite.experts import ADAPTER, HEAD

_SCORED_BY = ("mergeometry_suite.demo.work", "mergeometry_suite.demo.rows", "mergeometry.cli.merge")
"""Modules that every result goes through: its own, and the command that merges."""


def identities_of(
    tasks: Sequence[str], settings: Any, entries: Sequence[Entry | None], code: CodeDigest | None = None
) -> list[str]:
    """For each entry, or for the two ends where it is None, a digest of all that its result depends on.

    That is the code, by default what is installed, the experts, the settings, and the libraries. Editing one method
    leaves the results of others valid.
    """
    code = CodeDigest.of_installed("mergeometry", "mergeometry_suite") if code is None else code
    common = hashlib.sha256(
        json.dumps([versions(), list(tasks), settings, code.of(_SCORED_BY)], sort_keys=True).encode()
    )
    for task in tasks:
        folder = load_expert(task).folder
        for file in (folder / ADAPTER, folder / HEAD):
            common.update(hashlib.sha256(file.read_bytes()).digest())
    found = []
    for entry in entries:
        digest = common.copy()
        if entry is not None:
            method = [entry.method, entry.parameters, code.of_classes([registry.find(entry.method)])]
            digest.update(json.dumps(method, sort_keys=True).encode())
        found.append(digest.hexdigest())
    return found
