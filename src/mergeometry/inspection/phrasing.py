"""What keeps a verdict readable however many models there are, and whatever they are called."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mergeometry.inspection.result import Inspection, Sentence
from mergeometry.words import brief

_OF_A_KIND = 5
"""Sentences of a kind, such as of pairs that are copies, before the others are only counted."""


def with_brief_names(inspection: Inspection) -> Inspection:
    """The same with models' names that fit a sentence."""
    totals = inspection.totals
    return replace(
        inspection,
        models=tuple(replace(model, label=brief(model.label)) for model in inspection.models),
        totals=replace(
            totals,
            models=tuple(replace(model, label=brief(model.label)) for model in totals.models),
            pairs=tuple(replace(pair, one=brief(pair.one), other=brief(pair.other)) for pair in totals.pairs),
        ),
    )


def first_of(sentences: Iterable[Sentence], others: str) -> list[Sentence]:
    """The first sentences of a kind, and how many there are beyond them."""
    every = list(sentences)
    beyond = len(every) - _OF_A_KIND
    if beyond <= 1:
        return every
    return [*every[:_OF_A_KIND], Sentence(every[_OF_A_KIND].level, f"{beyond:,} more {others}.")]
