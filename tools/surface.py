"""What users call: the methods and refinements of this package, and their parameters in plain types."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from mergeometry.methods import registry as methods
from mergeometry.refinements import registry as refinements

ROOT = Path(__file__).parents[1]
REGISTRIES = {"methods": methods, "refinements": refinements}


@dataclass(frozen=True)
class Parameter:
    """One keyword of a method, its type without annotations, and its bounds in words."""

    name: str
    type: str
    default: str | None
    """As source text; None where it must be given."""
    description: str
    bounds: str


def classes(package: str) -> dict[str, type[Any]]:
    """Name in recipes to class, for ``methods`` or ``refinements``; what other packages offer is not among them."""
    registry = REGISTRIES[package]
    return {name: registry.find(name) for name in registry.own()}


def parameters_of(kind: type[Any]) -> list[Parameter]:
    """The parameters in the order in which they are declared."""
    plain, annotated = get_type_hints(kind), get_type_hints(kind, include_extras=True)
    described = kind.__pydantic_fields__
    return [
        Parameter(
            field.name,
            rendered(plain[field.name]),
            None if field.default is MISSING else _literal(field.default),
            described[field.name].description or "",
            ", ".join(_bounds(annotated[field.name])),
        )
        for field in fields(kind)
    ]


def rendered(hint: Any) -> str:
    """A type as it is written in source.

    Raises:
        TypeError: a kind of type that no parameter had so far.
    """
    if hint in {None, type(None)}:
        return "None"
    if get_origin(hint) is Literal:
        return f"Literal[{', '.join(map(_literal, get_args(hint)))}]"
    if get_origin(hint) in {Union, types.UnionType}:
        return " | ".join(map(rendered, get_args(hint)))
    if get_origin(hint) in {list, tuple, dict}:
        inner = ("..." if each is Ellipsis else rendered(each) for each in get_args(hint))
        return f"{get_origin(hint).__name__}[{', '.join(inner)}]"
    if hint in {bool, int, float, str}:
        return hint.__name__
    raise TypeError(f"no rule for how to write {hint!r}")


def formatted(text: str, path: Path) -> str:
    """The text as ruff formats this file: source, or the blocks of source in a page.

    Raises:
        CalledProcessError: it is no valid source.
    """
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(path), "-"]
    return subprocess.run(command, input=text, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _bounds(hint: Any) -> Iterator[str]:
    """The limits that annotations set, however deep they stand in a union."""
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        yield from _bounds(inner)
        for note in notes:
            for limit in getattr(note, "metadata", ()):
                match limit:
                    case Gt(gt=bound):
                        yield f"> {bound}"
                    case Ge(ge=bound):
                        yield f">= {bound}"
                    case Lt(lt=bound):
                        yield f"< {bound}"
                    case Le(le=bound):
                        yield f"<= {bound}"
    elif get_origin(hint) in {Union, types.UnionType}:
        for each in get_args(hint):
            yield from _bounds(each)
