"""What a law is: a function that takes a method, and raises where the method breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mergeometry.methods.base import Method


@dataclass(frozen=True, slots=True)
class Check:
    """One law; ``run`` raises AssertionError with the expected and the actual result."""

    name: str
    law: str
    run: Callable[[Method], None]


def checks_of(*functions: Callable[[Method], None]) -> tuple[Check, ...]:
    """Laws by the names of their functions, stated by their docstrings."""
    return tuple(
        Check(function.__name__.removeprefix("check_"), " ".join((function.__doc__ or "").split()), function)
        for function in functions
    )
