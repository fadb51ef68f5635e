"""Squared gradients of a model's log-likelihoods, input by input: the diagonal of its Fisher information."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.encoders import Encoder, Inputs
from mergeometry.encoders.heads import Head
from mergeometry.encoders.language import LanguageModel

Labels: TypeAlias = Literal["expected"] | int
"""Over which labels of an input squares are averaged: every class by its probability, or a number that are drawn."""


class Squares:
    """Adds up squared gradients of some tensors, each as soon as the backward pass has its gradient."""

    def __init__(self, leaves: Mapping[str, Tensor]) -> None:
        self.totals = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
        """The sum by name; zero where no input depends on a tensor."""
        self.weight = 1.0
        """What the squares of the next backward pass are multiplied by."""
        for name, leaf in leaves.items():
            leaf.requires_grad_().register_post_accumulate_grad_hook(self._adding(name))

    def _adding(self, name: str):
        def add(leaf: Tensor) -> None:
            # At once, so that the gradients of whole models are never all in memory.
            assert leaf.grad is not None
            self.totals[name].addcmul_(leaf.grad, leaf.grad, value=self.weight)
            leaf.grad = None

        return add


def squared_gradients(
    encoder: Encoder,
    weights: Mapping[str, Tensor],
    head: Head | None,
    inputs: Inputs,
    squares: Squares,
    labels: Labels,
    generator: torch.Generator,
) -> None:
    """Add ``mean_x E_{y ~ p(y | x)} (d log p(y | x) / d W)^2`` to the squares, one input at a time.

    A language model has no ``head``, and a label for each token that it predicts: drawn independently given the text
    before it, scores of different tokens have no correlation, so that the square of their sum has the sum of their
    squares as its expectation.
    """
    for item in inputs.items:
        with torch.enable_grad():
            features = encoder.features(encoder.module, weights, encoder.batch([item]))
            scores = _scores(encoder, weights, head, features)
        for likelihood, share, last in _likelihoods(scores, labels, generator):
            squares.weight = share / len(inputs)
            torch.autograd.backward(likelihood, retain_graph=not last)


def _scores(
    encoder: Encoder, weights: Mapping[str, Tensor], head: Head | None, features: Float[Tensor, "rows d"]
) -> Float[Tensor, "rows labels"]:
    """The log-probability of every label."""
    if head is not None:
        return head.logits(features).log_softmax(dim=-1)
    assert isinstance(encoder, LanguageModel)
    return (features @ encoder.head_weight(weights).to(features).mT).log_softmax(dim=-1)


def _likelihoods(
    scores: Float[Tensor, "rows labels"], labels: Labels, generator: torch.Generator
) -> Iterator[tuple[Float[Tensor, ""], float, bool]]:
    """The log-likelihoods whose squared gradients are added, the share of each, and whether it is the last."""
    with torch.enable_grad():
        if labels == "expected":
            (row,) = scores
            shares = row.detach().exp().tolist()
            for label, share in enumerate(shares):
                yield row[label], share, label + 1 == len(shares)
            return
        for draw in range(labels):
            drawn = torch.multinomial(scores.detach().exp().cpu(), 1, generator=generator).to(scores.device)
            yield scores.gather(1, drawn).sum(), 1 / labels, draw + 1 == labels
