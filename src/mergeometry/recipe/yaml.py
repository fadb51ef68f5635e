"""Reads YAML 1.2 into plain values, and refuses everything that could mean something other than it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mergeometry.errors import RecipeError

if TYPE_CHECKING:
    from ruamel.yaml import YAML

Result = TypeVar("Result")

_TWO_MEANINGS = re.compile(
    r"[-+]?0b[01_]+|[-+]?\d[\d_]*_[\d_]*(\.[\d_]*)?([eE][-+]?\d+)?"
    r"|[-+]?0[ox][\da-fA-F]*_[\da-fA-F_]*"
    r"|\d{4}-\d\d?-\d\d?([Tt ].*)?|<<|="
)
"""Numbers with underscores, in base 2, dates, merge keys and values: outside the core schema of YAML 1.2."""

_WHOLE_NUMBER = re.compile(r"[-+]?(\d+|0x[\da-fA-F]+|0o[0-7]+)")
_DIGITS = 100
"""Longest whole number of a recipe; Python writes none of more than 4,300 digits, not even in an error."""

_NESTING = 32
"""Deepest nesting of a recipe; real ones stay below 6."""


def parse_yaml(text: str, file: str | Path | None = None) -> Any:
    """Read YAML 1.2 into plain values: ``1e-3`` is a number, ``no`` is text, a key given twice is an error.

    Raises:
        RecipeError: the text is not YAML, gives a key twice, or uses aliases, tags or directives.
    """
    return _parsed(text, file, lambda yaml: yaml.load(text))


def parse_documents(text: str, file: str | Path | None = None) -> list[tuple[Any, Any]]:
    """Read every document of a YAML text, each as plain values and as the parser's nodes, which know their lines.

    Raises:
        RecipeError: as `parse_yaml` does.
    """
    return _parsed(text, file, lambda yaml: list(zip(yaml.load_all(text), _new().compose_all(text), strict=True)))


def _new() -> YAML:
    from ruamel.yaml import YAML  # noqa: PLC0415  (costs start-up time)

    return YAML(typ="safe", pure=True)


def _parsed(text: str, file: str | Path | None, load: Callable[[YAML], Result]) -> Result:
    """What ``load`` makes of a text whose events are all plain."""
    from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent  # noqa: PLC0415

    try:
        depth = 0
        for event in _new().parse(text):
            _refuse_unplain(event, file)
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if depth > _NESTING:
                # The parser's time grows with the square of the depth.
                raise RecipeError(f"the YAML is nested deeper than {_NESTING} levels", file=file)
        return load(_new())
    except RecipeError:
        raise
    # The parser answers some malformed texts with IndexError and the like, which mean the same to a user.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RecipeError(f"the YAML cannot be read: {reason[:400]}", file=file) from error


def _refuse_unplain(event: Any, file: str | Path | None) -> None:
    from ruamel.yaml.events import AliasEvent, DocumentStartEvent, ScalarEvent  # noqa: PLC0415

    if isinstance(event, ScalarEvent) and event.implicit[0] and _TWO_MEANINGS.fullmatch(event.value):
        raise RecipeError(
            f"{event.value} is text in YAML 1.2, and something else to older readers",
            file=file,
            hint=f"quote it, '{event.value}', or write a plain number",
        )
    if (
        isinstance(event, ScalarEvent)
        and event.implicit[0]
        and len(event.value) > _DIGITS
        and _WHOLE_NUMBER.fullmatch(event.value)
    ):
        raise RecipeError(
            f"{event.value[:12]}... is a whole number of {len(event.value):,} digits",
            file=file,
            hint="quote it if it is a name",
        )
    if isinstance(event, AliasEvent):
        # A few lines of nested aliases can stand for gigabytes.
        raise RecipeError("a recipe must not use YAML aliases", file=file, hint="write the value out")
    if isinstance(event, DocumentStartEvent):
        if event.version or event.tags:
            # `%YAML 1.1` would turn `no` into a boolean.
            raise RecipeError("a recipe must not use YAML directives", file=file, hint="remove the lines with %")
    elif getattr(event, "tag", None):
        raise RecipeError("a recipe must not use YAML tags", file=file, hint="write the plain value, without !")
