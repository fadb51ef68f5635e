"""Spreads dataclasses of options over a command's signature, so that commands share options and name each once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Give typer one option for each field of the command's parameters that are dataclasses."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[Any]] = {}
    parameters: dict[str, inspect.Parameter] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        if not (isinstance(kind, type) and is_dataclass(kind)):
            parameters[name] = parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=kind)
            continue
        groups[name] = kind
        own = get_type_hints(kind, include_extras=True)
        for field in fields(kind):
            parameters[field.name] = inspect.Parameter(
                field.name, parameter.KEYWORD_ONLY, default=field.default, annotation=own[field.name]
            )

    @wraps(command)
    def called(**given: Any) -> None:
        made = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind)}) for name, kind in groups.items()
        }
        command(**made, **given)

    called.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    called.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
    return called
