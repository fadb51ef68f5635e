"""Closed-form calibration of a merged text encoder, layer by layer in forward order, after FeatCal (arXiv 2605.13030).

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

from mergeometry_suite.backbone import backbone
from mergeometry_suite.minilm import Batch, Tokenizer, build_model

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
    """Calibrates merges of one backbone on the same texts."""

    def __init__(self, texts: Mapping[str, Sequence[str]], experts: Mapping[str, Weights], longest: int) -> None:
        tokenizer = Tokenizer(backbone(), longest)
        self._batches = {task: tokenizer.prepare(own).batches for task, own in texts.items()}
        self._experts = experts
        self._student: Any = build_model(backbone())
        self._expert: Any = build_model(backbone())

    @torch.inference_mode()
    def calibrated(self, merged: Weights, ridge: Ridge) -> dict[str, Tensor]:
        """The merge with calibrated layers; embeddings stay as they are."""
        _load(self._student, merged)
        student = {task: self._embedded(self._student, task) for task in self._batches}
        expert: dict[str, list[Tensor]] = {}
        for task in self._batches:
            _load(self._expert, self._experts[task])
            expert[task] = self._embedded(self._expert, task)
        for place, layer in enumerate(self._student.encoder.layer):
            seen = {task: self._watched(layer, student[task], task) for task in self._batches}
            wanted = {}
            for task in self._batches:
                _load(self._expert, self._experts[task])
                wanted[task] = self._watched(self._expert.encoder.layer[place], expert[task], task)
            for name, module in layer.named_modules():
                if isinstance(module, nn.Linear | nn.LayerNorm):
                    self._fit(f"encoder.layer.{place}.{name}", name, module, seen, wanted, ridge)
            expert = {task: outputs for task, (_, outputs) in wanted.items()}
            student = {task: self._watched(layer, student[task], task)[1] for task in self._batches}
        calibrated = {name: value.detach().clone() for name, value in self._student.named_parameters()}
        return {**merged, **calibrated}

    def _embedded(self, model: Any, task: str) -> list[Tensor]:
        return [model.embeddings(input_ids=batch.tokens) for batch in self._batches[task]]

    def _watched(
        self, layer: Any, hidden: Sequence[Tensor], task: str
    ) -> tuple[dict[str, Float[Tensor, "tokens n"]], list[Tensor]]:
        """What reaches each map of a layer, without padding, and what the layer gives."""
        reached: dict[str, list[Tensor]] = {}
        handles = []
        now: list[Batch] = []

        def watching(name: str) -> Any:
            def hook(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
                reached.setdefault(name, []).append(given[0][now[0].mask.bool()])

            return hook

        for name, module in layer.named_modules():
            if isinstance(module, nn.Linear | nn.LayerNorm):
                handles.append(module.register_forward_pre_hook(watching(name)))
        outputs = []
        for state, batch in zip(hidden, self._batches[task], strict=True):
            now[:] = [batch]
            away = (1.0 - batch.mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
            given = layer(state, attention_mask=None if bool(batch.mask.all()) else away)
            outputs.append(given[0] if isinstance(given, tuple) else given)
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
            weight, bias = weights[f"{key}.weight"].double(), weights[f"{key}.bias"].double()
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


def _load(model: Any, weights: Weights) -> None:
    with torch.inference_mode():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
