"""How sure a router may be: a divisor of its scores by which probabilities hold for inputs that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from mergeometry.routing.discriminant import discriminant

FOLDS = 5
"""Parts of each group, of which each is scored once by what the others fit."""

_LARGEST = 1e4
"""Divisor at which all groups are as good as equally probable."""

_STEPS = 60
"""Of the search by golden section: the interval shrinks to a millionth of a millionth."""


class Confidence(NamedTuple):
    """What examples say of a discriminant that was fitted without them."""

    temperature: float = 1.0
    """What scores are divided by, at least 1, so that these examples are as often right as they say."""
    right: float | None = None
    """Share of them that get their own group; None where a group has a single example."""


def confidence(groups: Sequence[Float[Tensor, "examples d"]]) -> Confidence:
    """How far the discriminant of some groups is right, and how sure it may be.

    The examples of each of `FOLDS` parts are scored by the discriminant of the others; the temperature minimises their
    log loss. The order of the scores stays as it is.

    Source: Guo et al. 2017, On calibration of modern neural networks, arXiv 1706.04599, section 4.2.
    """
    folds = min(FOLDS, *map(len, groups))
    if folds < 2:
        return Confidence()
    scores, group = _held_out(groups, folds)

    def loss(exponent: float) -> float:
        return float(cross_entropy(scores / math.exp(exponent), group))

    share, low, high = (math.sqrt(5) - 1) / 2, 0.0, math.log(_LARGEST)
    for _ in range(_STEPS):
        first, second = high - share * (high - low), low + share * (high - low)
        low, high = (low, second) if loss(first) <= loss(second) else (first, high)
    return Confidence(math.exp(low), float((scores.argmax(dim=1) == group).double().mean()))


def _held_out(
    groups: Sequence[Float[Tensor, "examples d"]], folds: int
) -> tuple[Float[Tensor, "examples groups"], Int[Tensor, " examples"]]:
    """Scores of every example by the discriminant of the parts that it is not in, and the group it is of."""
    scores, group = [], []
    for fold in range(folds):
        held = [torch.arange(len(one), device=one.device) % folds == fold for one in groups]
        weight, bias = discriminant([one[~out] for one, out in zip(groups, held, strict=True)])
        for place, (one, out) in enumerate(zip(groups, held, strict=True)):
            scores.append(one[out].double() @ weight.T + bias)
            group.append(torch.full((int(out.sum()),), place, device=one.device))
    return torch.cat(scores), torch.cat(group)
