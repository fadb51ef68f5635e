"""Where links in a folder of the Hugging Face hub's cache lead.

Source: huggingface_hub `file_download.py`: `KIND--OWNER--NAME/snapshots/REVISION/...` holds links to
`KIND--OWNER--NAME/blobs/HASH`, from subfolders of the snapshot too.
"""

from __future__ import annotations

import os
from pathlib import Path

_KINDS = ("models--", "datasets--", "spaces--")


def hub_cache() -> Path:
    """The folder of the hub's cache. Source: huggingface_hub `constants.py`."""
    if given := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(os.path.expanduser(os.path.expandvars(given)))  # noqa: PTH111 - as it is, where the user is unknown
    home = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(os.path.expanduser(os.path.expandvars(home))) / "hub"  # noqa: PTH111


def snapshots_of(repository: str) -> Path:
    """The folder of a repository's snapshots in the hub's cache."""
    return hub_cache() / f"models--{repository.replace('/', '--')}" / "snapshots"


def may_link_to(folder: Path, target: Path) -> bool:
    """Whether a file of a model's folder may be a link to the target: into the folder, or to a blob of its own cache.

    Both paths are resolved. The folder is a snapshot, or lies in one at any depth.
    """
    return target.is_relative_to(folder) or target.parent == blobs_of(folder)


def blobs_of(folder: Path) -> Path | None:
    """The blobs of the repository whose cached snapshot a resolved folder is or lies in; None for all other folders."""
    for place in (folder, *folder.parents):
        repository = place.parent.parent
        if place.parent.name == "snapshots" and repository.name.startswith(_KINDS):
            return repository / "blobs"
    return None
