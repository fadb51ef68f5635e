"""Matches the tensors of a model with the base's by their names on disk, up to one common prefix."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from mergeometry.conventions.wrappers import unwrapped
from mergeometry.words import comparable

_DOT = re.compile(r"\.")
_NEAREST_SEARCHES = 6
"""Patterns of names that are searched for: each search is quadratic."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """What precedes the common part of the names; at most one of the two sides has a prefix."""

    model: str = ""
    base: str = ""

    def describe(self) -> str:
        """The prefix in words, or an empty text where names are equal."""
        if self.model:
            return f"names begin with {self.model!r}, the base's do not; they are matched"
        if self.base:
            return f"names lack the base's {self.base!r}; they are matched"
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
    wrapped: int = 0
    """How many names carry parts of a training framework's wrappers."""
    renamed: tuple[tuple[str, str], ...] = ()
    """Pairs, the base's name first, that only a change of names by Transformers explains."""

    def describe(self) -> Iterator[str]:
        """What the names have in common, in words; nothing where they are equal."""
        if text := self.prefix.describe():
            yield text
        if self.wrapped:
            yield f"{self.wrapped} names carry a wrapper's parts, such as _orig_mod, which are ignored"
        if self.renamed:
            base, own = self.renamed[0]
            yield f"{len(self.renamed)} names were changed by transformers: {own!r} is the base's {base!r}"


def match_names(
    base: Iterable[str], own: Iterable[str], heads: Sequence[str], newest: Callable[[str], str] | None = None
) -> Match:
    """Pair the names of a model with the base's; names that a ``heads`` glob matches are left out on both sides.

    ``newest`` gives a name as the newest version of Transformers writes it. It is asked only where names differ.
    """
    base_names = [name for name in base if not _any(name, heads)]
    own_heads = tuple(name for name in own if _any(name, heads))
    own_names = [name for name in own if not _any(name, heads)]
    prefix, pairs = _paired(base_names, own_names)
    match = _match(prefix, pairs, base_names, own_names, own_heads)
    if not match.extra:
        return match
    for normal in (unwrapped, lambda name: newest(unwrapped(name)) if newest else name):
        bases, owns = _by_normal_name(base_names, normal), _by_normal_name(own_names, normal)
        prefix, pairs = _paired(list(bases), list(owns))
        if len(pairs) > len(match.pairs):
            real = {bases[one]: owns[other] for one, other in pairs.items()}
            match = _match(prefix, real, base_names, own_names, own_heads)
            wrapped = sum(unwrapped(name) != name for name in real.values())
            match = replace(match, wrapped=wrapped, renamed=tuple(_renamed(prefix, real)))
    return match


def _paired(base: Sequence[str], own: Sequence[str]) -> tuple[Prefix, dict[str, str]]:
    """Pairs of names that are equal up to the prefix under which most are, or equal as they are."""
    prefix = common_prefix(base, own)
    available = set(own)
    pairs: dict[str, str] = {}
    for name in base:
        if name.startswith(prefix.base) and (candidate := prefix.model + name[len(prefix.base) :]) in available:
            pairs[name] = candidate
    # Where the prefix is not in front of all names, those that are equal without it are pairs too.
    taken = set(pairs.values())
    pairs |= {name: name for name in base if name not in pairs and name in available and name not in taken}
    return prefix, pairs


def _match(
    prefix: Prefix, pairs: Mapping[str, str], base: Sequence[str], own: Sequence[str], heads: tuple[str, ...]
) -> Match:
    taken = set(pairs.values())
    return Match(
        prefix,
        pairs,
        heads,
        tuple(name for name in base if name not in pairs),
        tuple(name for name in own if name not in taken),
    )


def _by_normal_name(names: Iterable[str], normal: Callable[[str], str]) -> dict[str, str]:
    """Names by their normal form; two of one form are told apart by keeping their own."""
    forms = {name: normal(name) for name in names}
    counts = Counter(forms.values())
    return {form if counts[form] == 1 else name: name for name, form in forms.items()}


def _renamed(prefix: Prefix, pairs: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Pairs that are equal neither as they are nor without wrappers."""
    for base, own in pairs.items():
        plain = unwrapped(own).removeprefix(prefix.model)
        if unwrapped(base).removeprefix(prefix.base) != plain:
            yield base, own


def common_prefix(base: Sequence[str], own: Sequence[str]) -> Prefix:
    """The prefix under which most names agree; of several, the shortest."""
    votes: Counter[Prefix] = Counter()
    base_set, own_set = set(base), set(own)
    if own_set <= base_set or base_set <= own_set:
        # Without a prefix all of the fewer names agree, which no prefix can better.
        return Prefix()
    for name in own:
        votes.update(Prefix(model=name[:start]) for start in _starts(name) if name[start:] in base_set)
    for name in base:
        votes.update(Prefix(base=name[:start]) for start in _starts(name) if start and name[start:] in own_set)
    if not votes:
        return Prefix()
    return min(votes, key=lambda prefix: (-votes[prefix], len(prefix.model + prefix.base), prefix.base))


class Nearest:
    """Suggests names by their patterns, in which every number is 0: a thousand layers are one search."""

    def __init__(self) -> None:
        self._left = _NEAREST_SEARCHES
        self._known: Sequence[str] = ()
        self._names: dict[str, dict[str, None]] = {}
        self._close: dict[str, list[str]] = {}

    def hint(self, name: str, known: Sequence[str]) -> str:
        """``" (nearest: 'x')"``, or nothing; most patterns that differ from all known ones get no search."""
        if known is not self._known:
            self._known, self._names, self._close = known, {}, {}
            for other in known:
                self._names.setdefault(_pattern(other), {})[other] = None
        pattern = _pattern(name)
        if pattern not in self._close and self._left:
            self._left -= 1
            # A name of the same pattern is that of another layer, which is no hint.
            pool = comparable(pattern, (other for other in self._names if other != pattern))
            self._close[pattern] = get_close_matches(pattern, pool, n=3, cutoff=0.6)
        close = self._close.get(pattern, [])
        # A name with the same numbers is nearer than one of another layer.
        alike = (other for other in (_numbered(one, name) for one in close) if other in self._names[_pattern(other)])
        best = next(alike, None) or next((next(iter(self._names[one])) for one in close), None)
        return f" (nearest: {best!r})" if best else ""


def _pattern(name: str) -> str:
    return re.sub(r"\d+", "0", name)


def _numbered(pattern: str, name: str) -> str:
    """The name of a pattern with another name's numbers."""
    numbers = iter(re.findall(r"\d+", name))
    return re.sub(r"\d+", lambda _: next(numbers, "0"), pattern)


def _starts(name: str) -> list[int]:
    return [0, *(end + 1 for end in module_ends(name))]


def module_ends(name: str) -> list[int]:
    """Where the names of the modules that hold a tensor end, the outermost first."""
    return [dot.start() for dot in _DOT.finditer(name)]


def _any(name: str, patterns: Sequence[str]) -> bool:
    return bool(patterns) and any(fnmatchcase(name, pattern) for pattern in patterns)
