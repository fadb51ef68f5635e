"""A share with its 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mergeometry.inspection.on_inputs import Share

_NORMAL = 1.959963984540054
"""Quantile of the normal distribution that leaves 2.5 % on either side."""
_RESAMPLES = 1000


def of_inputs(equal: int, count: int) -> Share:
    """``equal`` of ``count`` independent inputs, with Wilson's interval.

    Source: Wilson 1927 (Journal of the American Statistical Association 22, 209-212).
    """
    share, square = equal / count, _NORMAL**2 / count
    centre, half = share + square / 2, _NORMAL * math.sqrt((share * (1 - share) + square / 4) / count)
    low, high = (centre - half) / (1 + square), (centre + half) / (1 + square)
    # At the ends the interval touches the share, but for rounding.
    return Share(share, max(0.0, low) if equal else 0.0, min(1.0, high) if equal < count else 1.0)


def of_tokens(equal: Sequence[int], counts: Sequence[int]) -> Share:
    """The share of all texts' tokens, with the interval of a bootstrap over texts: a text's tokens are not independent.

    Source: Efron 1979, by percentiles.
    """
    equals, totals = np.asarray(equal, dtype=float), np.asarray(counts, dtype=float)
    drawn = np.random.default_rng(0).integers(len(equals), size=(_RESAMPLES, len(equals)))
    shares = equals[drawn].sum(axis=1) / totals[drawn].sum(axis=1)
    low, high = np.quantile(shares, (0.025, 0.975))
    return Share(float(equals.sum() / totals.sum()), float(low), float(high))
