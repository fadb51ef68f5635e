"""Regular expressions that are simulated, never backtracked: every alternative is followed at once."""

from __future__ import annotations

import re

from mergeometry import limits
from mergeometry.sources.expression import Character, Choice, Node, PatternError, Place, Sequence, parse

_INSTRUCTIONS = 4_000
_CACHED = 100_000  # states in all sets that are kept
_MATCH = 0


class Automaton:
    """A compiled expression; ``pattern`` is what an error calls it. Raises PatternError if it is not understood."""

    def __init__(self, expression: str, pattern: str | None = None) -> None:
        self._pattern = expression if pattern is None else pattern
        node = parse(expression, self._pattern)
        self._nodes: list[Character | Place | None] = [None]  # state 0 is the match
        self._next: list[tuple[int, ...]] = [()]
        self._visits = 0
        self._start = self._compile(node, _MATCH)
        self._cache: dict[tuple[frozenset[int], str], frozenset[int]] = {}
        self._cached = 0

    @property
    def steps(self) -> int:
        """What the last match cost, or the construction before the first."""
        return self._visits

    def match(self, text: str) -> bool:
        """Whether the expression matches a beginning of the text, as `re.match` does; PatternError if too costly."""
        self._visits = 0
        end = len(text)
        last_line = end - 1 if text.endswith("\n") else end  # where `$` holds besides the end
        states = self._closure([self._start], first=True, last=last_line == 0)
        for position, character in enumerate(text, 1):
            self._visits += 1
            if _MATCH in states:
                return True
            if not states:
                return False
            states = self._step(states, character, last=position >= last_line)
        return _MATCH in states

    def _step(self, states: frozenset[int], character: str, *, last: bool) -> frozenset[int]:
        key = (states, character)
        known = None if last else self._cache.get(key)
        if known is not None:
            return known
        reached = []
        self._visits += len(states)
        for state in states:
            node = self._nodes[state]
            if isinstance(node, Character) and _accepts(node.test, character):
                reached.extend(self._next[state])
        following = self._closure(reached, first=False, last=last)
        if not last and self._cached < _CACHED:
            self._cache[key] = following
            self._cached += 1 + len(following)
        return following

    def _closure(self, states: list[int], *, first: bool, last: bool) -> frozenset[int]:
        """Follow every step that consumes nothing; keeps the states that consume, and the match."""
        seen, waiting, kept = set(states), list(states), []
        while waiting:
            state = waiting.pop()
            self._visits += 1
            if self._visits > limits.PATTERN_STEPS:
                raise PatternError(self._pattern, "it takes too many steps")
            node = self._nodes[state]
            if state == _MATCH or isinstance(node, Character):
                kept.append(state)
                continue
            if isinstance(node, Place) and not (first if node.symbol == "^" else last):
                continue
            fresh = [following for following in self._next[state] if following not in seen]
            seen.update(fresh)
            waiting.extend(fresh)
        return frozenset(kept)

    def _compile(self, node: Node, following: int) -> int:
        """Add the node's states, which go on at ``following``; returns the state to enter it by."""
        self._visits += 1
        if max(self._visits, len(self._nodes)) > _INSTRUCTIONS:
            raise PatternError(self._pattern, "it is too large with its repetitions written out")
        if isinstance(node, Character | Place):
            return self._add(node, (following,))
        if isinstance(node, Sequence):
            for item in reversed(node.items):
                following = self._compile(item, following)
            return following
        if isinstance(node, Choice):
            return self._add(None, tuple(self._compile(option, following) for option in node.options))
        entry = following
        if node.most is None:
            entry = self._add(None, ())
            self._next[entry] = (self._compile(node.item, entry), following)
        else:
            for _ in range(node.most - node.least):
                entry = self._add(None, (self._compile(node.item, entry), following))
        for _ in range(node.least):
            entry = self._compile(node.item, entry)
        return entry

    def _add(self, node: Character | Place | None, following: tuple[int, ...]) -> int:
        self._nodes.append(node)
        self._next.append(following)
        return len(self._nodes) - 1


def _accepts(test: str | re.Pattern[str], character: str) -> bool:
    return test == character if isinstance(test, str) else test.match(character) is not None
