"""Indexes of sharded models that lead elsewhere, or say what is not so."""

from __future__ import annotations

import json
from typing import Any

from tests.helpers import models
from tests.helpers.hostile.trick import TENSOR, Setting, trick

INDEX = "model.safetensors.index.json"
FIRST = "model-00001-of-00002.safetensors"


def _index(setting: Setting, content: bytes | dict[str, Any]) -> None:
    whole = models.loaded(setting.model)
    (setting.model / "model.safetensors").unlink()
    models.write_shards(setting.model, whole, 2)
    raw = content if isinstance(content, bytes) else json.dumps({"weight_map": content}).encode()
    (setting.model / INDEX).write_bytes(raw)


@trick("own folder", file=INDEX, tensor=TENSOR)
def parent_folder(setting: Setting) -> None:
    """A shard in the folder above."""
    _index(setting, {TENSOR: "../outside/x.safetensors"})


@trick("own folder", file=INDEX, tensor=TENSOR)
def absolute_path(setting: Setting) -> None:
    """A shard by its absolute path."""
    _index(setting, {TENSOR: "/etc/x.safetensors"})


@trick("own folder", file=INDEX, tensor=TENSOR)
def drive(setting: Setting) -> None:
    """A shard on another drive."""
    _index(setting, {TENSOR: "C:x.safetensors"})


@trick("own folder", file=INDEX, tensor=TENSOR)
def network_path(setting: Setting) -> None:
    """A shard on a server, which would be told this user's name and password's hash."""
    _index(setting, {TENSOR: "\\\\server\\share\\x.safetensors"})


@trick("pickled weights are never read", file=INDEX, tensor=TENSOR)
def pickled_shard(setting: Setting) -> None:
    """A pickle as a shard of a safetensors model."""
    _index(setting, {TENSOR: "pytorch_model.bin"})


@trick("cannot be a file's name", file=INDEX, tensor=TENSOR)
def name_with_a_nul(setting: Setting) -> None:
    """A name that C ends earlier than Python."""
    _index(setting, {TENSOR: "x.safetensors\0.bin"})


@trick("cannot be a file's name", file=INDEX, tensor=TENSOR)
def name_that_turns_around(setting: Setting) -> None:
    """A name that is shown as another by a right-to-left mark."""
    _index(setting, {TENSOR: "\u202esrotsnetefas.x.safetensors"})


@trick("'a' twice", file=INDEX)
def duplicate_key(setting: Setting) -> None:
    """A tensor in two shards, of which parsers keep one."""
    _index(setting, b'{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}')


@trick("differ in", file=INDEX)
def wrong_shard(setting: Setting) -> None:
    """A tensor that lies in another shard than the index says, so that two readers find two values."""
    _index(setting, dict.fromkeys(["layer.0.dense.weight", "layer.0.dense.bias"], FIRST))


@trick("are missing", file=INDEX)
def missing_shard(setting: Setting) -> None:
    """A shard that is not there, so that part of the model would be left out."""
    _index(setting, {TENSOR: "model-00009-of-00009.safetensors"})


@trick("nested deeper", file=INDEX)
def deep_nesting(setting: Setting) -> None:
    """Brackets within brackets, to end a recursive parser."""
    _index(setting, b'{"weight_map": ' + b"[" * 100_000)
