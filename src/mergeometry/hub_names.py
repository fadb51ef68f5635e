"""Names of models on the Hugging Face hub, as far as a local path or a text shows them."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import PurePath

_PART = r"[A-Za-z0-9][\w.\-]{0,95}"
_NAME = re.compile(f"{_PART}/{_PART}", re.ASCII)
_CACHED = re.compile(f"models--({_PART}?)(?:--({_PART}))?", re.ASCII)


def is_hub_name(text: str) -> bool:
    """Whether a text has the form ``owner/name``."""
    return _NAME.fullmatch(text) is not None


def cached_name(path: str) -> str | None:
    """The repository of a snapshot in the hub's cache, ``models--owner--name/snapshots/HASH``; None for other paths.

    A few old repositories have no owner.
    """
    for folder, below in pairwise(PurePath(path).parts):
        match = _CACHED.fullmatch(folder)
        if below == "snapshots" and match is not None:
            return "/".join(part for part in match.groups() if part)
    return None


def folder_name(path: str) -> str:
    """What a model's folder is called: a snapshot in the hub's cache by its repository, not by its hash."""
    cached = cached_name(path)
    return PurePath(path).name if cached is None else cached.rpartition("/")[2]
