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
# What the two ways cost, in steps of the automaton; compiling for each hundred characters.
_COMPILING = 300
_CHARACTERS_A_STEP = 64


class PatternTable:
    """Patterns in their order; finds the first that a module's name matches, as PEFT does."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = list(patterns)
        self._known = set(self._patterns)
        self._matchers: list[re.Pattern[str] | Automaton] = []
        self._steps = 0

    def first(self, name: str) -> str | None:
        """Return the first pattern that matches the name, None if none does.

        Raises PatternError, which names the pattern, for one that is not understood or costs too much.
        """
        for position, pattern in enumerate(self._patterns):
            if position == len(self._matchers):
                self._matchers.append(_matcher(pattern))
                self._spend(_COMPILING * (1 + len(pattern) // 100) + _steps(self._matchers[position]), pattern)
            matcher = self._matchers[position]
            matched = matcher.match(name)
            self._spend(1 + len(name) // _CHARACTERS_A_STEP + _steps(matcher), pattern)
            if matched:
                return pattern
        # PEFT falls back to looking the name itself up.
        return name if name in self._known else None

    def _spend(self, steps: int, pattern: str) -> None:
        self._steps += steps
        if self._steps > limits.PATTERN_STEPS_IN_ALL:
            raise PatternError(pattern, f"matching all {len(self._patterns):,} patterns takes too many steps")


def _steps(matcher: re.Pattern[str] | Automaton) -> int:
    return matcher.steps if isinstance(matcher, Automaton) else 0


def _matcher(pattern: str) -> re.Pattern[str] | Automaton:
    if len(pattern) > limits.PATTERN_CHARACTERS:
        raise PatternError(
            pattern, f"it has {len(pattern):,} characters; at most {limits.PATTERN_CHARACTERS:,} are read"
        )
    # The whole expression is parsed, not the pattern alone: `a)|(b` is legal between PEFT's parentheses.
    expression = rf"(.*\.)?({pattern})$"
    return re.compile(expression) if _PLAIN.match(pattern) else Automaton(expression, pattern)
