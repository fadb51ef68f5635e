"""Texts, and the suite's text encoder taken apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.studies.few_inputs.kinds import Drawn
from benchmarks.studies.scores import Expert, Scores
from benchmarks.studies.text_scores import LENGTH, text_scores, write_texts
from mergeometry_suite.backbone import backbone
from mergeometry_suite.full import load_full_expert
from mergeometry_suite.minilm import Batch, Tokenizer, build_model
from mergeometry_suite.tasks import load


class Texts:
    """The text suite's full fine-tunes."""

    name = "text"
    encoder: Mapping[str, Any] = {"max_length": LENGTH}

    def expert(self, task: str, trained: int) -> Expert:
        return load_full_expert(task, seed=trained)

    def scores(self, experts: Mapping[str, Expert], count: int | None) -> Scores:
        return text_scores(experts, count)

    def inputs(self, task: str, drawn: Drawn) -> Sequence[str]:
        splits = load(task)
        return splits.train.texts if drawn == "trained on" else splits.validation.texts

    def write(self, place: Path, inputs: Sequence[str]) -> str:
        return write_texts(place, inputs)

    def layers(self) -> TextLayers:
        return TextLayers()


class TextLayers:
    """The layers of the text encoder, whose features are means over its last one."""

    def __init__(self) -> None:
        self._tokenizer = Tokenizer(backbone(), LENGTH)
        self.names: Mapping[str, str] = {name: name for name, _ in self.build().named_parameters()}

    def build(self) -> Any:
        return build_model(backbone())

    def load(self, model: Any, weights: Mapping[str, Tensor]) -> None:
        with torch.inference_mode():
            for name, parameter in model.named_parameters():
                parameter.copy_(weights[name])

    def prepare(self, inputs: Sequence[str]) -> Sequence[Batch]:
        return self._tokenizer.prepare(inputs).batches

    def parts(self, model: Any) -> Mapping[str, Any]:
        return {f"encoder.layer.{place}": layer for place, layer in enumerate(model.encoder.layer)}

    def embedded(self, model: Any, batch: Batch) -> Tensor:
        return model.embeddings(input_ids=batch.tokens)

    def run(self, part: Any, hidden: Tensor, batch: Batch) -> Tensor:
        away = (1.0 - batch.mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        given = part(hidden, attention_mask=None if bool(batch.mask.all()) else away)
        return given[0] if isinstance(given, tuple) else given

    def rows(self, hidden: Tensor, batch: Batch) -> Float[Tensor, "tokens n"]:
        return hidden[batch.mask.bool()]
