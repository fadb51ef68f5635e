"""A text encoder with mean pooling, made to score many sets of weights on the same texts.

Texts are tokenised once into batches; a model is built once and takes new weights in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mergeometry.encoders.library import import_transformers, quiet_transformers
from mergeometry.encoders.packed import PackedLinear, pack_linears
from mergeometry.errors import DataError
from mergeometry.execution.threads import one_thread

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TOKENS_A_BATCH = 768  # with its activations, what fits the caches of one core
_NOT_RUN = ("pooler.", "embeddings.position_ids")  # saved with a BERT encoder, without effect on mean pooling


@dataclass(frozen=True)
class Batch:
    """Texts of similar length, padded to the longest; ``rows`` are their places among all texts."""

    tokens: Int[Tensor, "texts length"]
    mask: Int[Tensor, "texts length"]
    rows: Int[Tensor, " texts"]


@dataclass(frozen=True)
class Prepared:
    """Texts as batches of tokens, ready to be encoded by any weights of one model."""

    batches: tuple[Batch, ...]
    count: int


class Tokenizer:
    """The tokenizer of a model's folder, which cuts texts at a fixed number of word pieces."""

    def __init__(self, folder: Path, longest: int = 32) -> None:
        self._tokenizer: Any = import_transformers().AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.longest = longest

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """Return each text's token numbers, with the model's marks of start and end."""
        return self._tokenizer(list(texts), truncation=True, max_length=self.longest)["input_ids"] if texts else []

    def batch(self, pieces: Sequence[Sequence[int]], rows: Iterable[int]) -> Batch:
        """Pad the texts of the given rows to the longest among them."""
        rows = list(rows)
        length = max(len(pieces[row]) for row in rows)
        pad = self._tokenizer.pad_token_id
        tokens = torch.tensor([[*pieces[row], *[pad] * (length - len(pieces[row]))] for row in rows])
        mask = torch.tensor([[1] * len(pieces[row]) + [0] * (length - len(pieces[row])) for row in rows])
        return Batch(tokens, mask, torch.tensor(rows))

    def prepare(self, texts: Sequence[str]) -> Prepared:
        """Batch texts of similar length, so that little is computed for padding."""
        pieces = self.pieces(texts)
        ordered = sorted(range(len(pieces)), key=lambda row: (len(pieces[row]), row))
        batches: list[Batch] = []
        start = 0
        while start < len(ordered):
            # Batches are cut from the short end; the next text's length bounds how many fit.
            stop = start + 1
            while stop < len(ordered) and len(pieces[ordered[stop]]) * (stop + 1 - start) <= _TOKENS_A_BATCH:
                stop += 1
            batches.append(self.batch(pieces, ordered[start:stop]))
            start = stop
        return Prepared(tuple(batches), len(pieces))


class Encoder:
    """A pre-trained encoder that can take other weights of the same shapes.

    Law: ``encode`` depends only on the weights and the texts of each batch, not on earlier calls or the number of
    threads.
    """

    def __init__(self, folder: Path) -> None:
        self._model = build_model(folder)
        self._packed: dict[str, PackedLinear] = pack_linears(self._model)

    def load(self, weights: Mapping[str, Tensor], *, partial: bool = False) -> None:
        """Take new weights in place, named as in the base's ``model.safetensors``.

        Every weight of the model must be given, unless ``partial``: then the others stay as they are. A name
        that the model lacks is always an error.

        Raises:
            DataError: a weight is missing or does not fit.
        """
        expected = self._shapes()
        given = {name: weight for name, weight in weights.items() if not name.startswith(_NOT_RUN)}
        wrong = [name for name in given if name not in expected or tuple(given[name].shape) != expected[name]]
        missing = [] if partial else [name for name in expected if name not in given]
        if wrong or missing:
            problem = f"{wrong[0]} does not fit" if wrong else f"{missing[0]} is missing"
            raise DataError(
                f"these weights are not of this encoder: {problem} ({len(wrong)} do not fit, {len(missing)} missing)",
                tensor=(wrong or missing)[0],
            )
        plain = dict(self._model.named_parameters())
        with torch.inference_mode():
            for name, module in self._packed.items():
                if f"{name}.weight" in given or f"{name}.bias" in given:
                    weight = given.get(f"{name}.weight")
                    module.assign(module.dense() if weight is None else weight, given.get(f"{name}.bias", module.bias))
            for name, parameter in plain.items():
                if name in given:
                    parameter.copy_(given[name])

    def encode(self, prepared: Prepared) -> Float[Tensor, "texts d"]:
        """Return the mean over each text's tokens of the last layer."""
        features = torch.empty(prepared.count, self._model.config.hidden_size)
        with one_thread(), torch.inference_mode():
            for batch in prepared.batches:
                features[batch.rows] = mean_pool(self._model, batch)
        return features

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        shapes = {name: tuple(parameter.shape) for name, parameter in self._model.named_parameters()}
        for name, module in self._packed.items():
            shapes[f"{name}.weight"] = (module.out_features, module.in_features)
            if module.bias is not None:
                shapes[f"{name}.bias"] = (module.out_features,)
        return shapes


def mean_pool(model: Any, batch: Batch) -> Float[Tensor, "texts d"]:
    """Run the model and average over the tokens that are no padding."""
    # Without padding there is nothing to mask, and attention takes its fastest path.
    mask = None if bool(batch.mask.all()) else batch.mask
    hidden = model(input_ids=batch.tokens, attention_mask=mask).last_hidden_state
    if mask is None:
        return hidden.mean(1)
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


def build_model(folder: Path) -> PreTrainedModel:
    """Build the encoder of a folder in 32 bit, without the pooler that mean pooling never runs."""
    transformers = import_transformers()
    with quiet_transformers():
        model = transformers.AutoModel.from_pretrained(
            folder, local_files_only=True, add_pooling_layer=False, dtype=torch.float32
        )
    return model.eval().requires_grad_(False)
