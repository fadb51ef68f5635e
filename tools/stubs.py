"""Writes ``methods/__init__.pyi`` and ``refinements/__init__.pyi``: every class with its constructor in plain types.

The classes themselves are found when they are first used, which no editor can follow.
"""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path
from typing import Any

from tools.surface import ROOT, classes, formatted, parameters_of

_HEAD = '''"""The {package} as editors and type checkers see them: written by `make stubs`, never by hand.

Each class stands for the one in the file that it is imported from, with its constructor written out.
"""
'''
_WIDTH = 112


def files() -> dict[Path, str]:
    """Path to text of both stubs."""
    paths = {ROOT / f"src/mergeometry/{package}/__init__.pyi": package for package in ("methods", "refinements")}
    return {path: formatted(_stub(package), path) for path, package in paths.items()}


def _stub(package: str) -> str:
    kinds = classes(package)
    names = {name: kind.__name__ for name, kind in kinds.items()}
    imports = (f"from mergeometry.{package}.{name} import {kind} as _{kind}" for name, kind in names.items())
    body = "\n".join(_class(kind) for kind in sorted(kinds.values(), key=lambda kind: kind.__name__))
    typing = ["from typing import Literal\n"] if "Literal[" in body else []
    return "\n".join([_HEAD.format(package=package), *typing, *imports, "", body])


def _class(kind: type[Any]) -> str:
    name, parameters = kind.__name__, parameters_of(kind)
    given = ["self"] + [
        f"{each.name}: {each.type}" + ("" if each.default is None else f" = {each.default}") for each in parameters
    ]
    about = [inspect.cleandoc(kind.__doc__ or ""), f"Source: {kind.source}."]
    if parameters:
        about.append("\n".join(["Args:", *(_described(each.name, each.description) for each in parameters)]))
    docstring = '"""' + "\n\n".join(map(_wrapped, about)) + '\n"""'
    constructor = f"def __init__({', '.join(given)}) -> None: ..."
    return f"class {name}(_{name}):\n" + textwrap.indent(f"{docstring}\n\n{constructor}\n", "    ")


def _described(name: str, description: str) -> str:
    lines = textwrap.wrap(f"{name}: {description}", _WIDTH, initial_indent="    ", subsequent_indent="        ")
    return "\n".join(lines)


def _wrapped(text: str) -> str:
    """Lines as they are, but for those too long for a line of source."""
    return "\n".join(textwrap.fill(line, _WIDTH) if len(line) > _WIDTH + 4 else line for line in text.split("\n"))
