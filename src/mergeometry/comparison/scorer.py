"""Scores sets of weights on labelled tasks: one encoder, built once, whose weights are replaced in place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from mergeometry.comparison.harness import score_documents
from mergeometry.comparison.harness_tasks import HarnessData
from mergeometry.comparison.scored_kind import scored_kind
from mergeometry.encoders.base import Batch, Inputs
from mergeometry.encoders.batches import Chosen, pack
from mergeometry.encoders.build import build_encoder
from mergeometry.encoders.heads import Head
from mergeometry.encoders.language import OUTPUT, LanguageModel, without_output
from mergeometry.encoders.packed import PackedLinear, pack_linears
from mergeometry.errors import DataError
from mergeometry.execution.threads import one_thread
from mergeometry.inputs import UnlabelledData
from mergeometry.inputs.labels import LabelledData
from mergeometry.recipe.inputs import EncoderOptions
from mergeometry.sources import Checkpoint


@dataclass(frozen=True, slots=True, eq=False)
class LabelledTask:
    """One split of one task: its inputs, and the head that classifies them, if any."""

    data: LabelledData | UnlabelledData | HarnessData
    head: Head | None


@dataclass(slots=True)
class _Prepared:
    """Inputs as the encoder takes them; batches of texts are kept, since they are small."""

    inputs: Inputs
    packs: list[list[Chosen]]
    batches: list[Batch] | None
    labels: Tensor | None
    head: Head | None


class Scorer:
    """An encoder with the inputs of every task and split, reused for many sets of weights.

    Law: `scores` depends only on the loaded weights and the inputs, not on what was loaded before.
    """

    def __init__(
        self,
        base: Checkpoint,
        options: EncoderOptions,
        splits: Mapping[str, Mapping[str, LabelledTask]],
        device: str = "cpu",
    ) -> None:
        """Build the encoder of ``base`` on a device; ``splits`` holds the tasks of each split by name.

        Raises:
            DataError: models of this kind are not scored, or a head or data do not fit the model.
        """
        scored_kind(options, base)
        encoder = self.encoder = build_encoder(base, options, torch.device(device))
        self._base = {name: parameter.detach() for name, parameter in encoder.module.named_parameters()}
        if isinstance(encoder, LanguageModel) and encoder.tied is None:
            self._base[OUTPUT] = encoder.output.detach()
        self._passed = device != "cpu"
        self._given: dict[str, Tensor] = {}
        """Weights by parameter that each forward pass is given, on a device that has no packed layers."""
        self._packed: dict[str, PackedLinear] = {} if self._passed else pack_linears(encoder.module)
        self._own = dict(encoder.module.named_parameters())
        self._output: Tensor | None = None
        self._moved: set[str] = set()
        self._splits: dict[str, dict[str, _Prepared | HarnessData]] = {
            split: {
                task: one.data if isinstance(one.data, HarnessData) else self._prepare(task, one)
                for task, one in tasks.items()
            }
            for split, tasks in splits.items()
        }

    def base(self, parameter: str) -> Tensor:
        """The base's weight of a parameter."""
        return self._base[parameter]

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Load weights by parameter; all others become the base's."""
        if self._passed:
            self._given = {name: weight.to(self.encoder.device) for name, weight in weights}
            return
        moved = set()
        for name, weight in weights:
            self._put(name, weight)
            moved.add(name)
        for name in self._moved - moved:
            self._put(name, self._base[name])
        self._moved = moved

    def scores(self, split: str, tasks: Sequence[str]) -> dict[str, list[float]]:
        """A score for each input of the tasks.

        It is 1 if the input's class is predicted, else 0; for a text of a language model it is the mean
        log-likelihood of its tokens; for a document of an lm_eval task it is the task's metric.
        """
        with one_thread(), torch.inference_mode():
            return {task: self._scored_as_given(self._splits[split][task]) for task in tasks}

    def counts(self, split: str) -> dict[str, list[int]] | None:
        """How much each input counts: a language model's texts by predicted tokens, other inputs equally (None)."""
        texts = {task: one for task, one in self._splits[split].items() if isinstance(one, _Prepared)}
        if not self.encoder.language_model or not texts:
            return None
        return {task: list(one.inputs.rows) for task, one in texts.items()}

    def inputs(self, split: str, task: str) -> Inputs:
        """A task's inputs as the encoder takes them; for a language model, each text's token ids."""
        return self._texts(split, task).inputs

    def next_tokens(self, split: str, task: str) -> tuple[list[float], list[float]]:
        """For each text of a language model, without its first token: the mean log-likelihood, and the share found.

        A token is found if it is the model's likeliest next token.
        """
        one = self._texts(split, task)
        scores = torch.empty(2, len(one.inputs))
        with one_thread(), torch.inference_mode():
            for rows, logits, counts in self._logits(one):
                targets = _targets(one, rows).to(logits.device)
                scores[0, rows] = _likelihoods(logits, targets, counts)
                right = (logits.argmax(-1) == targets).cpu()
                scores[1, rows] = torch.stack([text.double().mean().float() for text in right.split(counts)])
        likelihoods, shares = scores.tolist()
        return likelihoods, shares

    def output_layer(self) -> Float[Tensor, "vocabulary d"]:
        """The output layer of a language model, as loaded."""
        encoder = self.encoder
        assert isinstance(encoder, LanguageModel)
        if self._passed:
            return encoder.head_weight(self._given)
        if self._output is not None:
            return self._output
        return encoder.output if encoder.tied is None else self._own[encoder.tied]

    def module(self, **arguments: Any) -> Any:
        """What the encoder's module gives under the weights as loaded."""
        if not self._given:
            return self.encoder.module(**arguments)
        return functional_call(self.encoder.module, without_output(self._given), kwargs=arguments)

    def _prepare(self, task: str, one: LabelledTask) -> _Prepared:
        encoder = self.encoder
        assert not isinstance(one.data, HarnessData)
        try:
            inputs = encoder.prepare(one.data)
        except DataError as error:
            error.model = error.model or task
            raise
        labels = torch.tensor(one.data.labels) if isinstance(one.data, LabelledData) else None
        if labels is not None and len(labels) != len(inputs):
            raise DataError(f"{len(labels) - len(inputs):,} texts have no tokens", model=task)
        if one.head is not None and one.head.weight.shape[1] != encoder.width:
            taken = one.head.weight.shape[1]
            raise DataError(f"the head takes {taken:,} features, and the encoder gives {encoder.width:,}", model=task)
        packs = pack([Chosen(0, row) for row in range(len(inputs))], [inputs], encoder.budget)
        batches = None
        if one.data.kind == "texts":
            batches = [encoder.batch([inputs.items[chosen.row] for chosen in part]) for part in packs]
        head = one.head
        if head is not None and self._passed:
            head = Head(head.weight.to(encoder.device), head.bias.to(encoder.device))
        return _Prepared(inputs, packs, batches, labels, head)

    def _texts(self, split: str, task: str) -> _Prepared:
        one = self._splits[split][task]
        assert isinstance(one, _Prepared)
        return one

    def _scored_as_given(self, one: _Prepared | HarnessData) -> list[float]:
        return score_documents(self, one) if isinstance(one, HarnessData) else self._scored(one)

    def _scored(self, one: _Prepared) -> list[float]:
        scores = torch.empty(len(one.inputs))
        if one.labels is None or one.head is None:
            for rows, logits, counts in self._logits(one):
                scores[rows] = _likelihoods(logits, _targets(one, rows).to(logits.device), counts)
            return scores.tolist()
        for rows, features, _ in self._features(one):
            scores[rows] = (one.head.predict(features).cpu() == one.labels[rows]).float()
        return [int(value) for value in scores.tolist()]

    def _logits(self, one: _Prepared) -> Iterator[tuple[list[int], Tensor, list[int]]]:
        """Rows of a few texts, the next-token logits of all but their last tokens, and the count for each text."""
        for rows, features, counts in self._features(one):
            yield rows, features @ self.output_layer().mT, counts

    def _features(self, one: _Prepared) -> Iterator[tuple[list[int], Tensor, list[int]]]:
        """Rows of a few inputs, their features one input after another, and the count for each input."""
        for place, part in enumerate(one.packs):
            rows = [chosen.row for chosen in part]
            batch = self.encoder.batch([one.inputs.items[row] for row in rows]) if one.batches is None else None
            batch = one.batches[place] if batch is None and one.batches is not None else batch
            assert batch is not None
            yield rows, self.encoder.features(self.encoder.module, self._given, batch), list(batch.rows)

    def _put(self, name: str, weight: Tensor) -> None:
        module, _, last = name.rpartition(".")
        if name == OUTPUT:
            self._output = weight
        elif module in self._packed:
            layer = self._packed[module]
            if last == "weight":
                layer.assign(weight, layer.bias)
            else:
                layer.bias = weight.detach().float().contiguous()
        else:
            # The base's own tensor stays unchanged: this one replaces it in the module.
            self._own[name].data = weight


def _targets(one: _Prepared, rows: Sequence[int]) -> Tensor:
    """The tokens of a few texts that are predicted: all but each text's first."""
    return torch.tensor([token for row in rows for token in one.inputs.items[row][1:]])


def _likelihoods(logits: Tensor, targets: Tensor, counts: list[int]) -> Tensor:
    """The mean log-likelihood of each text's tokens."""
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none").cpu()
    return torch.stack([-text.double().mean().float() for text in losses.split(counts)])
