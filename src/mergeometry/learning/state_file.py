"""The state of learning on disk, for resuming an interrupted run: one safetensors file, replaced in one step."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from mergeometry.errors import OutputError, SourceError
from mergeometry.learning.state import Point, State
from mergeometry.sink import safetensors_bytes
from mergeometry.sources import TensorReader, open_checkpoint

FILE = "learning.safetensors"
_INFINITE = ("best", "lowest")
"""Numbers that are infinite before the first check, for which JSON has no word."""


class StateFile:
    """The state of one run in ``folder``; ``identity`` is the digest of everything that its numbers depend on."""

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder, self._identity = folder, identity

    @property
    def path(self) -> Path:
        """The path of the state file."""
        return self._folder / FILE

    def write(self, state: State) -> None:
        """Replace the saved state.

        Raises:
            OutputError: the file cannot be written.
        """
        plain = {key: value for key, value in asdict(state).items() if key != "tensors"}
        for point in plain["points"]:
            point["loss"] = point["loss"] if math.isfinite(point["loss"]) else None
        for key in _INFINITE:
            plain[key] = plain[key] if math.isfinite(plain[key]) else None
        text, tensors = json.dumps(plain), {name: t.contiguous().cpu() for name, t in state.tensors.items()}
        metadata = {"identity": self._identity, "state": text, "digest": _digest(text, tensors)}
        data = safetensors_bytes(tensors, metadata)
        fresh = self.path.with_suffix(".new")
        try:
            with fresh.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError as error:
            raise OutputError(f"the state of learning cannot be saved: {error.strerror}", file=self.path) from error

    def read(self) -> State | None:
        """The saved state, or None if there is none, it is damaged, or its identity differs."""
        if not self.path.is_file():
            return None
        try:
            checkpoint = open_checkpoint(self.path, "state")
            metadata = checkpoint.metadata
            if metadata.get("identity") != self._identity:
                return None
            with TensorReader() as reader:
                tensors = {name: reader.read(info) for name, info in checkpoint.tensors.items()}
            # A damaged number would be learned on from in silence.
            if metadata["digest"] != _digest(metadata["state"], tensors):
                return None
            plain = json.loads(metadata["state"])
        except (SourceError, ValueError, KeyError):
            return None
        points = [Point(**{**point, "loss": _number(point["loss"])}) for point in plain.pop("points")]
        plain |= {key: math.inf for key in _INFINITE if plain[key] is None}
        return State(points=points, tensors=tensors, **plain)


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the plain values, and of each tensor with its name, dtype and shape."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _number(value: float | None) -> float:
    return math.nan if value is None else value
