"""The scales that a comparison tries."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mergeometry.errors import RecipeError

DEFAULT = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
"""From 0.1 to 3, closer together where the best scales of most methods lie."""

MOST = 200
_HINT = "write first:last:step, such as 0.1:3.0:0.1, or a list, such as 0.5,1,2"


def read_scales(given: str | Sequence[float] | None) -> tuple[float, ...]:
    """Read scales, ascending, each once: ``first:last:step``, numbers separated by commas, or a list of numbers.

    1 is always among them, since every method is also reported at scale 1.

    Raises:
        RecipeError: a scale is not a number above 0, or there are too many.
    """
    if given is None:
        return DEFAULT
    values = _parsed(given) if isinstance(given, str) else [float(value) for value in given]
    if not all(math.isfinite(value) and 0 < value <= 1e3 for value in values):
        raise RecipeError(f"scales must be above 0 and at most 1000, got {given}", hint=_HINT)
    # Steps of a tenth do not add up exactly; ten digits do.
    scales = sorted({round(value, 10) for value in [*values, 1.0]})
    if len(scales) > MOST:
        raise RecipeError(f"{len(scales)} scales are more than {MOST}", hint="use a larger step")
    return tuple(scales)


def nearest_to_one(scales: Sequence[float], worth: Sequence[float]) -> float:
    """The scale with the highest worth; among equals the nearest to 1, which relies least on validation inputs."""
    pairs = zip(scales, worth, strict=True)
    return min(pairs, key=lambda pair: (-pair[1], abs(pair[0] - 1.0), pair[0]))[0]


def _parsed(text: str) -> list[float]:
    try:
        if ":" not in text:
            return [float(part) for part in text.split(",") if part.strip()]
        first, last, step = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise RecipeError(f"the scales {text!r} cannot be read", hint=_HINT) from error
    if not (math.isfinite(first + last + step) and step > 0 and last >= first):
        raise RecipeError(f"the scales {text!r} are an empty range", hint=_HINT)
    count = math.floor((last - first) / step + 1e-9) + 1
    if count > MOST:
        raise RecipeError(f"{count} scales are more than {MOST}", hint="use a larger step")
    return [first + step * place for place in range(count)]
