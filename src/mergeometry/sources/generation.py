"""Reads how a model generates texts: its generation_config.json."""

from __future__ import annotations

from typing import Any

from mergeometry import limits
from mergeometry.sources.adapter import Adapter
from mergeometry.sources.checkpoint import Checkpoint
from mergeometry.sources.files import read_small
from mergeometry.strict_json import parse_object

GENERATION_FILE = "generation_config.json"


def read_generation(model: Checkpoint | Adapter) -> dict[str, Any]:
    """The settings in the folder of a model's encoder; empty where there are none.

    Raises:
        SourceError: the file is malformed, too large, or a link out of the model.
    """
    parts = model.parts if isinstance(model, Checkpoint) else ()
    path = model.path / next((part.folder for part in parts if not part.prefix), "") / GENERATION_FILE
    if not path.exists():
        return {}
    raw = read_small(path, model.path, limits.JSON_BYTES, GENERATION_FILE)
    return parse_object(raw, path, GENERATION_FILE, nesting=limits.JSON_NESTING, finite=False)
