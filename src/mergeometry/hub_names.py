"""Names of models on the Hugging Face hub, as far as a local path or a text shows them."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path, PurePath
from typing import NamedTuple

_PART = r"[A-Za-z0-9][\w.\-]{0,95}"
_NAME = re.compile(f"{_PART}/{_PART}", re.ASCII)
_CACHED = re.compile(f"models--({_PART}?)(?:--({_PART}))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")

_REVISION = r"refs/(?:pr|convert)/[\w.\-]+|[\w.\-]+"
_SHORT = re.compile(rf"({_PART}/{_PART})(?:@([\w./\-]{{1,255}}))?", re.ASCII)
_LONG = re.compile(rf"({_PART}(?:/{_PART})?)(?:@({_REVISION}))?(?:/([\w./\- ]+))?", re.ASCII)
_PREFIXES = ("hf://models/", "hf://", "hf-hub:", "hf_hub:", "https://huggingface.co/", "https://hf.co/")
"""`hf://` is the hub's own, `hf-hub:` that of timm and OpenCLIP; addresses are copied from a browser."""
_OTHER_KINDS = ("datasets", "spaces", "buckets")
_TREE = re.compile(r"/(?:tree|blob)/(refs/[^/]+/[^/]+|[^/]+)")


class HubReference(NamedTuple):
    """A model on the hub: its repository, a branch, tag or commit of it, and a subfolder."""

    repository: str
    revision: str | None = None
    folder: str = ""

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"hf://{self.repository}{revision}{f'/{self.folder}' if self.folder else ''}"

    @property
    def name(self) -> str:
        """What a model from there is called."""
        return (self.folder or self.repository).rpartition("/")[2]


def is_hub_name(text: str) -> bool:
    """Whether a text has the form ``owner/name``."""
    return _NAME.fullmatch(text) is not None


def hub_reference(text: str) -> HubReference | None:
    """What a text names on the hub: ``owner/name``, ``owner/name@revision``, ``hf://...``; None for other texts.

    Only the long forms may name a repository without an owner, or a subfolder.
    """
    for prefix in _PREFIXES:
        if text.startswith(prefix):
            rest = text.removeprefix(prefix).rstrip("/")
            if prefix.startswith("https://"):
                rest = _TREE.sub(r"@\1", rest, count=1)
            match = _LONG.fullmatch(rest)
            break
    else:
        match = _SHORT.fullmatch(text)
    if match is None or ".." in text or match[1].partition("/")[0] in _OTHER_KINDS:
        return None
    return HubReference(match[1], match[2], match[3] if match.lastindex == 3 else "")


def halves_of(text: str) -> tuple[str, str] | None:
    """The two paths of `MODEL+ADAPTER`; None for other texts. A path with a plus in its name is the caller's to see."""
    model, plus, adapter = text.partition("+")
    return (model, adapter) if plus and model and adapter and "+" not in adapter else None


def anchored(text: str, folder: Path) -> str:
    """The path of a model that is given relative to a folder; a name on the hub stays one where no file has it.

    Raises:
        RuntimeError: the text begins with the home folder of a user who is unknown.
    """
    if (halves := halves_of(text)) is not None and not (folder / text).exists():
        return "+".join(anchored(half, folder) for half in halves)
    reference = hub_reference(text)
    if reference is not None and (is_long(text) or not (folder / text).exists()):
        return str(reference)
    return str(folder / Path(text).expanduser())


def is_long(text: str) -> bool:
    """Whether a text says by its form that it is a name on the hub, so that it cannot be a path."""
    return text.startswith(_PREFIXES)


def cached_name(path: str) -> str | None:
    """The repository of a snapshot in the hub's cache, ``models--owner--name/snapshots/HASH``; None for other paths.

    A few old repositories have no owner.
    """
    for folder, below in pairwise(PurePath(path).parts):
        match = _CACHED.fullmatch(folder)
        if below == "snapshots" and match is not None:
            return "/".join(part for part in match.groups() if part)
    return None


def cached_commit(path: str) -> str | None:
    """The commit of a snapshot in the hub's cache; None for other paths."""
    if cached_name(path) is None:
        return None
    below = [part for above, part in pairwise(PurePath(path).parts) if above == "snapshots"]
    return next((part for part in below if _COMMIT.fullmatch(part)), None)


def folder_name(path: str) -> str:
    """What a model's folder is called: a snapshot in the hub's cache by its repository, not by its hash."""
    if (halves := halves_of(path)) is not None:
        return "+".join(map(folder_name, halves))
    reference = hub_reference(path)
    if reference is not None:
        return reference.name
    cached = cached_name(path)
    return PurePath(path).name if cached is None else cached.rpartition("/")[2]
