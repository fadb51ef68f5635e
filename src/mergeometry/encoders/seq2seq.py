"""Encoder-decoder language models: one feature for each token of a target that the task's own expert generates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from mergeometry.encoders.base import Batch, Features, Inputs
from mergeometry.encoders.language import LanguageModel, without_output
from mergeometry.encoders.tokens import Tokens
from mergeometry.errors import DataError
from mergeometry.sources import TensorInfo


@dataclass(frozen=True, slots=True)
class Pair:
    """The token ids of one input and of its target, which is empty until it is generated."""

    source: tuple[int, ...]
    target: tuple[int, ...] = ()


class Seq2SeqEncoder(LanguageModel):
    """The hidden state before the output layer at every token of a target, given the target's earlier tokens.

    Unlabelled inputs have no targets: `continue_with` lets a task's expert generate them before learning starts.
    """

    budget = 512

    def __init__(self, folder: Path, disk: Mapping[str, TensorInfo], *, max_length: int, device: torch.device) -> None:
        self._take("AutoModelForSeq2SeqLM", folder, disk, device)
        self._tokens = Tokens(folder, max_length, self.module)
        model: Any = self.module
        # BART and Marian add a bias after the output layer; without it their head would predict other tokens.
        bias = getattr(model, "final_logits_bias", None)
        if bias is not None:
            if bool(bias.any()):
                raise DataError(
                    "the language model adds a bias to its logits, which is not supported",
                    file=folder,
                    tensor="final_logits_bias",
                )
            model.final_logits_bias = bias.new_zeros(1, 1)
        self._start = _setting(model, "decoder_start_token_id")
        self._first = _setting(model, "forced_bos_token_id")
        ends = _setting(model, "eos_token_id")
        self._ends = frozenset(ends if isinstance(ends, (list, tuple)) else [ends])
        if not isinstance(self._start, int):
            raise DataError("config.json has no decoder_start_token_id, with which every target starts", file=folder)

    def prepare(self, data: Any) -> Inputs:
        """Tokenise a task's texts; they give no features until `continue_with` generates their targets."""
        pairs = [Pair(tuple(numbers)) for numbers in self._tokens.pieces(data)]
        return Inputs(pairs, tuple(len(pair.source) for pair in pairs), (0,) * len(pairs))

    def continue_with(
        self, module: nn.Module, weights: Mapping[str, Tensor], inputs: Inputs, new_tokens: int = 32
    ) -> Inputs:
        """Inputs with the targets that the model generates greedily under ``weights``.

        A target ends with the model's end token or after ``new_tokens`` tokens; it has at least one token.
        """
        if new_tokens < 1:
            raise ValueError(f"a target needs at least 1 new token, got {new_tokens}")
        pairs: dict[int, Pair] = {}
        order = sorted(range(len(inputs)), key=lambda index: len(inputs.items[index].source))
        while order:
            # Inputs of similar lengths go together, up to the budget of one pass.
            together = [order.pop(0)]
            while order and len(inputs.items[order[0]].source) * (len(together) + 1) <= self.budget:
                together.append(order.pop(0))
            sources = [inputs.items[index].source for index in together]
            with torch.no_grad():
                targets = self._written(module, weights, sources, new_tokens)
            pairs.update((index, Pair(*both)) for index, *both in zip(together, sources, targets, strict=True))
        items = [pairs[index] for index in range(len(inputs))]
        sizes = tuple(len(pair.source) + len(pair.target) for pair in items)
        return Inputs(items, sizes, tuple(len(pair.target) for pair in items))

    def batch(self, items: Sequence[Any]) -> Batch:
        """Pad the token ids of a few inputs and of their targets, which the decoder sees shifted by one token.

        Raises:
            DataError: an input has no target yet.
        """
        if not all(pair.target for pair in items):
            raise DataError(
                "an encoder-decoder model has nothing to predict without targets",
                hint="let the task's expert generate them: inputs = encoder.continue_with(module, weights, inputs)",
            )
        tokens, mask = self._tokens.padded([pair.source for pair in items])
        given, predicts = self._tokens.padded([(self._start, *pair.target[:-1]) for pair in items])
        arguments = {
            "input_ids": tokens.to(self.device),
            "attention_mask": mask.to(self.device),
            "decoder_input_ids": given.to(self.device),
            "use_cache": False,
        }
        rows = tuple(len(pair.target) for pair in items)
        return Batch(arguments, rows, {"predicts": predicts.bool().to(self.device)})

    def features(self, module: nn.Module, weights: Mapping[str, Tensor], batch: Batch) -> Features:
        """The decoder's hidden states that predict a target's tokens, input by input."""
        output = torch.func.functional_call(module, without_output(weights), kwargs=dict(batch.arguments))
        return output.logits[batch.extra["predicts"]].float()

    def _written(
        self, module: nn.Module, weights: Mapping[str, Tensor], sources: Sequence[Sequence[int]], most: int
    ) -> list[tuple[int, ...]]:
        """Targets of a few inputs, where each token is the most likely one after those before it."""
        tokens, mask = (part.to(self.device) for part in self._tokens.padded(sources))
        run, head = without_output(weights), self.head_weight(weights)
        known: dict[str, Any] = {"input_ids": tokens}
        last: Int[Tensor, "b 1"] = torch.full((len(sources), 1), self._start, device=self.device)
        targets: list[list[int]] = [[] for _ in sources]
        for step in range(most):
            arguments = {**known, "attention_mask": mask, "decoder_input_ids": last, "use_cache": True}
            output = torch.func.functional_call(module, run, kwargs=arguments)
            last = (output.logits[:, -1:] @ head.to(output.logits).mT).argmax(dim=-1)
            if step == 0 and isinstance(self._first, int):
                # The first token of multilingual models names the target's language.
                last = torch.full_like(last, self._first)
            for target, number in zip(targets, last[:, 0].tolist(), strict=True):
                if not (target and target[-1] in self._ends):
                    target.append(number)
            if all(target[-1] in self._ends for target in targets):
                break
            known = {"encoder_outputs": (output.encoder_last_hidden_state,), "past_key_values": output.past_key_values}
        return [tuple(target) for target in targets]


def _setting(model: Any, name: str) -> Any:
    """A setting of the model's generation, which older folders keep in the model's own configuration."""
    value = getattr(model.generation_config, name, None)
    return getattr(model.config, name, None) if value is None else value
