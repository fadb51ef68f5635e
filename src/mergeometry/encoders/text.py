"""Text encoders: tokens in, one pooled feature per text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mergeometry.encoders.base import Batch, Encoder, Features, Inputs, pooled
from mergeometry.encoders.names import parameter_names
from mergeometry.encoders.tokens import Tokens
from mergeometry.encoders.transformer import build
from mergeometry.sources import TensorInfo


class TextEncoder(Encoder):
    """A text model of transformers; the feature is the mean, first or last token, or the model's pooled output."""

    budget = 1024

    def __init__(
        self, folder: Path, disk: Mapping[str, TensorInfo], *, pooling: str, max_length: int, device: torch.device
    ) -> None:
        self.module = build("AutoModel", folder, disk, device)
        self._pooling = pooling
        self._tokens = Tokens(folder, max_length, self.module)
        self.width = int(self.module.config.hidden_size)  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
        idle = [] if pooling == "pooler" else [n for n, _ in self.module.named_parameters() if n.startswith("pooler.")]
        self.names = {
            name: None if parameter in idle else parameter
            for name, parameter in parameter_names(self.module, disk, idle).items()
        }

    def prepare(self, data: Any) -> Inputs:
        """Tokenise a task's texts."""
        pieces = self._tokens.pieces(data)
        return Inputs(pieces, tuple(map(len, pieces)), (1,) * len(pieces))

    def batch(self, items: Sequence[Any]) -> Batch:
        """Pad the token ids of a few texts to the longest."""
        tokens, mask = self._tokens.padded(items)
        arguments: dict[str, Tensor] = {"input_ids": tokens.to(self.device)}
        # Without padding there is nothing to mask, and attention takes a shorter path.
        if not bool(mask.all()):
            arguments["attention_mask"] = mask.to(self.device)
        return Batch(arguments, (1,) * len(items))

    def features(self, module: nn.Module, weights: Mapping[str, Tensor], batch: Batch) -> Features:
        """One pooled feature per text."""
        output = torch.func.functional_call(module, dict(weights), kwargs=dict(batch.arguments))
        if self._pooling == "pooler":
            return output.pooler_output.float()
        return pooled(output.last_hidden_state.float(), batch.arguments.get("attention_mask"), self._pooling)
