"""How sure a router may be: a divisor of its scores by which probabilities hold for inputs that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy

from mergeometry.routing.discriminant import discriminant

FOLDS = 5
"""Parts of each group, of which each is scored once by what the others fit."""

_LARGEST = 1e4
"""Divisor at which all groups are as good as equally probable."""

_TOLERANCE = 1e-9
"""Of the logarithm of the divisor."""


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

    interval = (0.0, math.log(_LARGEST))
    found: Any = minimize_scalar(loss, bounds=interval, method="bounded", options={"xatol": _TOLERANCE})
    # Where nothing is gained, scores stay as they are.
    temperature = math.exp(found.x) if found.fun < loss(0.0) else 1.0
    return Confidence(temperature, float((scores.argmax(dim=1) == group).double().mean()))


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
