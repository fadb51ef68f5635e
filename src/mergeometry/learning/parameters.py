"""What Adam moves, coefficients and rotations, under the names that a saved state gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from mergeometry.learning.coefficients import CoefficientTable
from mergeometry.learning.rotation import TaskRotation
from mergeometry.recipe.adapt import Granularity


class Parameters:
    """The parameters of a table, unless they are fixed, and the rotations' coordinates, with one optimiser for all.

    A state's tensors are ``now/NAME``, ``best/NAME``, and Adam's moments, ``adam/MOMENT/NAME``.
    """

    def __init__(
        self,
        table: CoefficientTable,
        rotations: Mapping[int, TaskRotation],
        labels: Sequence[str],
        *,
        fixed: bool,
    ) -> None:
        self._table, self._rotations, self._labels = table, rotations, labels
        self._fixed = fixed
        self._adam = self._optimiser()

    def become(self, granularity: Granularity) -> None:
        """Start over at the table's start with coefficients of this granularity."""
        self._table.become(granularity)
        self._adam = self._optimiser()

    def refine(self, granularity: Granularity) -> None:
        """Go on from the present values with coefficients of this finer granularity."""
        self._table.refine(granularity)
        self._adam = self._optimiser()

    def step(self, rate: float, rotation_rate: float) -> None:
        """Move each parameter that has a gradient by a step of Adam."""
        for group, value in zip(self._adam.param_groups, (rate, rotation_rate), strict=True):
            group["lr"] = value
        self._adam.step()

    def forget_gradients(self) -> None:
        """Leave no parameter with a gradient."""
        self._adam.zero_grad(set_to_none=True)

    def gradients(self) -> Iterable[Tensor]:
        """The gradients that there are."""
        return [parameter.grad for _, parameter in self._named() if parameter.grad is not None]

    def tensors(self) -> dict[str, Tensor]:
        """What a resumed run goes on from: present values, and Adam's moments."""
        kept = self._copies("now")
        for name, parameter in self._named():
            for key, value in self._adam.state.get(parameter, {}).items():
                kept[f"adam/{key}/{name}"] = torch.as_tensor(value).detach().clone()
        return kept

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` returned."""
        self._copy_from(tensors, "now")
        for name, parameter in self._named():
            moments = {
                key.split("/", 2)[1]: value
                for key, value in tensors.items()
                if key.startswith("adam/") and key.split("/", 2)[2] == name
            }
            if moments:
                # Adam keeps its step count on the CPU, whatever the device of its parameters.
                self._adam.state[parameter] = {
                    key: value.to("cpu" if key == "step" else parameter.device, copy=True)
                    for key, value in moments.items()
                }

    def best(self) -> dict[str, Tensor]:
        """Copies of the present values, as the best so far."""
        return self._copies("best")

    def take_best(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `best` returned; nothing where no state has been the best yet."""
        if any(name.startswith("best/") for name in tensors):
            self._copy_from(tensors, "best")

    def _copies(self, kind: str) -> dict[str, Tensor]:
        return {f"{kind}/{name}": parameter.detach().clone() for name, parameter in self._named()}

    def _copy_from(self, tensors: Mapping[str, Tensor], kind: str) -> None:
        with torch.no_grad():
            for name, parameter in self._named():
                parameter.copy_(tensors[f"{kind}/{name}"])

    def _coefficients(self) -> Mapping[str, Tensor]:
        return {} if self._fixed else self._table.parameters

    def _named(self) -> list[tuple[str, Tensor]]:
        turned = [(f"rotation/{self._labels[index]}", r.coordinates) for index, r in self._rotations.items()]
        return [*self._coefficients().items(), *turned]

    def _optimiser(self) -> torch.optim.Adam:
        turned = [rotation.coordinates for rotation in self._rotations.values()]
        groups = [{"params": list(self._coefficients().values())}, {"params": turned}]
        return torch.optim.Adam(groups, foreach=False)
