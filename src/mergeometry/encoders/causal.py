"""Causal language models: one feature for each token that predicts a next one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mergeometry.encoders.base import Batch, Features, Inputs
from mergeometry.encoders.language import LanguageModel, without_output
from mergeometry.encoders.tokens import Tokens
from mergeometry.sources import TensorInfo


class CausalEncoder(LanguageModel):
    """The hidden state before the output layer at every token but the last, for next-token objectives."""

    budget = 512

    def __init__(self, folder: Path, disk: Mapping[str, TensorInfo], *, max_length: int, device: torch.device) -> None:
        self._take("AutoModelForCausalLM", folder, disk, device)
        self.tokens = Tokens(folder, max_length, self.module)

    def prepare(self, data: Any) -> Inputs:
        """Tokenise a task's texts; texts of one token predict nothing and are left out."""
        pieces = self.tokens.pieces(data, shortest=2)
        return Inputs(pieces, tuple(map(len, pieces)), tuple(len(numbers) - 1 for numbers in pieces))

    def batch(self, items: Sequence[Any]) -> Batch:
        """Pad the token ids of a few texts to the longest."""
        tokens, mask = self.tokens.padded(items)
        arguments = {"input_ids": tokens.to(self.device), "attention_mask": mask.to(self.device), "use_cache": False}
        return Batch(arguments, tuple(len(numbers) - 1 for numbers in items))

    def features(self, module: nn.Module, weights: Mapping[str, Tensor], batch: Batch) -> Features:
        """The hidden states that predict a next token, text by text."""
        hidden = torch.func.functional_call(module, without_output(weights), kwargs=dict(batch.arguments)).logits
        mask = batch.arguments["attention_mask"]
        predicts = mask[:, 1:].bool()
        return hidden[:, :-1][predicts].float()
