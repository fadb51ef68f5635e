"""How many directions of a task vector take part: what a recipe may say, and what it comes to for one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mergeometry.linalg.selection import share_of


def _rank(value: object) -> int | float | str:
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    if isinstance(value, float) and 0 < value < 1:
        return value
    raise ValueError(f"a rank is an integer >= 1, a fraction between 0 and 1, or auto; got {value!r}")


Rank = Annotated[
    int | float | Literal["auto"],
    BeforeValidator(_rank),
    Field(
        description="directions of each task: an integer, a fraction of the smaller side, or auto "
        "(smaller side / number of tasks; an adapter's own rank)",
    ),
]
"""An integer >= 1, a fraction in (0, 1) of the smaller side, or ``auto``."""


def check_rank(rank: int | float | str, shape: Sequence[int]) -> None:
    """Refuse a rank that a matrix cannot have.

    Raises:
        ValueError: with the reason in words that fit after "tensor X: ".
    """
    if isinstance(rank, int) and rank > min(shape):
        raise ValueError(
            f"rank {rank} is out of range: a {shape[0]} x {shape[1]} matrix has at most {min(shape)}; "
            "a fraction such as 0.125 fits every tensor"
        )


def rank_of(rank: int | float | str, shape: Sequence[int], tasks: int, held: int | None = None) -> int:
    """How many directions of a task vector take part: ``auto`` is ``floor(min(m, n) / T)``, or an adapter's own rank.

    ``held`` is the rank of a low-rank task vector, or None for a dense one. At least one direction.
    """
    smaller = min(shape)
    if isinstance(rank, float):
        return share_of(smaller, rank)
    if isinstance(rank, int):
        return rank
    return held if held is not None else max(1, smaller // tasks)
