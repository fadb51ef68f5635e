"""Converts pickled weights to safetensors, once, in the cache; what is converted is then read like any other model."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.cache import cache_folder, made_in_cache
from mergeometry.conventions.folders import Kind, kind_of_file
from mergeometry.errors import SourceError, printable
from mergeometry.hub_names import cached_commit, cached_name
from mergeometry.intact import is_intact, note_contents
from mergeometry.sources.header import read_header
from mergeometry.sources.pickles import child
from mergeometry.sources.pickles.find import Pickled, pickled_weights

_VERSION = "2"
"""Of what a conversion gives: part of its place in the cache."""
_COPIED = (Kind.TOKENIZER, Kind.TEMPLATE, Kind.CONFIGURATION, Kind.DOCUMENT)
_SECONDS, _BYTES_PER_SECOND = 120, 5_000_000
_MOST_ENTRIES = 400_000
_ANSWER_BYTES = 1 << 16


def converted(place: Path) -> tuple[Path, tuple[str, ...]] | None:
    """A copy of the model at a path with safetensors in place of its pickles, and notes; None where it has none.

    The copy lies in the cache, under the hash of what it was made from. One whose files changed since is made again.

    Raises:
        SourceError: a file holds something else than tensors by name, or asks for more than its size explains.
    """
    found = pickled_weights(place)
    if found is None:
        return None
    digests = {name: _sha256(found.folder / name) for name in found.files}
    small = [] if place.is_file() else _small_files(place)
    key = hashlib.sha256(
        json.dumps([_VERSION, digests, [_sha256(place / name) for name in small]]).encode()
    ).hexdigest()
    folder = cache_folder() / "converted" / key[:32] / _named(place)
    notes = folder.parent / "notes.json"
    if not (notes.is_file() and is_intact(folder)):
        _convert(found, place, small, folder, notes)
    told = [f"{name} was converted to safetensors (sha256 {digest[:16]}...)" for name, digest in digests.items()]
    weights = folder / next(iter(found.files.values())) if place.is_file() else folder
    return weights, (*told, *json.loads(notes.read_text()))


def _convert(found: Pickled, place: Path, small: list[str], folder: Path, notes: Path) -> None:
    with tempfile.TemporaryDirectory(dir=made_in_cache(folder.parent), prefix=".converting-") as temporary:
        staged = Path(temporary) / "model"
        staged.mkdir()
        told: list[str] = []
        weight_map: dict[str, str] = {}
        for name, target in found.files.items():
            told += _run(found.folder / name, staged / target)
            for tensor in read_header(staged / target).tensors:
                if tensor in weight_map:
                    raise SourceError("two files hold a tensor of this name", file=found.folder / name, tensor=tensor)
                weight_map[tensor] = target
        if found.is_sharded:
            index = {"metadata": {}, "weight_map": weight_map}
            (staged / "model.safetensors.index.json").write_text(json.dumps(index))
        for name in small:
            shutil.copyfile(place / name, staged / name)
        shutil.rmtree(folder, ignore_errors=True)
        notes.unlink(missing_ok=True)
        staged.replace(folder)
        note_contents(folder)
        # The notes come last, and whole: they say that the conversion is complete.
        (Path(temporary) / "notes").write_text(json.dumps(list(dict.fromkeys(told))))
        (Path(temporary) / "notes").replace(notes)


def _run(source: Path, target: Path) -> list[str]:
    """Convert one file in a process of its own, and return its notes."""
    import torch  # noqa: PLC0415

    def refused(what: str) -> SourceError:
        return SourceError(f"the pickled file is refused: {what}", file=source)

    size = source.stat().st_size
    _refuse_bombs(source, size)
    packages = Path(torch.__file__).parents[1]
    environment = {"LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "PATH": os.defpath}
    with tempfile.TemporaryFile() as said:
        try:
            done = subprocess.run(
                [sys.executable, "-I", child.__file__, packages, source.absolute(), target.absolute()],
                stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.DEVNULL, env=environment, cwd=target.parent,
                timeout=_SECONDS + size / _BYTES_PER_SECOND, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise refused("reading it takes too long") from error
        said.seek(0)
        raw = said.read(_ANSWER_BYTES)
    try:
        answer: Any = json.loads(raw)
        notes = answer.get("notes")
    except (ValueError, AttributeError, RecursionError) as error:
        raise refused(f"its process ended with status {done.returncode}") from error
    if not isinstance(notes, list):
        raise refused(printable(str(answer.get("refused"))[:500]))
    return [f"{source.name}: {printable(str(note)[:500])}" for note in notes]


def _refuse_bombs(source: Path, size: int) -> None:
    """Torch stores entries as they are: a compressed one, or one larger than the file, is no checkpoint of its."""
    if not zipfile.is_zipfile(source):
        return
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise SourceError("the pickled file is refused: its archive is damaged", file=source) from error
    if len(entries) > _MOST_ENTRIES or sum(entry.file_size for entry in entries) > size:
        raise SourceError("the pickled file is refused: its archive says that it holds more than it has", file=source)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise SourceError("the pickled file is refused: its archive is compressed, as torch never does", file=source)


def _small_files(place: Path) -> list[str]:
    """The files next to the weights that a merge reads or copies."""
    names = sorted(entry.name for entry in os.scandir(place) if entry.is_file())
    return [
        name
        for name in names
        if (name == "adapter_config.json" or kind_of_file(name).kind in _COPIED)
        and (place / name).stat().st_size <= limits.SIDECAR_BYTES
    ]


def _named(place: Path) -> str:
    """What the copy's folder is called, so that a model of the hub is still known as one."""
    repository, commit = cached_name(str(place)), cached_commit(str(place))
    if repository and commit:
        return f"models--{repository.replace('/', '--')}/snapshots/{commit}"
    return place.stem if place.is_file() else place.name


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
