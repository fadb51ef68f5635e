"""What a trick is, and how one is tried: a merge of an innocent base with a hostile model, adapter or recipe."""

from __future__ import annotations

import json
import os
import struct
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import mergeometry as mg
from mergeometry.errors import MergeometryError
from tests.helpers import models

SHAPES = {"layer.0.dense.weight": (4, 3), "layer.0.dense.bias": (4,)}
TENSOR = "layer.0.dense.weight"


@dataclass(frozen=True)
class Setting:
    """Where a trick is played: the hostile model's folder, one outside of it, and a file that no code may make."""

    model: Path
    outside: Path
    canary: Path
    recipe: dict[str, Any] = field(default_factory=dict)

    def weights(self, header: bytes | dict[str, Any], data: bytes = b"", length: int | None = None) -> None:
        """Write the model's safetensors file from a raw or structured header."""
        raw = header if isinstance(header, bytes) else json.dumps(header).encode()
        size = struct.pack("<Q", len(raw) if length is None else length)
        (self.model / "model.safetensors").write_bytes(size + raw + data)


class Trick(NamedTuple):
    """A hostile file: what it tries, how it is made, and what its refusal says."""

    name: str
    tries: str
    make: Callable[[Setting], None]
    words: str
    file: str
    tensor: str | None


class Tried(NamedTuple):
    """How a trick ended."""

    error: MergeometryError | None
    seconds: float
    peak: int
    ran: bool
    published: bool


TRICKS: dict[str, Trick] = {}


def trick(words: str, *, file: str = "model.safetensors", tensor: str | None = None) -> Any:
    """Add a function to the collection; its error must say ``words``, and name ``file`` and ``tensor``."""

    def added(make: Callable[[Setting], None]) -> Callable[[Setting], None]:
        name = f"{make.__module__.rpartition('.')[2]}.{make.__name__}"
        assert make.__doc__ and name not in TRICKS
        TRICKS[name] = Trick(name, make.__doc__.strip(), make, words, file, tensor)
        return make

    return added


def tried(folder: Path, name: str, *, measured: bool = False) -> Tried:
    """Merge an innocent base and model with the trick's; with ``measured``, memory is traced, which takes time."""
    whole = models.random_tensors(0, shapes=SHAPES)
    models.write_model(folder / "base", whole)
    models.write_model(folder / "task", models.tuned(whole, 1))
    setting = Setting(
        folder / "hostile", folder / "outside", folder / "canary",
        {"base": str(folder / "base"), "models": [str(folder / "task"), str(folder / "hostile")], "method": "average"},
    )  # fmt: skip
    for place in (setting.model, setting.outside):
        place.mkdir()
    models.write_model(setting.model, models.tuned(whole, 2), {"model_type": "bert"})
    TRICKS[name].make(setting)
    recipe: Any = setting.recipe.get("file", setting.recipe)
    error: MergeometryError | None = None
    if measured:
        tracemalloc.start()
    started = time.process_time()
    try:
        mg.merge(recipe, folder / "out", workers=1)
    except MergeometryError as refused:
        error = refused
    seconds = time.process_time() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return Tried(error, seconds, peak, os.path.lexists(setting.canary), os.path.lexists(folder / "out"))
