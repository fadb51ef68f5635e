"""Closed-form calibration of a merged encoder, layer by layer in forward order, after FeatCal (arXiv 2605.13030).

Each linear map of a layer is fitted, by ridge regression towards the merge's own, to what each task's expert computes:
from the features that the calibrated layers before it give the merged model, to the expert's map of a mix of its own
features and those. Layers are calibrated one after another. Bias and weight are fitted together here; norms in closed
form as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.studies.few_inputs.kinds import Layers

Weights = Mapping[str, Tensor]
Features = Mapping[str, Sequence[Tensor]]
"""By task, one tensor of hidden states per batch."""


@dataclass(frozen=True)
class Ridge:
    """How far a layer may go: the strength of its pull to the merge, and the expert's share of the target's inputs.

    A merge keeps a part of each update, so an expert with its whole update calls for larger outputs than the merge has.
    ``update`` is the share of its update that every expert is calibrated to.
    """

    strength: float = 0.05
    expert_share: float = 0.3
    update: float = 1.0


class Calibration:
    """Calibrates merges of one base on the same inputs of each task."""

    def __init__(self, layers: Layers, inputs: Mapping[str, Sequence[Any]], experts: Mapping[str, Weights]) -> None:
        self._layers = layers
        self._batches = {task: layers.prepare(own) for task, own in inputs.items()}
        self._experts = experts
        self._student, self._expert = layers.build(), layers.build()

    @torch.inference_mode()
    def calibrated(self, merged: Weights, ridge: Ridge) -> dict[str, Tensor]:
        """The merge with calibrated layers; embeddings stay as they are."""
        layers = self._layers
        layers.load(self._student, merged)
        student = {task: self._embedded(self._student, task) for task in self._batches}
        expert: dict[str, list[Tensor]] = {}
        for task in self._batches:
            layers.load(self._expert, self._experts[task])
            expert[task] = self._embedded(self._expert, task)
        for place, part in layers.parts(self._student).items():
            seen = {task: self._watched(part, student[task], task) for task in self._batches}
            wanted = {}
            for task in self._batches:
                layers.load(self._expert, self._experts[task])
                wanted[task] = self._watched(layers.parts(self._expert)[place], expert[task], task)
            for name, module in part.named_modules():
                if isinstance(module, nn.Linear | nn.LayerNorm):
                    self._fit(f"{place}.{name}" if name else place, name, module, seen, wanted, ridge)
            expert = {task: outputs for task, (_, outputs) in wanted.items()}
            student = {task: self._watched(part, student[task], task)[1] for task in self._batches}
        parameters = self._student.named_parameters()
        return {**merged, **{layers.names[name]: value.detach().clone() for name, value in parameters}}

    def _embedded(self, model: Any, task: str) -> list[Tensor]:
        return [self._layers.embedded(model, batch) for batch in self._batches[task]]

    def _watched(
        self, part: Any, hidden: Sequence[Tensor], task: str
    ) -> tuple[dict[str, Float[Tensor, "tokens n"]], list[Tensor]]:
        """What reaches each map of a part, without padding, and what the part gives."""
        reached: dict[str, list[Tensor]] = {}
        handles = []
        now: list[Any] = []

        def watching(name: str) -> Any:
            def hook(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
                reached.setdefault(name, []).append(self._layers.rows(given[0], now[0]))

            return hook

        for name, module in part.named_modules():
            if isinstance(module, nn.Linear | nn.LayerNorm):
                handles.append(module.register_forward_pre_hook(watching(name)))
        outputs = []
        for state, batch in zip(hidden, self._batches[task], strict=True):
            now[:] = [batch]
            outputs.append(self._layers.run(part, state, batch))
        for handle in handles:
            handle.remove()
        return {name: torch.cat(parts) for name, parts in reached.items()}, outputs

    def _fit(self, key: str, name: str, module: Any, seen: Any, wanted: Any, ridge: Ridge) -> None:
        """Solve for the change from the merge, which a strong pull leaves at zero."""
        moment: Tensor | float = 0.0
        residual: Tensor | float = 0.0
        norm = isinstance(module, nn.LayerNorm)
        for task, weights in self._experts.items():
            student, expert = seen[task][0][name].double(), wanted[task][0][name].double()
            target = ridge.expert_share * expert + (1 - ridge.expert_share) * student
            if norm:
                student, target = _normalised(student, module.eps), _normalised(target, module.eps)
            weight, bias = (weights[self._layers.names[f"{key}.{own}"]].double() for own in ("weight", "bias"))
            now_weight, now_bias = module.weight.double(), module.bias.double()
            if norm:
                missing = target * weight + bias - (student * now_weight + now_bias)
                rows = torch.stack([student, torch.ones_like(student)], dim=2)
                moment = moment + torch.einsum("nfa,nfb->fab", rows, rows) / len(rows)
                residual = residual + torch.einsum("nfa,nf->fa", rows, missing) / len(rows)
            else:
                missing = target @ weight.mT + bias - (student @ now_weight.mT + now_bias)
                rows = torch.cat([student, torch.ones(len(student), 1).double()], dim=1)
                second = rows.mT @ rows / len(rows)
                # Tasks whose features are large count no more than others.
                size = torch.linalg.matrix_norm(second[:-1, :-1])
                moment, residual = moment + second / size, residual + rows.mT @ missing / len(rows) / size
        assert isinstance(moment, Tensor) and isinstance(residual, Tensor)
        pulled = moment + ridge.strength * torch.eye(moment.shape[-1]).double()
        if norm:
            change = torch.linalg.solve(pulled, residual)
            module.weight.add_(change[:, 0])
            module.bias.add_(change[:, 1])
        else:
            change = torch.linalg.solve(pulled, residual)
            module.weight.add_(change[:-1].mT)
            module.bias.add_(change[-1])


def _normalised(values: Float[Tensor, "tokens n"], epsilon: float) -> Float[Tensor, "tokens n"]:
    return nn.functional.layer_norm(values, values.shape[-1:], eps=epsilon)
