"""How a recipe asks for residuals: what the merge lost of each model, as a small adapter on top of the merged one."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from mergeometry.byte_counts import bytes_in
from mergeometry.recipe.strict import StrictModel

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,9})?)\s*%")


def _size(value: object) -> object:
    """A share of the merged model's bytes, or a number of bytes."""
    text = value.strip() if isinstance(value, str) else ""
    if percent := _PERCENT.fullmatch(text):
        share = float(percent[1]) / 100
        if 0 < share <= 1:
            return share
    elif counted := bytes_in(text):
        return counted
    if (isinstance(value, int) and not isinstance(value, bool) and value >= 1) or (
        isinstance(value, float) and 0 < value <= 1
    ):
        return value
    raise ValueError("a size is a share of the merged model, such as 5%, or a number of bytes, such as 20MB")


Size: TypeAlias = Annotated[int | float, BeforeValidator(_size)]


class ResidualOutput(StrictModel):
    """Write an adapter per model that leads from the merged model back to it, as far as asked for.

    ``keep`` is the share of the squared norm of what the merge lost, kept in the fewest bytes; ``size`` the most bytes
    of each adapter, as a number or as a share of the merged model's. ``rank`` is the highest rank of any matrix, and
    alone gives every matrix that rank. ``other`` says whether what no factors hold is written too.
    """

    keep: Annotated[float, Field(gt=0, le=1)] | None = None
    size: Size | None = None
    rank: Annotated[int, Field(ge=1, strict=True)] | None = None
    dtype: Literal["base", "float32", "float16", "bfloat16"] = "base"
    other: Literal["changed", "none"] = "changed"

    @model_validator(mode="after")
    def _one_measure(self) -> ResidualOutput:
        if self.keep is None and self.size is None and self.rank is None:
            raise ValueError("say how much is kept: `keep: 0.99`, `size: 5%` or `rank: 8`")
        if self.keep is not None and self.size is not None:
            raise ValueError("keep and size: each decides how much is kept; leave one of the two out")
        return self

    def budget(self, merged: int) -> int | None:
        """The most bytes of one adapter beside a model of so many; None where `size` is not given."""
        return None if self.size is None else self.size if isinstance(self.size, int) else int(self.size * merged)
