"""One hierarchy of errors: each says what is wrong, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike

from mergeometry.grouping import grouped

_BREAK = "\n  - "


class MergeometryError(Exception):
    """Base of every error that mergeometry raises on purpose.

    The text is for a person: one sentence on what is wrong, then the place (model, file, tensor)
    and a hint, each on a line of its own where known.
    """

    def __init__(
        self,
        what: str,
        *,
        model: str | None = None,
        file: str | PathLike[str] | None = None,
        tensor: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.what = what
        self.model = model
        self.file = None if file is None else str(file)
        self.tensor = tensor
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        places = [("model", self.model), ("file", self.file), ("tensor", self.tensor), ("hint", self.hint)]
        return "\n".join([_lines(self.what), *(f"  {label}: {printable(text)}" for label, text in places if text)])

    def __reduce__(self) -> tuple[object, ...]:
        # Worker processes send errors to the parent by pickle, which would drop keyword arguments.
        return (_rebuild, (type(self), self.__dict__.copy()))


class SourceError(MergeometryError):
    """A file of an input is missing, truncated, malformed, hostile, or of a kind that is never read."""


class MismatchError(MergeometryError):
    """The inputs do not fit together; ``mismatches`` lists every reason, one sentence each.

    The text puts many reasons of one kind into one line.
    """

    def __init__(self, what: str, mismatches: Sequence[str], *, hint: str | None = None) -> None:
        super().__init__(what, hint=hint)
        self.mismatches = tuple(mismatches)

    def __str__(self) -> str:
        lines = [_lines(self.what), *(f"  - {printable(mismatch)}" for mismatch in grouped(self.mismatches))]
        if self.hint:
            lines.append(f"  hint: {printable(self.hint)}")
        return "\n".join(lines)


class RecipeError(MergeometryError):
    """The recipe, a parameter of a method, or an option is not usable."""


class NumericalError(MergeometryError):
    """A value is not finite, or a decomposition failed with every driver."""


class OutputError(MergeometryError):
    """The output cannot be written: it exists, the disk is too small, or another run is writing it."""


class ExecutionError(MergeometryError):
    """A worker died, or the merge was stopped before it was complete."""


class DataError(MergeometryError):
    """A data set, a task or a trained expert is missing or does not fit."""


def printable(text: str) -> str:
    """Escape control and direction-changing characters, so that a hostile name cannot rewrite a terminal.

    Line breaks survive only as their escapes: an error's layout is its own.
    """
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def in_one_line(error: BaseException) -> str:
    """What a library says of its error, which may take many lines."""
    return " ".join(str(error).split()) or type(error).__name__


def listed(what: str, reasons: Iterable[str]) -> str:
    """The text of an error with a reason in each line, many of one kind in one; no line break is a reason's own."""
    return _BREAK.join([what, *(printable(reason.replace(_BREAK, " - ")) for reason in grouped(list(reasons)))])


def _lines(text: str) -> str:
    """Keep the lines of a list; every other line break came with a value, and could pass for a line of our own."""
    return _BREAK.join(printable(line) for line in text.split(_BREAK))


def _rebuild(kind: type[MergeometryError], state: dict[str, object]) -> MergeometryError:
    error = kind.__new__(kind)
    error.__dict__.update(state)
    error.args = (state["what"],)
    return error
