"""What a stack of layers is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from mergeometry.conventions.layer_names import LayerNames, Tower
from mergeometry.sources.tensors import TensorInfo

if TYPE_CHECKING:
    from mergeometry.sources.checkpoint import Checkpoint


class Origin(NamedTuple):
    """Where a tensor of a stack comes from: which entry of the stack, and the tensor as its own file has it."""

    entry: int
    info: TensorInfo


@dataclass(frozen=True, slots=True)
class StackedLayers:
    """One entry of a stack: layers ``first`` up to, not including, ``last`` of a checkpoint."""

    checkpoint: Checkpoint
    first: int
    last: int

    @property
    def described(self) -> str:
        """The model's folder and the layers, in words."""
        return f"{self.checkpoint.name} {self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class LayerStack:
    """How a checkpoint was put together: its entries in order, and its tensors' origins."""

    entries: tuple[StackedLayers, ...]
    origins: Mapping[str, Origin]

    @property
    def count(self) -> int:
        """How many layers there are."""
        return sum(entry.last - entry.first for entry in self.entries)

    @property
    def described(self) -> str:
        """The stack in words: "48 layers: A 0-24, B 8-32"."""
        return f"{self.count} layers: {', '.join(entry.described for entry in self.entries)}"

    @property
    def runs_as_one(self) -> bool:
        """Whether the models' layers follow each other, so that all settings and tokens must agree."""
        return True

    @property
    def ranges(self) -> tuple[tuple[str, int, int], ...]:
        """What tells one stack from another: each entry's path and layers."""
        return tuple((entry.checkpoint.described, entry.first, entry.last) for entry in self.entries)


class Layered(NamedTuple):
    """An entry of a stack with the places of its model's tensors."""

    entry: StackedLayers
    names: LayerNames
    tower: Tower

    @property
    def model(self) -> Checkpoint:
        """The entry's model."""
        return self.entry.checkpoint

    @property
    def section(self) -> Mapping[str, Any]:
        """What the model's configuration says of the layers."""
        section: Mapping[str, Any] = self.model.config or {}
        for key in self.tower.section.split(".") if self.tower.section else ():
            section = section[key]
        return section
