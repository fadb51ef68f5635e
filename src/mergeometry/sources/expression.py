"""Parsing regular expressions of the kind that an adapter's patterns need.

Understood are characters, classes, `.`, groups without a name, `|`, `*`, `+`, `?`, `{m,n}`, `^` and `$`, with the
meaning they have in `re`; all else is refused. Whether a text matches does not depend on greediness, so lazy
quantifiers are the same as greedy ones.
"""

from __future__ import annotations

import re
import reprlib
from dataclasses import dataclass

_REPEAT = re.compile(r"\{(\d{1,3})(?:(,)(\d{0,3}))?\}")
_CLASS = re.compile(r"\[\^?\]?(?:[^\]\\]|\\.)*\]", re.DOTALL)
_RESERVED_IN_CLASS = ("[", "--", "&&", "~~", "||")  # `re` warns that their meaning may change
_NESTING = 20


class PatternError(ValueError):
    """A pattern uses what is not understood, or costs too much; the text names it and says which."""

    def __init__(self, pattern: str, reason: str) -> None:
        super().__init__(f"The pattern {reprlib.repr(pattern)} is refused: {reason}.")
        self.pattern, self.reason = pattern, reason

    def __reduce__(self) -> tuple[object, ...]:
        return (PatternError, (self.pattern, self.reason))


@dataclass(frozen=True, slots=True)
class Character:
    """One character, equal to a string or matched by a class."""

    test: str | re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Place:
    """The beginning `^` or the end `$`."""

    symbol: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Any of several."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """The item ``least`` to ``most`` times, without end if None."""

    item: Node
    least: int
    most: int | None


Node = Character | Place | Sequence | Choice | Repeat


def parse(expression: str, pattern: str) -> Node:
    """Parse an expression; ``pattern`` is what errors call it. Raises PatternError for what is not understood."""
    return _Parser(expression, pattern).parse()


class _Parser:
    """Recursive descent over one expression."""

    def __init__(self, expression: str, pattern: str) -> None:
        self._text, self._pattern = expression, pattern
        self._at = self._depth = 0

    def parse(self) -> Node:
        node = self._choice()
        if self._at < len(self._text):
            raise self._refused("its parentheses do not match")
        return node

    def _refused(self, reason: str) -> PatternError:
        return PatternError(self._pattern, reason)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _choice(self) -> Node:
        options = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            options.append(self._sequence())
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _sequence(self) -> Node:
        items = []
        while self._peek() not in ("", "|", ")"):
            items.append(self._repeated(self._atom()))
        return Sequence(tuple(items))

    def _atom(self) -> Node:
        symbol = self._peek()
        self._at += 1
        if symbol == "(":
            return self._group()
        if symbol == "[":
            return self._class()
        if symbol == "\\":
            return self._escape()
        if symbol == ".":
            return Character(re.compile("."))
        if symbol in "^$":
            return Place(symbol)
        if symbol in "*+?{":
            raise self._refused(f"nothing stands before {symbol!r}")
        return Character(symbol)

    def _group(self) -> Node:
        self._depth += 1
        if self._depth > _NESTING:
            raise self._refused("its groups are nested too deep")
        if self._peek() == "?":
            if self._text[self._at : self._at + 2] != "?:":
                raise self._refused("groups that begin with '(?' are not understood")
            self._at += 2
        node = self._choice()
        if self._peek() != ")":
            raise self._refused("its parentheses do not match")
        self._at += 1
        self._depth -= 1
        return node

    def _class(self) -> Node:
        match = _CLASS.match(self._text, self._at - 1)
        if match is None or any(reserved in match[0][1:] for reserved in _RESERVED_IN_CLASS):
            raise self._refused("its character class is not understood")
        self._at = match.end()
        return self._compiled(match[0])

    def _escape(self) -> Node:
        symbol = self._peek()
        self._at += 1
        if symbol and symbol in "dDsSwW":
            return self._compiled("\\" + symbol)
        if not symbol or not symbol.isascii() or symbol.isalnum():
            raise self._refused(f"the escape \\{symbol} is not understood" if symbol.strip() else "a backslash ends it")
        return Character(symbol)

    def _compiled(self, text: str) -> Node:
        try:
            return Character(re.compile(text))
        except re.error as error:
            raise self._refused(f"{reprlib.repr(text)} is not valid ({error.msg})") from error

    def _repeated(self, atom: Node) -> Node:
        symbol = self._peek()
        if not symbol or symbol not in "*+?{":
            return atom
        if isinstance(atom, Place):
            raise self._refused("a place cannot be repeated")
        least, most = self._quantifier(symbol)
        if self._peek() == "?":
            self._at += 1
        if self._peek() and self._peek() in "*+?{":
            raise self._refused("a repetition is repeated")
        return Repeat(atom, least, most)

    def _quantifier(self, symbol: str) -> tuple[int, int | None]:
        if symbol != "{":
            self._at += 1
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[symbol]
        match = _REPEAT.match(self._text, self._at)
        if match is None:
            raise self._refused("its braces are not understood")
        self._at = match.end()
        least = int(match[1])
        most = least if match[2] is None else int(match[3]) if match[3] else None
        if most is not None and most < least:
            raise self._refused("its braces are the wrong way round")
        return least, most
