"""Scores on labelled inputs in an inspection: a comparison of methods, and the merged model's own evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mergeometry.comparison.kept import rows_of
from mergeometry.comparison.result import CompareRow, Comparison
from mergeometry.errors import SourceError
from mergeometry.inspection.kept_scores import evaluation_of
from mergeometry.inspection.result import Inspection, Sentence, finite


def with_scores(inspection: Inspection, comparison: Comparison | None, output: Path) -> Inspection:
    """The inspection of a merge with the comparison, if one is given, and with the scores that were kept of it.

    Raises:
        SourceError: a figure of the comparison is not finite.
    """
    digest = inspection.output.digest if inspection.output else ""
    evaluation = evaluation_of(output, digest)
    if comparison is None:
        return replace(inspection, evaluation=evaluation)
    content = comparison.to_json()
    plain = finite(content)
    if _missing(plain) != _missing(content):
        raise SourceError("the comparison holds a figure that is not finite", hint="run `mergeometry compare` again")
    told = sentences_on(comparison, inspection.recipe, inspection.labels)
    verdict = sorted((*told, *inspection.verdict), key=lambda sentence: sentence.level == "note")
    return replace(inspection, comparison=plain, evaluation=evaluation, verdict=tuple(verdict))


def sentences_on(comparison: Comparison, recipe: Mapping[str, Any], labels: Sequence[str]) -> Iterator[Sentence]:
    """What the comparison says of this merge: how its method did, and whether another scale did better."""
    first, own = comparison.rows[0], next(iter(rows_of(comparison, recipe)), None)
    if set(comparison.seen) != set(labels):
        yield Sentence(
            "attention",
            f"The comparison merged other models than this merge: {', '.join(comparison.seen)}.",
        )
    if own is None:
        yield Sentence("note", f"The comparison has no row that merges as this one does; {first.name} kept most there.")
        return
    place = comparison.rows.index(own)
    text = f"In the comparison, {own.name} at scale {own.best_scale:g} kept {_kept(own)} of what the experts gain"
    if place:
        noise = "" if own in comparison.within_noise() else ", more than by chance"
        text += f"; {first.name} kept most, {_kept(first)}{noise}"
    yield Sentence("note", f"{text}.")
    scale = recipe.get("scale")
    if not isinstance(scale, int | float) or scale == own.best_scale:
        return
    clear = scale == 1 and own.regret_at_one > 2 * own.regret_spread
    yield Sentence(
        "attention" if clear else "note",
        f"This merge has scale {scale:g}; in the comparison, {own.best_scale:g} did best for {own.name}.",
    )


def _kept(row: CompareRow) -> str:
    share = row.at_best.gain_kept
    if share is None:
        return "nothing"
    spread = "" if row.at_best.spread is None else f" ± {100 * row.at_best.spread:.0f}"
    return f"{100 * share:.0f}{spread} %"


def _missing(value: Any) -> int:
    """How many figures are null."""
    if isinstance(value, Mapping):
        return sum(map(_missing, value.values()))
    return sum(map(_missing, value)) if isinstance(value, list | tuple) else value is None
