"""Features after each layer of a model that runs: what its blocks give out, one row per input or predicted token."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mergeometry.encoders import Batch, Encoder
from mergeometry.encoders.causal import CausalEncoder
from mergeometry.encoders.seq2seq import Seq2SeqEncoder


def blocks_of(encoder: Encoder) -> list[nn.Module]:
    """The layers of a model, in order: its longest list of modules of one class, a decoder's where it has one.

    Empty where there is none, as in a plain module.
    """
    decoding = isinstance(encoder, Seq2SeqEncoder)
    lists = [
        (name, module)
        for name, module in encoder.module.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) and len({type(child) for child in module}) == 1
    ]
    # Lists within a layer, such as experts, are not layers.
    outer = [name for name, _ in lists]
    top = [
        module
        for name, module in lists
        if not any(name.startswith(f"{other}.") for other in outer) and (not decoding or "decoder" in name.split("."))
    ]
    return list(max(top, key=len)) if top else []


class LayerFeatures:
    """Keeps chosen rows of what each block of a model gives out, while it is entered."""

    def __init__(self, encoder: Encoder, rows: Int[Tensor, " kept"]) -> None:
        self._encoder = encoder
        self._wanted = {row: place for place, row in enumerate(rows.tolist())}
        self._blocks = blocks_of(encoder)
        self._outputs: list[Tensor | None] = [None] * len(self._blocks)
        self._hooks: list[Any] = []
        self._kept: list[Tensor | None] = [None] * len(self._blocks)

    def __enter__(self) -> LayerFeatures:
        for place, block in enumerate(self._blocks):
            self._hooks.append(block.register_forward_hook(self._hook(place)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def take(self, batch: Batch, rows: list[int]) -> None:
        """Keep the wanted ones of the ``rows`` that the forward pass of a batch just gave."""
        places = [(self._wanted[row], index) for index, row in enumerate(rows) if row in self._wanted]
        for layer, output in enumerate(self._outputs):
            self._outputs[layer] = None
            features = None if output is None or not places else rows_of(self._encoder, batch, output)
            if features is None or len(features) != len(rows):
                continue
            kept = self._kept[layer]
            if kept is None:
                kept = self._kept[layer] = torch.zeros(len(self._wanted), features.shape[1])
            into, taken = (torch.tensor(side) for side in zip(*places, strict=True))
            kept[into] = features[taken].float()

    def layers(self) -> list[Float[Tensor, "kept d"] | None]:
        """The rows kept of each layer; None where a layer did not run, or gives out no features."""
        return self._kept

    def _hook(self, place: int) -> Any:
        def keep(_module: nn.Module, _given: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            self._outputs[place] = first if isinstance(first, Tensor) and first.ndim >= 3 else None

        return keep


def rows_of(encoder: Encoder, batch: Batch, hidden: Float[Tensor, "b *tokens d"]) -> Float[Tensor, "rows d"] | None:
    """One row per predicted token of a language model; of others the mean over tokens, whatever their pooling."""
    if isinstance(encoder, CausalEncoder):
        return hidden[:, :-1][batch.arguments["attention_mask"][:, 1:].bool()]
    if isinstance(encoder, Seq2SeqEncoder):
        return hidden[batch.extra["predicts"]]
    if hidden.ndim == 4:  # convolutions: channels come first
        return hidden.mean(dim=(2, 3))
    mask = batch.arguments.get("attention_mask")
    if mask is None:
        return hidden.mean(dim=1)
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
