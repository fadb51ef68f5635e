"""What the demo's results depend on, so that none is used again after one of it has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mergeometry
from mergeometry.sink import versions
from mergeometry_suite.command import load_expert
from mergeometry_suite.experts import ADAPTER, HEAD


def identity_of(tasks: Sequence[str], settings: Any) -> str:
    """Digest of all that a result depends on: this package's code, the experts, the settings, the libraries."""
    digest = hashlib.sha256(json.dumps([versions(), list(tasks), settings], sort_keys=True).encode())
    package = Path(mergeometry.__file__).parent
    files = sorted(package.rglob("*.py"))
    for task in tasks:
        folder = load_expert(task).folder
        files += [folder / ADAPTER, folder / HEAD]
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
