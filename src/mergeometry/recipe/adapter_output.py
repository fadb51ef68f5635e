"""How a recipe asks for an adapter: its rank, what is factored, and what becomes of all else."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from mergeometry.recipe.strict import StrictModel

DEFAULT_ENERGY = 0.95
"""Share of a matrix's squared norm that `rank: auto` keeps where the recipe gives none."""


def _rank(value: object) -> object:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    share = isinstance(value, float) and 0 < value < 1
    if whole or share or value == "auto":
        return value
    raise ValueError("a rank is a whole number from 1 on, a share of the full rank between 0 and 1, or auto")


Rank: TypeAlias = Annotated[int | float | Literal["auto"], BeforeValidator(_rank)]


class AdapterOutput(StrictModel):
    """Write an adapter, of the exact rank or truncated to one, as PEFT, diffusers or kohya store it.

    ``other`` says what becomes of what no factors hold, such as norms and tables: "all" of it is written whole, or
    only what is "changed" by the merge, or "none". ``include`` and ``exclude`` are globs over the base's tensors:
    what they leave out is not in the adapter.
    """

    rank: Rank | None = None
    format: Literal["peft", "diffusers", "kohya"] = "peft"
    energy: Annotated[float, Field(gt=0, le=1)] | None = None
    other: Literal["all", "changed", "none"] = "all"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _energy_of_auto(self) -> AdapterOutput:
        if self.energy is not None and self.rank != "auto":
            raise ValueError("energy: it decides the ranks that `rank: auto` gives; leave one of the two out")
        return self

    @property
    def energy_kept(self) -> float | None:
        """The share of each matrix's squared norm to keep, where that decides its rank."""
        return (self.energy or DEFAULT_ENERGY) if self.rank == "auto" else None

    @property
    def measures(self) -> bool:
        """Whether what is written depends on the merged values, which are then measured beforehand."""
        return self.rank == "auto" or self.other != "all" or bool(self.include or self.exclude)
