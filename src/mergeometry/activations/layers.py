"""Which layers are watched, and how their inputs are summed while a model runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mergeometry.linalg.svd import gram
from mergeometry.methods.base import Activational
from mergeometry.plan.plan import Plan
from mergeometry.plan.tasks import TensorTask


@dataclass(frozen=True, slots=True)
class Layer:
    """A matrix that is merged by activations: its name on disk, its parameter in the model, and its input width."""

    name: str
    parameter: str
    inputs: int

    @property
    def nbytes(self) -> int:
        """Bytes of the moment of its inputs."""
        return 8 * self.inputs**2


class Watch:
    """Sums ``X^T X`` in float64 over the inputs X of some layers of a module, from entry to exit.

    All axes of an input but the last are flattened into rows. Layers that share an input, as queries, keys and values
    do, share the product.
    """

    def __init__(self, module: nn.Module, layers: Sequence[Layer]) -> None:
        self._module = module
        self._layers = layers
        self._handles: list[Any] = []
        self._last: tuple[Tensor, Tensor] | None = None
        self.totals: dict[str, Float[Tensor, "n n"]] = {}
        """The sum by layer name, with only the upper triangle filled; a layer that did not run has no entry."""
        self.rows: dict[str, int] = {}

    def __enter__(self) -> Self:
        for layer in self._layers:
            owner = self._module.get_submodule(layer.parameter.rpartition(".")[0])
            self._handles.append(owner.register_forward_pre_hook(self._hook(layer), with_kwargs=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._last = None

    def _hook(self, layer: Layer) -> Any:
        def hook(_module: nn.Module, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
            value = next(iter((*given, *named.values())), None)
            # An embedding table takes row numbers, and a layer of another kind an input of another width.
            if not isinstance(value, Tensor) or not value.is_floating_point() or value.shape[-1] != layer.inputs:
                return
            product = self._product(value)
            if layer.name in self.totals:
                self.totals[layer.name].add_(product)
            else:
                self.totals[layer.name] = product.clone()
            self.rows[layer.name] = self.rows.get(layer.name, 0) + value.numel() // layer.inputs

        return hook

    def _product(self, value: Tensor) -> Float[Tensor, "n n"]:
        if self._last is None or self._last[0] is not value:
            rows = value.detach().reshape(-1, value.shape[-1]).cpu()
            self._last = value, gram(rows)
        return self._last[1]


def merged_by_activations(plan: Plan) -> list[TensorTask]:
    """The matrices of a plan whose methods need activations."""
    return [task for task in plan.tasks if isinstance(task.method, Activational)]


def moment_of(total: Float[Tensor, "n n"], rows: int) -> Float[Tensor, "n n"]:
    """The symmetric second moment from an upper triangle of sums."""
    return (total.triu() + total.triu(1).mT) / max(1, rows)


def in_groups(layers: Sequence[Layer], budget: int) -> Iterator[list[Layer]]:
    """Cut layers into consecutive groups whose moments fit into ``budget`` bytes; each has at least one layer."""
    group: list[Layer] = []
    for layer in layers:
        if group and sum(member.nbytes for member in group) + layer.nbytes > budget:
            yield group
            group = []
        group.append(layer)
    if group:
        yield group


def zeros_for(layer: Layer) -> Float[Tensor, "n n"]:
    """The moment of a layer that a task's inputs never reach."""
    return torch.zeros(layer.inputs, layer.inputs, dtype=torch.float64)
