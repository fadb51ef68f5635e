"""Finds models in the hub's cache, without the network."""

from __future__ import annotations

import os
from pathlib import Path

from mergeometry.conventions.hub_cache import snapshots_of
from mergeometry.errors import SourceError
from mergeometry.hub_names import HubReference
from mergeometry.regular_files import read_regular
from mergeometry.sources.hub.repository import COMMIT, DEFAULT_REVISION

_REFERENCE_BYTES = 100
"""Most of a file that holds a commit."""
_TRUE = ("1", "ON", "YES", "TRUE")


def cached_snapshot(reference: HubReference) -> Path:
    """The folder of a model in the hub's cache, at the commit that its revision meant when it was last asked for.

    Raises:
        SourceError: it is not there.
    """
    snapshots = snapshots_of(reference.repository)
    revision = reference.revision or DEFAULT_REVISION
    if not snapshots.is_dir():
        raise _missing(reference, "the model is not in the hub's cache")
    commit = revision
    if not COMMIT.fullmatch(revision):
        try:
            held = read_regular(snapshots.parent / "refs" / revision, _REFERENCE_BYTES)
            commit = held.decode("ascii", "replace").strip()
        except OSError as error:
            raise _missing(reference, f"the hub's cache does not know the revision {revision!r}") from error
    snapshot = snapshots / commit
    if not COMMIT.fullmatch(commit) or not (snapshot / reference.folder).is_dir():
        raise _missing(reference, f"the hub's cache lacks the files of commit {commit[:40]!r}")
    return snapshot / reference.folder


def has_snapshot(reference: HubReference) -> bool:
    """Whether the hub's cache holds a snapshot of the repository."""
    return snapshots_of(reference.repository).is_dir()


def is_offline() -> bool:
    """Whether the environment forbids the network to the hub's library (HF_HUB_OFFLINE)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE


def _missing(reference: HubReference, what: str) -> SourceError:
    return SourceError(
        what, file=str(reference), hint="run once without --offline (and HF_HUB_OFFLINE), where there is a network"
    )
