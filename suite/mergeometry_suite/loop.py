"""One training loop for every form of expert: cross-entropy through a frozen head, the best epoch kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from mergeometry.encoders.heads import Head, accuracy
from mergeometry.errors import DataError
from mergeometry.execution.threads import one_thread
from mergeometry.learning.precision import dtype_of
from mergeometry_suite.backbone import PIECES
from mergeometry_suite.minilm import Prepared, Tokenizer, mean_pool
from mergeometry_suite.schedule import warm_cosine
from mergeometry_suite.splits import Splits

_WINDOW = 8  # batches whose texts are sorted by length together, so that little is padding
_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Course:
    """How weights are trained, in every form of expert.

    ``precision`` is of matrix products alone: ``float32``, ``bfloat16``, or ``auto``, which is bfloat16 where
    the processor is fast at it. Weights, sums and the solver are float32 always.
    """

    learning_rate: float
    epochs: int = 5
    batch: int = 32
    warmup: float = 0.1
    weight_decay: float = 0.0
    clip: float = 1.0
    seed: int = 0
    precision: str = "float32"


@dataclass(frozen=True)
class Epoch:
    """The result of one pass over the training texts; ``steps`` counts from the start."""

    number: int
    steps: int
    loss: float
    validation: float


@dataclass(frozen=True)
class Trained:
    """A model with the weights of its best epoch, and the epochs of its training; ``products`` is a dtype's name."""

    model: Any
    epochs: tuple[Epoch, ...]
    best: Epoch
    products: str


def train_weights(
    model: Any,
    folder: Path,
    head: Head,
    splits: Splits,
    course: Course,
    progress: Callable[[Epoch], None] | None = None,
) -> Trained:
    """Train those weights of a text encoder that require gradients; ``folder`` holds its tokenizer.

    Raises:
        DataError: the loss is not finite any more.
    """
    tokenizer = Tokenizer(folder, PIECES)
    train, validation = splits.train, splits.validation
    pieces, checked = tokenizer.pieces(train.texts), tokenizer.prepare(validation.texts)
    labels = torch.tensor(train.labels)

    def losses(shuffle: torch.Generator) -> Iterator[Tensor]:
        for rows in batches_of([len(text) for text in pieces], course.batch, shuffle):
            batch = tokenizer.batch(pieces, rows)
            with products(course):
                features = mean_pool(model, batch)
            yield torch.nn.functional.cross_entropy(head.logits(features.float()), labels[batch.rows])

    def score() -> float:
        return accuracy(head, encode_with(model, checked), validation.labels)

    return train_to_best(model, math.ceil(len(train) / course.batch), losses, score, course, progress)


def train_to_best(
    model: Any,
    batches: int,
    losses: Callable[[torch.Generator], Iterator[Tensor]],
    score: Callable[[], float],
    course: Course,
    progress: Callable[[Epoch], None] | None = None,
) -> Trained:
    """Train those weights of a model that require gradients, and keep those of its best epoch.

    ``losses`` goes once through the training data, ``batches`` steps, each loss computed with the weights as they
    are when it is asked for; ``score`` is the model's accuracy on validation data.

    Raises:
        DataError: the loss is not finite any more.
    """
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    # Fused, because one pass over the word embeddings' moments is ten times as fast as five.
    solver = torch.optim.AdamW(trained.values(), lr=course.learning_rate, weight_decay=course.weight_decay, fused=True)
    total = course.epochs * batches
    schedule = torch.optim.lr_scheduler.LambdaLR(solver, lambda step: warm_cosine(step, total, course.warmup))
    shuffle = torch.Generator().manual_seed(course.seed)

    epochs: list[Epoch] = []
    best: Epoch | None = None
    best_weights: dict[str, Tensor] = {}
    steps = 0
    with one_thread():
        for number in range(1, course.epochs + 1):
            values: list[float] = []
            for loss in losses(shuffle):
                solver.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(trained.values(), course.clip)
                solver.step()
                schedule.step()
                values.append(loss.item())
                steps += 1
            if not math.isfinite(values[-1]):
                raise DataError("the loss is no longer finite", hint="train with a lower learning rate")
            epoch = Epoch(number, steps, round(sum(values) / len(values), 5), round(score(), 4))
            epochs.append(epoch)
            if best is None or epoch.validation > best.validation:
                best = epoch
                best_weights = {name: weight.detach().clone() for name, weight in trained.items()}
            if progress is not None:
                progress(epoch)
    assert best is not None
    with torch.no_grad():
        for name, weight in trained.items():
            weight.copy_(best_weights[name])
    return Trained(model, tuple(epochs), best, str(dtype_of(course.precision, _CPU)).removeprefix("torch."))


def encode_with(model: Any, prepared: Prepared) -> Float[Tensor, "texts d"]:
    """Return the features of a model as it stands, with or without an adapter on top of its weights."""
    features = torch.empty(prepared.count, model.config.hidden_size)
    with one_thread(), torch.inference_mode():
        for batch in prepared.batches:
            features[batch.rows] = mean_pool(model, batch)
    return features


@contextmanager
def products(course: Course) -> Iterator[None]:
    """Compute matrix products in the precision that the course asks for."""
    dtype = dtype_of(course.precision, _CPU)
    if dtype == torch.float32:
        yield
        return
    # On short inputs the fused attention's backward pass in bfloat16 takes longer than all the rest.
    with torch.autocast(_CPU.type, dtype), sdpa_kernel(SDPBackend.MATH):
        yield


def batches_of(lengths: list[int], size: int, shuffle: torch.Generator) -> Iterator[list[int]]:
    """Go through texts of these lengths once, in batches of similar lengths, in random order."""
    order = torch.randperm(len(lengths), generator=shuffle).tolist()
    batches: list[list[int]] = []
    for start in range(0, len(order), size * _WINDOW):
        window = sorted(order[start : start + size * _WINDOW], key=lambda row: lengths[row])
        batches += [window[first : first + size] for first in range(0, len(window), size)]
    for place in torch.randperm(len(batches), generator=shuffle).tolist():
        yield batches[place]
