r"""Matches the patterns of an untrusted adapter in bounded time.

PEFT looks modules up by `re.match(rf"(.*\.)?({pattern})$", name)`, and Python's engine backtracks: `(a+)+` on a
name of 40 characters takes seconds. Patterns without operators are compared; all others go to RE2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from mergeometry import limits
from mergeometry.sources.expression import Expression, PatternError

_PLAIN = re.compile(r"\^?[^\\\[\](){}*+?|^$]*\Z")
# Costs in steps.
_LOOKING = 50  # per pattern and name
_COMPARING = 6  # per character
_COMPILING = 20_000
_INSTRUCTION = 50


class PatternTable:
    """Patterns in order; finds the first one that a module's name matches, as PEFT does."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = list(patterns)
        self._known = set(self._patterns)
        self._matchers: list[_Plain | _Operators] = []
        self._steps = 0

    def first(self, name: str) -> str | None:
        """Return the first pattern that matches the name, None if none does.

        Raises:
            PatternError: a pattern, which the error names, is not understood or costs too much.
        """
        if self._patterns and "\n" in name:
            # `$` holds before a last line break, and `.` matches none: a plain comparison would have to allow for both.
            raise PatternError(self._patterns[0], "the name of a module holds a line break")
        for position, pattern in enumerate(self._patterns):
            if position == len(self._matchers):
                self._matchers.append(_matcher(pattern, self._spend))
            if self._matchers[position].match(name):
                self._spend(_LOOKING * (position + 1), pattern)
                return pattern
        if self._patterns:
            self._spend(_LOOKING * len(self._patterns), self._patterns[-1])
        # PEFT falls back to looking the name itself up.
        return name if name in self._known else None

    def _spend(self, steps: int, pattern: str) -> None:
        self._steps += steps
        if self._steps > limits.PATTERN_STEPS_IN_ALL:
            raise PatternError(pattern, f"matching all {len(self._patterns):,} patterns takes too many steps")


class _Plain:
    """A pattern without operators except `.`: it is compared with as many characters at the end of a name."""

    def __init__(self, pattern: str, spend: Callable[[int, str], None]) -> None:
        self._pattern, self._spend = pattern, spend
        self._whole = pattern.startswith("^")
        self._text = pattern.removeprefix("^")

    def match(self, name: str) -> bool:
        before = len(name) - len(self._text)
        if before and (before < 0 or self._whole or name[before - 1] != "."):
            return False
        self._spend(_COMPARING * len(self._text), self._pattern)
        return all(expected in (".", actual) for expected, actual in zip(self._text, name[before:], strict=True))


class _Operators:
    """A pattern with operators."""

    def __init__(self, pattern: str, spend: Callable[[int, str], None]) -> None:
        self._pattern, self._spend = pattern, spend
        # The whole expression is compiled, not the pattern alone: `a)|(b` is legal between PEFT's parentheses.
        self._expression = Expression(rf"(.*\.)?({pattern})$", pattern)
        spend(_COMPILING + _INSTRUCTION * self._expression.instructions, pattern)

    def match(self, name: str) -> bool:
        steps = self._expression.instructions * (1 + len(name))
        if steps > limits.PATTERN_STEPS:
            raise PatternError(self._pattern, f"it takes too many steps on a name of {len(name):,} characters")
        self._spend(steps, self._pattern)
        return self._expression.match(name)


def _matcher(pattern: str, spend: Callable[[int, str], None]) -> _Plain | _Operators:
    if len(pattern) > limits.PATTERN_CHARACTERS:
        raise PatternError(
            pattern, f"it has {len(pattern):,} characters; at most {limits.PATTERN_CHARACTERS:,} are read"
        )
    return (_Plain if _PLAIN.match(pattern) else _Operators)(pattern, spend)
