"""Regular expressions from an untrusted file, matched by RE2 in time linear in the text.

RE2 reads almost the language of `re`. Where the two differ, or where one of them refuses what the other accepts, the
expression is refused, so that a match means what it means to PEFT.
"""

from __future__ import annotations

import re
import reprlib

from mergeometry import limits

# Tokens that both engines read alike. Their first few characters tell them apart and the match never backtracks, so
# that this check is linear too.
_SINGLE = r"[^\\\[({^$]"
_ESCAPE = r"\\(?:[dDsSwW_]|[^\w])"
_POSITION = r"(?:[\^$]|\\b)(?![*+?{])"
_GROUP = r"\((?:\?:|(?!\?))"
_BRACES = r"\{(?:0|[1-9]\d{0,3})(?:,(?:0|[1-9]\d{0,3})?)?\}"  # `{,2}` and `{02}` are literal to RE2
# `re` warns that a later version may read `[[`, `--`, `&&`, `~~` and `||` in another way.
_IN_CLASS = r"(?!--|&&|~~|\|\|)[^\[\]\\]|\\(?:_|[^\w])|\\[dDsSwW](?!-[^\]])"
_CLASS = rf"\[\^?\]?(?:{_IN_CLASS})*+\]"
_ALIKE = re.compile(rf"(?:{_SINGLE}|{_ESCAPE}|{_POSITION}|{_GROUP}|{_BRACES}|{_CLASS})*+", re.ASCII | re.DOTALL)

_REASONS = [
    (r"\(\?<?[=!]", "look-around, {}, cannot be matched in linear time"),
    (r"\(\?P=\w*\)?|\\[1-9]", "a back-reference, {}, cannot be matched in linear time"),
    (r"\(\?P?.?", "groups that begin with {} are not understood; (...) and (?:...) are"),
    (r"\{", "its braces are not understood; {{m}}, {{m,}} and {{m,n}} are"),
    (r"\[", "its character class is not understood"),
    (r"(?:[\^$]|\\b)", "a position, {}, cannot be repeated"),
    (r"\\.", "the escape {} is not understood"),
]


class PatternError(ValueError):
    """A pattern uses syntax that is not understood, or costs too much; the text names it and says which."""

    def __init__(self, pattern: str, reason: str) -> None:
        super().__init__(f"the pattern {reprlib.repr(pattern)} is refused: {reason}")
        self.pattern, self.reason = pattern, reason

    def __reduce__(self) -> tuple[object, ...]:
        return (PatternError, (self.pattern, self.reason))


class Expression:
    """A compiled expression; ``pattern`` is what an error calls it.

    Raises:
        PatternError: the expression is not understood, or is too large.
    """

    def __init__(self, expression: str, pattern: str) -> None:
        # Only an adapter whose patterns hold operators pays for the import.
        import re2  # noqa: PLC0415

        if not expression.isascii():
            raise PatternError(pattern, "characters beyond ASCII are not understood in a pattern with operators")
        understood = re.match(_ALIKE, expression)
        assert understood is not None
        if understood.end() < len(expression):
            raise PatternError(pattern, _reason(expression[understood.end() :]))
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1  # a byte is a character: one instruction for `.`, not ten
        options.max_mem = limits.PATTERN_BYTES
        options.never_capture = True
        options.log_errors = False
        try:
            self._compiled = re2.compile(expression.encode("ascii"), options)
        except re2.error as error:
            raise PatternError(pattern, _message(error)) from error
        self._pattern = pattern

    @property
    def instructions(self) -> int:
        """The size of the program; each may cost a step on each character."""
        return self._compiled.programsize

    def match(self, text: str) -> bool:
        """Tell whether the expression matches a beginning of the text, as `re.match` does.

        Raises:
            PatternError: the text holds characters that `re` and RE2 class differently.
        """
        # Beyond these, `\w`, `\d`, `\s`, `\b` and `$` mean less to RE2 than to `re`.
        if not (text.isascii() and text.isprintable()):
            raise PatternError(
                self._pattern, f"it has operators, and {reprlib.repr(text)} holds characters beyond printable ASCII"
            )
        return self._compiled.match(text.encode("ascii")) is not None


def _reason(rest: str) -> str:
    for start, reason in _REASONS:
        match = re.match(start, rest, re.DOTALL)
        if match is not None:
            return reason.format(match[0])
    raise AssertionError(rest)


def _message(error: Exception) -> str:
    """Return RE2's message without the expression, which holds what PEFT puts around the pattern."""
    message = error.args[0]
    code, _, fragment = (message.decode("latin-1") if isinstance(message, bytes) else str(message)).partition(": ")
    return f"{code} {fragment}" if len(fragment) <= 10 else code
