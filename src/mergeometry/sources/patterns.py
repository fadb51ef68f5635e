r"""Matching the patterns of an untrusted adapter in bounded time.

PEFT looks modules up by `re.match(rf"(.*\.)?({pattern})$", name)`, and Python's engine backtracks: `(a+)+` on a
name of 40 characters takes seconds. Patterns without operators still go to `re`; all others to an automaton.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mergeometry import limits
from mergeometry.sources.automaton import Automaton
from mergeometry.sources.expression import PatternError

_PLAIN = re.compile(r"\^?[\w.\-]*\Z", re.ASCII)


class PatternTable:
    """Patterns in their order; finds the first that a module's name matches, as PEFT does.

    Raises PatternError, which names the pattern, for one that is not understood.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._matchers = [(pattern, _matcher(pattern)) for pattern in patterns]

    def __len__(self) -> int:
        return len(self._matchers)

    def first(self, name: str) -> str | None:
        """Return the first pattern that matches the name, None if none does; PatternError if one is too costly."""
        for pattern, matcher in self._matchers:
            if matcher.match(name):
                return pattern
        # PEFT falls back to looking the name itself up.
        return next((pattern for pattern, _ in self._matchers if pattern == name), None)


def _matcher(pattern: str) -> re.Pattern[str] | Automaton:
    if len(pattern) > limits.PATTERN_CHARACTERS:
        raise PatternError(
            pattern, f"it has {len(pattern):,} characters; at most {limits.PATTERN_CHARACTERS:,} are read"
        )
    # The whole expression is parsed, not the pattern alone: `a)|(b` is legal between PEFT's parentheses.
    expression = rf"(.*\.)?({pattern})$"
    return re.compile(expression) if _PLAIN.match(pattern) else Automaton(expression, pattern)
