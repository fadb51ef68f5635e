"""Words that errors and reports share: what a user may have meant, what to install, and names that fit a line."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable

_SHOWN = 40
_COMPARED = 300
_LETTERS = 200
"""Words that a guess is compared with, and letters of each: the search is quadratic in both."""


def nearest(word: str, known: list[str]) -> str:
    """The end of an error about an unknown word: the nearest known one, or all of them."""
    close = difflib.get_close_matches(word, comparable(word, known), n=1, cutoff=0.4)
    if close:
        return f", did you mean {close[0]!r}?"
    return f"; known: {', '.join(known[:_SHOWN])}" + (", ..." if len(known) > _SHOWN else "")


def nearest_of(word: str, known: list[str]) -> str:
    """A hint about an unknown word: the nearest known one, if any is near, and all of them."""
    close = difflib.get_close_matches(word, comparable(word, known), n=1, cutoff=0.5)
    listed = ", ".join(known)
    return f"did you mean {close[0]!r}? There are: {listed}" if close else f"there are: {listed}"


def comparable(word: str, known: Iterable[str]) -> list[str]:
    """The known words that a guess is looked for among: of very many those whose length is nearest, none of a text."""
    if len(word) > _LETTERS:
        return []
    words = [other for other in known if len(other) <= _LETTERS]
    if len(words) <= _COMPARED:
        return words
    return heapq.nsmallest(_COMPARED, words, key=lambda other: abs(len(other) - len(word)))


def counted(number: int, noun: str) -> str:
    """A number and what it counts: ``1 file``, ``2 files``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def install_extra(extra: str) -> str:
    """The command that installs an extra, as published and in a checkout."""
    return f"pip install 'mergeometry[{extra}]'; in a checkout: pip install '.[{extra}]'"


def install_suite() -> str:
    """The same for the suite, which is a distribution of its own."""
    return "pip install mergeometry-suite; in a checkout: pip install . ./suite"


def brief(name: str, most: int = 60) -> str:
    """A name that fits a line: of a longer one its beginning and its end."""
    return f"{name[: most - 20]}…{name[-15:]}" if len(name) > most else name
