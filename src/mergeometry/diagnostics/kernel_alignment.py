"""How similar the features of two models are on the same inputs: centred kernel alignment of linear kernels."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor

_LEAST_INPUTS = 4
"""The unbiased estimate divides by ``n - 3``."""


def centred_gram(features: Float[Tensor, "n d"]) -> Float64[Tensor, "n n"]:
    """``H X X^T H``: inner products of the features less their mean, all that an alignment needs of them."""
    exact = features.double()
    exact = exact - exact.mean(dim=0)
    return exact @ exact.mT


def linear_cka(first: Float64[Tensor, "n n"], second: Float64[Tensor, "n n"]) -> float | None:
    """``<K, L> / (||K|| ||L||)`` of two centred Gram matrices: 1 for features equal up to rotation and scale.

    It is above 0 even for unrelated features, the more so the fewer inputs there are. None where the features of one
    model are all equal.

    Source: Kornblith, Norouzi, Lee and Hinton 2019 (arXiv 1905.00414), sections 2.3 and 3.
    """
    return _cosine(float((first * second).sum()), float(first.square().sum()), float(second.square().sum()))


def unbiased_cka(first: Float64[Tensor, "n n"], second: Float64[Tensor, "n n"]) -> float | None:
    """The same from unbiased estimates of the three terms: about 0 for unrelated features, however few the inputs.

    It can be slightly below 0. None for fewer than four inputs, and where the features of one model are all equal.

    Source: ``HSIC_1`` of Song, Smola, Gretton, Bedo and Borgwardt 2012 (JMLR 13), equation 5; in alignments since
    Nguyen, Raghu and Kornblith 2021 (arXiv 2010.15327), section 3.
    """
    if len(first) < _LEAST_INPUTS:
        return None
    one, other = _without_diagonal(first), _without_diagonal(second)
    return _cosine(_dependence(one, other), _dependence(one, one), _dependence(other, other))


def _without_diagonal(gram: Float64[Tensor, "n n"]) -> Float64[Tensor, "n n"]:
    return gram - torch.diag(gram.diagonal())


def _dependence(one: Float64[Tensor, "n n"], other: Float64[Tensor, "n n"]) -> float:
    """``HSIC_1`` times ``n (n - 3)``, which cancels in an alignment."""
    count = len(one)
    rows, columns = one.sum(dim=0), other.sum(dim=0)
    total = (one * other).sum() + rows.sum() * columns.sum() / ((count - 1) * (count - 2))
    return float(total - 2 / (count - 2) * (rows @ columns))


def _cosine(between: float, first: float, second: float) -> float | None:
    return between / (first**0.5 * second**0.5) if first > 0 and second > 0 else None
