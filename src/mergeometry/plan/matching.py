"""Matches the tensors of a model with the base's by their names on disk, up to one common prefix."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

_NEAREST_SEARCHES = 20
"""Mismatches for which the nearest name is searched: the search is quadratic."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """What precedes the common part of the names; at most one of the two sides has a prefix."""

    model: str = ""
    base: str = ""

    def describe(self) -> str:
        """The prefix in words, or an empty text where names are equal."""
        if self.model:
            return f"names begin with {self.model!r} where the base's do not"
        if self.base:
            return f"names lack the base's {self.base!r}"
        return ""


@dataclass(frozen=True, slots=True)
class Match:
    """How the tensors of one model correspond to the base's."""

    prefix: Prefix
    pairs: Mapping[str, str]
    """The base's name to the model's own name."""
    heads: tuple[str, ...]
    """The model's names that a `heads` pattern matches."""
    missing: tuple[str, ...]
    """Base names without a counterpart."""
    extra: tuple[str, ...]
    """The model's names without a counterpart that are not heads."""


def match_names(base: Iterable[str], own: Iterable[str], heads: Sequence[str]) -> Match:
    """Pair the names of a model with the base's; names that a ``heads`` glob matches are left out on both sides."""
    base_names = [name for name in base if not _any(name, heads)]
    own_heads = tuple(name for name in own if _any(name, heads))
    own_names = [name for name in own if not _any(name, heads)]
    prefix = common_prefix(base_names, own_names)
    available = set(own_names)
    pairs: dict[str, str] = {}
    for name in base_names:
        if name.startswith(prefix.base) and (candidate := prefix.model + name[len(prefix.base) :]) in available:
            pairs[name] = candidate
    taken = set(pairs.values())
    return Match(
        prefix,
        pairs,
        own_heads,
        tuple(name for name in base_names if name not in pairs),
        tuple(name for name in own_names if name not in taken),
    )


def common_prefix(base: Sequence[str], own: Sequence[str]) -> Prefix:
    """The prefix under which most names agree; of several, the shortest."""
    votes: Counter[Prefix] = Counter()
    base_set, own_set = set(base), set(own)
    for name in own:
        votes.update(Prefix(model=name[:start]) for start in _starts(name) if name[start:] in base_set)
    for name in base:
        votes.update(Prefix(base=name[:start]) for start in _starts(name) if start and name[start:] in own_set)
    if not votes:
        return Prefix()
    return min(votes, key=lambda prefix: (-votes[prefix], len(prefix.model + prefix.base), prefix.base))


class Nearest:
    """Suggests names for the first few mismatches only, so that a wrong base is still refused at once."""

    def __init__(self) -> None:
        self._left = _NEAREST_SEARCHES

    def hint(self, name: str, known: Sequence[str]) -> str:
        """``" (nearest: 'x')"``, or nothing."""
        if self._left == 0:
            return ""
        self._left -= 1
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        return f" (nearest: {close[0]!r})" if close else ""


def _starts(name: str) -> list[int]:
    return [0, *(index + 1 for index, character in enumerate(name) if character == ".")]


def _any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
