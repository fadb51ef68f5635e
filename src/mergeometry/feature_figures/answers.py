"""One model on one task's inputs: its predictions, their entropy, and what comparisons of its features need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mergeometry.diagnostics.collapse import Collapse, collapse
from mergeometry.diagnostics.kernel_alignment import centred_gram
from mergeometry.encoders import Encoder, Inputs
from mergeometry.encoders.batches import Chosen, pack
from mergeometry.encoders.heads import Head
from mergeometry.encoders.language import LanguageModel
from mergeometry.errors import NumericalError
from mergeometry.feature_figures.layers import LayerFeatures

COMPARED, COMPARED_LAYERS = 1024, 256
"""Rows whose features are compared, at the end and after each layer: a comparison holds a number per pair of rows."""

_LOGITS = 1 << 24
"""Numbers of next-token distributions that are held at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a model says about every input, or every token that it predicts."""

    predicted: Int[Tensor, " rows"] | None
    """None without a head."""
    entropy: float | None
    collapse: Collapse | None
    gram: Float64[Tensor, "compared compared"]
    layers: tuple[Float64[Tensor, "fewer fewer"] | None, ...]


def answers(
    encoder: Encoder,
    weights: Mapping[str, Tensor],
    inputs: Inputs,
    head: Head | None,
    labels: tuple[int, ...] | None,
    progress: Callable[[int], None] | None = None,
) -> Answers:
    """Run a model, whose ``weights`` differ from the base's, on a task's inputs.

    ``labels``, or else its own predictions, put the inputs into the classes whose collapse is measured. ``progress`` is
    called with the number of inputs that are done.

    Raises:
        NumericalError: a feature is not finite.
    """
    first = [0]
    for count in inputs.rows:
        first.append(first[-1] + count)
    total = first[-1]
    compared = _spread(total, COMPARED)
    features = torch.empty(len(compared), encoder.width)
    place_of = {row: place for place, row in enumerate(compared.tolist())}
    output = encoder.head_weight(weights) if isinstance(encoder, LanguageModel) else None
    predicts = head is not None or output is not None
    predicted, entropy, done = torch.empty(total, dtype=torch.long), 0.0, 0
    with torch.inference_mode(), LayerFeatures(encoder, _spread(total, COMPARED_LAYERS)) as watch:
        for part in pack([Chosen(0, row) for row in range(len(inputs))], [inputs], encoder.budget):
            batch = encoder.batch([inputs.items[one.row] for one in part])
            given = encoder.features(encoder.module, weights, batch)
            rows = [row for one in part for row in range(first[one.row], first[one.row + 1])]
            watch.take(batch, rows)
            if not bool(torch.isfinite(given).all()):
                raise NumericalError("the model's features are not finite")
            kept = [(place_of[row], index) for index, row in enumerate(rows) if row in place_of]
            if kept:
                into, taken = (torch.tensor(side) for side in zip(*kept, strict=True))
                features[into] = given[taken].float()
            if predicts:
                classes, sum_of_entropy = _predictions(given, head, output)
                predicted[torch.tensor(rows)] = classes
                entropy += sum_of_entropy
            done += len(part)
            if progress is not None:
                progress(done)
        measured = None
        if head is not None:
            told = torch.tensor(labels)[compared] if labels is not None else predicted[compared]
            measured = collapse(features, told, head.weight, predicted[compared])
        grams = tuple(None if layer is None else centred_gram(layer) for layer in watch.layers())
        return Answers(
            predicted if predicts else None, entropy / total if predicts else None, measured, centred_gram(features),
            grams,
        )  # fmt: skip


def _spread(count: int, most: int) -> Int[Tensor, " kept"]:
    """At most so many rows, evenly spread."""
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).round().long()


def _predictions(
    features: Float[Tensor, "rows d"], head: Head | None, output: Float[Tensor, "vocabulary d"] | None
) -> tuple[Int[Tensor, " rows"], float]:
    """The likeliest class or token of each row, and the sum over the rows of ``H(softmax(logits))``."""
    predicted, entropy = [], 0.0
    size = 1 if output is None else len(output)
    for part in features.split(max(1, _LOGITS // size)):
        logits = head.logits(part) if head is not None else part @ _given(output).mT
        log = torch.log_softmax(logits.float(), dim=-1)
        predicted.append(logits.argmax(dim=-1))
        # Where a probability is 0 its logarithm is not finite, and it adds nothing.
        entropy -= float(torch.nan_to_num(log.exp() * log).sum(dtype=torch.float64))
    return torch.cat(predicted), entropy


def _given(output: Tensor | None) -> Tensor:
    assert output is not None
    return output
