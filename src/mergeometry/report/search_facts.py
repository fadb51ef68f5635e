"""What a search before a merge has tried and chosen, as lines for people and as a drawing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from mergeometry.report.line_chart import line_chart
from mergeometry.report.run_facts import Line


def search_facts(record: Mapping[str, Any]) -> list[Line]:
    """What was chosen from what, how it scored, and on which inputs; nothing where the record tells of no search."""
    search = record.get("search")
    lines = _facts(search) if isinstance(search, Mapping) and _curve(search) else ()
    return [(term, text) for term, text in lines if text]


def search_curve(record: Mapping[str, Any]) -> str:
    """Draw the validation score by scale, or by trial, with the base's; empty where fewer than two are known."""
    search = record.get("search")
    curve = _curve(search) if isinstance(search, Mapping) else []
    base = search.get("base") if isinstance(search, Mapping) else None
    if len(curve) < 2 or not isinstance(base, int | float):
        return ""
    ends = [(curve[0][0], float(base)), (curve[-1][0], float(base))]
    across = "trial" if "trials" in record["search"] else "scale"
    return line_chart(curve, ends, across=across, label=f"Validation score by {across}, with the base's score")


def _facts(search: Mapping[str, Any]) -> Iterator[Line]:
    curve, inputs, scale = _curve(search), search.get("inputs"), search.get("scale")
    if isinstance(scale, int | float):
        yield "Chosen", f"scale {scale:g} of {len(curve)}"
        reached, base = _figure(dict(curve).get(scale)), _figure(search.get("base"))
        yield f"Validation {search.get('measure')}", f"{reached}, the base {base}"
    chosen = search.get("chosen")
    if isinstance(chosen, int) and 0 <= chosen < len(curve):
        yield "Chosen", f"trial {chosen + 1} of {len(curve)}; the first is the recipe as it is written"
        start, reached, base = _figure(curve[0][1]), _figure(curve[chosen][1]), _figure(search.get("base"))
        yield f"Validation {search.get('measure')}", f"{reached}, as the recipe is written {start}, the base {base}"
        inputs = inputs.get("validation") if isinstance(inputs, Mapping) else None
    tested = search.get("test")
    if isinstance(tested, Mapping):
        yield (
            "On test inputs",
            f"{_figure(tested.get('chosen'))}, as the recipe is written {_figure(tested.get('start'))}",
        )
    if isinstance(inputs, Mapping):
        yield "Validation inputs", ", ".join(f"{count} of {task}" for task, count in inputs.items())


def _curve(search: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Scale, or the number of the trial, and score."""
    trials = search.get("trials")
    if isinstance(trials, list | tuple):
        scores = [one.get("score") for one in trials if isinstance(one, Mapping)]
        known = enumerate(scores, 1)
        return [(place, float(score)) for place, score in known if isinstance(score, int | float)]
    given = search.get("validation")
    pairs = given.items() if isinstance(given, Mapping) else ()
    return sorted(
        (float(scale), float(score)) for scale, score in pairs if _is_text_of_number(scale) and _is_number(score)
    )


def _is_text_of_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "–"
