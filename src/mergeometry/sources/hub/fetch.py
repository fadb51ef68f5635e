"""Fetches a model's files into the hub's own cache, where other libraries find them, and checks them by hash."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mergeometry.cache import cache_folder, made_in_cache
from mergeometry.conventions.hub_cache import hub_cache, snapshots_of
from mergeometry.errors import SourceError
from mergeometry.sources.access import ShowBytes
from mergeometry.sources.hub.client import download, library
from mergeometry.sources.hub.repository import COMMIT, DEFAULT_REVISION, HubModel


def fetched(models: Sequence[tuple[HubModel, Sequence[str]]], show: ShowBytes | None = None) -> list[Path]:
    """Fetch the named files of each model and return each one's folder.

    What is in the cache stays as it is. A file that git-lfs stores, and is fetched here, must have the hash that the
    hub announced.

    Raises:
        SourceError: the hub is not reached or refuses, the disk is too small, or a file is not what was announced.
    """
    wanted = [(model, name) for model, names in models for name in names]
    missing = sum(model.files[name].size for model, name in wanted if not _is_here(model, name))
    total = sum(model.files[name].size for model, name in wanted)
    if missing:
        _refuse_small_disk(missing)
    done = 0
    for model, name in wanted:
        size = model.files[name].size
        bar = None if show is None else _bar(library(model.reference), show, name, done, total)
        _fetch(model, name, bar)
        done += size
        if show is not None:
            show(name, done, total)
    for model, _ in models:
        _remember(model)
    return [_snapshot(model) / model.reference.folder for model, _ in models]


def _remember(model: HubModel) -> None:
    """Note in the cache, as the hub's library does, which commit a branch or tag means: it is found offline by that."""
    revision = model.reference.revision or DEFAULT_REVISION
    if COMMIT.fullmatch(revision):
        return
    note = snapshots_of(model.repository).parent / "refs" / revision
    note.parent.mkdir(parents=True, exist_ok=True)
    staged = note.with_name(f".{note.name}.{os.getpid()}")
    staged.write_text(model.commit)
    staged.replace(note)


def _fetch(model: HubModel, name: str, bar: type[Any] | None) -> None:
    digest = model.files[name].sha256
    if digest is None:
        download(model, name, bar)
        return
    unchecked = cache_folder() / "hub-unchecked" / digest
    if _is_here(model, name) and not unchecked.exists():
        return
    with _marked(unchecked):
        path = download(model, name, bar)
        if _sha256(path) != digest:
            blob = path.resolve()
            path.unlink()
            blob.unlink(missing_ok=True)
            raise SourceError(
                "the file that was fetched is not the one that the hub announced: its sha256 differs",
                file=f"{model.reference}: {name}",
                hint="it was removed from the cache; run again to fetch it anew",
            )


@contextmanager
def _marked(unchecked: Path) -> Iterator[None]:
    """Leave a mark while a file is fetched and checked, which a crash leaves behind; an error takes the file along."""
    (made_in_cache(unchecked.parent) / unchecked.name).touch()
    yield
    unchecked.unlink(missing_ok=True)


def _snapshot(model: HubModel) -> Path:
    return snapshots_of(model.repository) / model.commit


def _is_here(model: HubModel, name: str) -> bool:
    return (_snapshot(model) / model.reference.folder / name).exists()


def _refuse_small_disk(missing: int) -> None:
    cache = hub_cache()
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free
    if free < missing:
        raise SourceError(
            f"{missing:,} bytes are to be fetched, and the disk has {free:,} free",
            file=cache,
            hint="set HF_HOME to a folder on a larger disk",
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bar(hub: Any, show: ShowBytes, name: str, before: int, total: int) -> type[Any]:
    """A progress bar of the hub's library that hands on what is done."""

    class Bar(hub.utils.tqdm):
        def __init__(self, *given: Any, **options: Any) -> None:
            self._done = int(options.get("initial") or 0)
            super().__init__(*given, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            self._done += int(n or 0)
            show(name, before + self._done, total)
            return None

    return Bar
