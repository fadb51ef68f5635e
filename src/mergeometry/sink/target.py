"""Where an output is, and what of its own lies next to it."""

from __future__ import annotations

import os
from pathlib import Path

from mergeometry.errors import OutputError
from mergeometry.sink.failures import explained
from mergeometry.working_folder import folder_for

RECORD_NAME = "mergeometry.json"
PROVENANCE_NAME = "mergeometry.intoto.json"
"""A statement of where an output comes from, by its run record."""
SIGNATURE_NAME = "model.sig"
"""A signature of every other file of an output; the name is that of the OpenSSF's model signing."""
ATTESTATIONS = frozenset({PROVENANCE_NAME, SIGNATURE_NAME})
"""What may be added to an output after the merge, since it tells of the merge."""


def resolved_target(target: Path | str) -> Path:
    """Return the target's absolute path, links in its parents resolved; ``OutputError`` if it is no path, or a root."""
    if "\0" in str(target):
        raise OutputError("the output's path holds a zero byte, which no file system takes", file=target)
    given = folder_for(str(target)) / target
    absolute = Path(os.path.abspath(given))  # noqa: PTH100 - resolve() would follow a link at the target itself
    with explained("the output's path cannot be resolved", absolute):
        path = absolute.parent.resolve() / absolute.name
    if not absolute.name:
        raise OutputError("the output cannot be a file system's root", file=absolute)
    return path


def is_single_file(target: Path) -> bool:
    """Whether the output is one safetensors file, with its run record next to it, and not a folder."""
    return target.suffix == ".safetensors" and not target.is_dir()


def record_path(target: Path) -> Path:
    """Where the run record of an output is: in its folder, or next to its file as NAME.mergeometry.json."""
    if is_single_file(target):
        return target.with_suffix(f".{RECORD_NAME}")
    return target / RECORD_NAME


def staging_folder(target: Path) -> Path:
    """Return the folder next to a resolved target in which its output is staged."""
    return target.with_name(f".{target.name}.mergeometry-staging")


def learning_folder(target: Path) -> Path:
    """Return the folder next to a resolved target in which the state of learning is kept."""
    return target.with_name(f".{target.name}.mergeometry-learning")


def search_folder(target: Path) -> Path:
    """Return the folder next to a resolved target in which the scores of a search are kept."""
    return target.with_name(f".{target.name}.mergeometry-search")


def occupied(target: Path) -> bool:
    """Whether the target is taken; an empty folder does not count, since it is replaced."""
    if target.is_symlink() or not target.is_dir():
        return os.path.lexists(target)
    with os.scandir(target) as entries:
        return next(entries, None) is not None
