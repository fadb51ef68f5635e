"""When numbers count as zero, and the warning that a decomposition needed its second driver."""

from __future__ import annotations

RANK_TOLERANCE = 1e-6
"""Singular values below this share of the largest are zero: float32 task vectors resolve no direction there."""

WELL_CONDITIONED = 1e-8
"""Reciprocal condition number above which a Cholesky factor gives eight digits, in a tenth of the time."""


FELL_BACK = " used"
"""How the text of the warning ends."""


class DecompositionFallbackWarning(UserWarning):
    """A driver failed on a matrix and another one was used; the run record counts these."""
