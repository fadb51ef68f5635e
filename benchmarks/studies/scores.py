"""Scores weights of one encoder on test inputs of some tasks, by the heads of their experts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jaxtyping import Float, Int
from torch import Tensor

from mergeometry.encoders.heads import Head
from mergeometry.execution.threads import one_thread
from mergeometry.sources import TensorReader, open_checkpoint


class Expert(Protocol):
    """What is known of an expert: its checkpoint's folder, and its frozen head."""

    @property
    def folder(self) -> Path: ...
    @property
    def head(self) -> Head: ...


class Encoder(Protocol):
    """A model that takes other weights, by their names on disk, and encodes inputs that were prepared for it."""

    def load(self, weights: Mapping[str, Tensor]) -> None: ...
    def encode(self, prepared: Any) -> Float[Tensor, "n d"]: ...


@dataclass(frozen=True)
class Scores:
    """Scores weights by the experts' heads: by task, prepared test inputs and their labels."""

    base: Path
    experts: Mapping[str, Expert]
    encoder: Encoder
    test: Mapping[str, tuple[Any, Int[Tensor, " n"]]]

    def accuracies(
        self, weights: Mapping[str, Tensor], tasks: Iterable[str] | None = None, heads: Mapping[str, Head] | None = None
    ) -> dict[str, float]:
        """The share of each task's test inputs that its head classifies correctly on these weights' features.

        ``heads`` take the place of the experts' own.
        """
        self.encoder.load(weights)
        shares = {}
        for task in self.experts if tasks is None else tasks:
            inputs, labels = self.test[task]
            predicted = (heads or {}).get(task, self.experts[task].head).predict(self.encoder.encode(inputs))
            shares[task] = float((predicted == labels).float().mean())
        return shares

    def ends(self, weights_of: Callable[[str], Mapping[str, Tensor]]) -> dict[str, dict[str, float]]:
        """The base, and each expert, whose weights ``weights_of`` gives, on its own task."""
        experts: dict[str, float] = {}
        for task in self.experts:
            experts |= self.accuracies(weights_of(task), (task,))
        return {"base": self.accuracies(read_weights(self.base)), "experts": experts}

    def recipe(self) -> dict[str, Any]:
        """A recipe that merges the experts."""
        models = [{"path": str(expert.folder), "name": task} for task, expert in self.experts.items()]
        return {"base": str(self.base), "models": models}


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint in float32."""
    with TensorReader() as reader, one_thread():
        tensors = open_checkpoint(folder, "model").tensors
        return {name: reader.read(info).float() for name, info in tensors.items() if info.code.startswith(("F", "BF"))}
