"""One commit of a model's repository: its files, their sizes and hashes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from mergeometry.errors import SourceError, printable
from mergeometry.hub_names import HubReference

COMMIT = re.compile(r"[0-9a-f]{40}")
DEFAULT_REVISION = "main"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST = 20_000
"""Files of one repository that are looked at; the largest public models have a few hundred."""
_LARGEST = 1 << 50


class HubFile(NamedTuple):
    """A file of a repository; those that git-lfs stores are known by their sha256."""

    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model of the hub, pinned to a commit; the names of ``files`` are relative to the reference's subfolder."""

    reference: HubReference
    repository: str
    """Its name today, which is not the reference's where it was moved."""
    commit: str
    files: Mapping[str, HubFile]

    @property
    def place(self) -> str:
        """What comes before the names of its files in the repository."""
        return f"{self.reference.folder}/" if self.reference.folder else ""

    @property
    def note(self) -> str:
        """Where it comes from, in words."""
        revision = self.reference.revision
        asked = f" ({revision})" if revision not in (None, self.commit) else ""
        moved = "" if self.repository == self.reference.repository else f", to which {self.reference.repository} moved"
        return f"{self.repository} on the hub, commit {self.commit}{asked}{moved}"


def hub_model(reference: HubReference, repository: str, commit: object, listed: Mapping[str, HubFile]) -> HubModel:
    """A model by what the hub's answer says, which is not trusted.

    Raises:
        SourceError: a name leaves the repository, a size is impossible, or there is no commit or no such subfolder.
    """

    def refused(what: str) -> SourceError:
        return SourceError(f"the hub's answer makes no sense: {what}", file=str(reference))

    if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
        raise refused("it names no commit")
    if len(listed) > _MOST:
        raise refused(f"the repository has more than {_MOST:,} files")
    for name, file in listed.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or str(path) != name or "\\" in name or not name.isprintable():
            raise refused(f"a file is named {printable(name[:200])!r}")
        if not 0 <= file.size < _LARGEST:
            raise refused(f"{name!r} has {file.size} bytes")
        if file.sha256 is not None and not _SHA256.fullmatch(file.sha256):
            raise refused(f"{name!r} has no sha256 but {printable(file.sha256[:80])!r}")
    start = f"{reference.folder}/" if reference.folder else ""
    files = {name.removeprefix(start): file for name, file in sorted(listed.items()) if name.startswith(start)}
    if not files:
        folders = sorted({name.rpartition("/")[0] for name in listed} - {""})
        hint = f"its folders are {', '.join(folders[:8])}" if folders else "the repository has no folders"
        raise SourceError(f"the repository has no folder {reference.folder!r}", file=str(reference), hint=hint)
    return HubModel(reference, repository, commit, files)
