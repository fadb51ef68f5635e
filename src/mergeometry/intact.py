"""Whether a folder of the cache still holds what was put there."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.regular_files import read_regular


def note_contents(folder: Path) -> None:
    """Note the size, the time and the SHA-256 of every file of a folder, in a file beside it."""
    note = _note(folder)
    staged = note.with_name(f"{note.name}.{os.getpid()}")
    staged.write_text(json.dumps(dict(sorted(_contents(folder, {}).items()))))
    staged.replace(note)


def is_noted(folder: Path) -> bool:
    """Whether the contents of a folder were noted."""
    return _note(folder).is_file()


def is_intact(folder: Path) -> bool:
    """Whether every file has the SHA-256 that was noted; only files of another size or time are hashed."""
    try:
        noted = json.loads(read_regular(_note(folder), limits.SIDECAR_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(noted, dict):
        return False
    now = _contents(folder, noted)
    digests = [{name: entry[-1] for name, entry in entries.items()} for entries in (noted, now)]
    if digests[0] != digests[1]:
        return False
    if noted != now:
        with suppress(OSError):  # a cache that cannot be written is hashed each time
            note_contents(folder)
    return True


def _contents(folder: Path, noted: dict[str, Any]) -> dict[str, list[Any]]:
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            name, state = path.relative_to(folder).as_posix(), path.stat()
            stamp, known = [state.st_size, state.st_mtime_ns], noted.get(name)
            unchanged = isinstance(known, list) and len(known) == 3 and known[:2] == stamp
            found[name] = known if unchanged else [*stamp, _sha256(path)]
    return found


def _note(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.contents.json")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
