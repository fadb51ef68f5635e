"""Puts many sentences that say the same of different names into one, so that a hundred equal errors are one to read."""

from __future__ import annotations

import re
from collections.abc import Iterable

FEW = 5
"""Up to so many sentences of one kind are each listed in full."""
_NAMED = 3

_NAME = r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
_QUOTED = re.compile(rf"(?<!\w){_NAME}")
_NEAREST = re.compile(rf" \(nearest: {_NAME}\)")
_SHAPE = re.compile(r"\[[\d, ]*\]")


def grouped(sentences: Iterable[str]) -> list[str]:
    """Return the sentences in order, those of one kind as their first, the next few names, and how many there are.

    Sentences are of one kind if they differ only in the names that they quote and in shapes; or else in the model that
    they begin with, as in ``first: names begin with ...``.
    """
    given = list(sentences)
    groups = {place: [place] for place in range(len(given))}
    for kind_of in (_kind_by_quoted_name, _kind_by_model):
        alike: dict[str, list[int]] = {}
        for place, members in groups.items():
            if len(members) == 1 and (kind := kind_of(given[place])[0]):
                alike.setdefault(kind, []).append(place)
        for places in alike.values():
            if len(places) > FEW:
                names = [kind_of(given[place])[1] for place in places]
                given[places[0]] += _likewise(names)
                groups[places[0]] = places
                for place in places[1:]:
                    del groups[place]
    return [given[place] for place in groups]


def _likewise(names: list[str]) -> str:
    others = [name for name in dict.fromkeys(names) if name != names[0]][:_NAMED]
    if not others:
        return f"; {len(names)} times"
    return f"; likewise {', '.join(others)} and {len(names) - 1 - len(others)} more, {len(names)} in all"


def _kind_by_quoted_name(text: str) -> tuple[str, str]:
    """What a sentence says, with every name and shape left out, and the first name."""
    bare = _NEAREST.sub("", text)
    name = _QUOTED.search(bare)
    return (_SHAPE.sub("[]", _QUOTED.sub("''", bare)), name[0]) if name else ("", "")


def _kind_by_model(text: str) -> tuple[str, str]:
    """What a sentence says of the model that it begins with, and the model."""
    model, colon, rest = text.partition(": ")
    return (rest.replace(model, "\0"), model) if colon else ("", "")
