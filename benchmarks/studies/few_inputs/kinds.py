"""What the study needs of a kind of input, texts or images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from jaxtyping import Float
from torch import Tensor

from benchmarks.studies.scores import Expert, Scores

Drawn = Literal["new", "trained on"]
"""Inputs that no expert was trained on, of the validation split, or those that they were trained on."""


class Layers(Protocol):
    """A model taken apart, in forward order."""

    names: Mapping[str, str]
    """The name on disk of each parameter."""

    def build(self) -> Any:
        """A model, with the base's weights."""
        ...

    def load(self, model: Any, weights: Mapping[str, Tensor]) -> None:
        """Give a model weights by their names on disk."""
        ...

    def prepare(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Inputs as batches."""
        ...

    def parts(self, model: Any) -> Mapping[str, Any]:
        """The model's layers by name, each of which takes what the one before it gives."""
        ...

    def embedded(self, model: Any, batch: Any) -> Tensor:
        """What the first part takes."""
        ...

    def run(self, part: Any, hidden: Tensor, batch: Any) -> Tensor:
        """What a part makes of hidden states."""
        ...

    def rows(self, hidden: Tensor, batch: Any) -> Float[Tensor, "tokens n"]:
        """Hidden states one below the other, without padding."""
        ...


class Kind(Protocol):
    """Full fine-tunes of one encoder, and inputs for them."""

    name: str
    encoder: Mapping[str, Any]
    """The `encoder:` section of recipes."""

    def expert(self, task: str, trained: int) -> Expert:
        """A task's full fine-tune of a training seed."""
        ...

    def scores(self, experts: Mapping[str, Expert], count: int | None) -> Scores:
        """Scores on at most ``count`` test inputs per task."""
        ...

    def inputs(self, task: str, drawn: Drawn) -> Sequence[Any]:
        """The inputs that draws are made from."""
        ...

    def write(self, place: Path, inputs: Sequence[Any]) -> str:
        """Write inputs without labels into a table, and return its place as a recipe names it."""
        ...

    def layers(self) -> Layers:
        """The encoder taken apart."""
        ...
