"""The laws, in the order in which they are checked."""

from __future__ import annotations

from mergeometry.conformance import (
    laws_of_adapters,
    laws_of_models,
    laws_of_pieces,
    laws_of_results,
    laws_of_sizes,
)
from mergeometry.conformance.law import Check
from mergeometry.methods.base import Method

CHECKS: tuple[Check, ...] = (
    *laws_of_models.CHECKS,
    *laws_of_results.CHECKS,
    *laws_of_sizes.CHECKS,
    *laws_of_adapters.CHECKS,
    *laws_of_pieces.CHECKS,
)
"""Every law, in the order in which `check` runs them."""


def check(method: Method) -> None:
    """Check a method against every law.

    Raises:
        AssertionError: the method breaks a law; the message starts with the law's name.
    """
    for law in CHECKS:
        try:
            law.run(method)
        except AssertionError as error:
            raise AssertionError(f"{law.name}: {error}") from error
