"""Writes docs/api.md: everything in ``mergeometry.__all__``, every method and every refinement, from the docstrings.

Signatures are tagged ``py``: blocks tagged ``python`` are examples, which a test runs.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import griffe

import mergeometry
from mergeometry import errors
from tools.surface import REGISTRIES, ROOT, Parameter, classes, formatted, parameters_of

_INTRODUCTION = """
# API reference

Every call, value, method, refinement and error of the Python package. Written by `make stubs` from the signatures and
docstrings of the source; [recipes](recipes.md), [methods](methods.md), [comparing](comparing.md) and
[learning](learning.md) say more.

```py
import mergeometry as mg
```
"""
_METHODS = """
A method is called with the task vectors of one tensor, and a weight for each where they differ:
`mg.methods.Ties(density=0.1)(deltas, weights)`. `dir(mg.methods)` lists them. Parameters are checked when a method is
built.
"""
_REFINEMENTS = """
A refinement is called with a merged matrix and the task vectors that went into it:
`mg.refinements.Norm()(tau, deltas)`. `dir(mg.refinements)` lists them.
"""
_PATH = ROOT / "docs/api.md"


def files() -> dict[Path, str]:
    """The page's path and text."""
    return {_PATH: formatted(_page(), _PATH)}


def _page() -> str:
    public = [_public(name) for name in mergeometry.__all__ if name not in REGISTRIES]
    sections = [
        _INTRODUCTION,
        "## Functions",
        *(f"### {found.name}\n{_function(found)}" for found in public if isinstance(found, griffe.Function)),
        "## Values",
        *(f"### {found.name}\n{_value(found)}" for found in public if isinstance(found, griffe.Class)),
        "## Methods",
        _METHODS,
        *(_method(name, kind) for name, kind in classes("methods").items()),
        "## Refinements",
        _REFINEMENTS,
        *(_method(name, kind) for name, kind in classes("refinements").items()),
    ]
    return "\n\n".join(section.strip() for section in sections) + "\n"


@cache
def _package() -> griffe.Module:
    found = griffe.load("mergeometry", search_paths=[ROOT / "src"], docstring_parser="google", allow_inspection=False)
    assert isinstance(found, griffe.Module)
    return found


def _public(name: str) -> griffe.Object:
    """What a name of the package's surface stands for, at the place that defines it."""
    found = _package()[name]
    return found.final_target if isinstance(found, griffe.Alias) else found


def _function(found: griffe.Function) -> str:
    decorators = "@classmethod\n" if "classmethod" in found.labels else ""
    return "\n\n".join([_code(f"{decorators}def {_signature(found)}: ..."), *_docstring(found)])


def _value(found: griffe.Class) -> str:
    """A class by its docstring, its attributes, and its methods."""
    attributes = [
        _bullet(name, _plain(str(member.annotation)) if member.annotation else "", member)
        for name, member in _members(found, griffe.Attribute)
    ]
    methods = [f"#### {found.name}.{name}\n{_function(member)}" for name, member in _members(found, griffe.Function)]
    parts = [*_docstring(found), "\n".join(attributes), *methods]
    if found.name == "MergeometryError":
        parts.append("Its kinds, in `mergeometry.errors`:\n\n" + "\n".join(_kinds_of_error()))
    return "\n\n".join(part for part in parts if part)


def _members(found: griffe.Class, kind: type[griffe.Object]) -> Iterator[tuple[str, Any]]:
    for name, member in found.members.items():
        if isinstance(member, kind) and not name.startswith("_"):
            yield name, member


def _kinds_of_error() -> Iterator[str]:
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, errors.MergeometryError) and kind is not errors.MergeometryError:
            yield f"- `{name}`: {inspect.cleandoc(kind.__doc__ or '')}"


def _bullet(name: str, annotation: str, member: griffe.Object) -> str:
    typed = f" (`{annotation}`)" if annotation else ""
    about = " ".join(member.docstring.value.split()) if member.docstring else ""
    return f"- `{name}`{typed}" + (f": {about}" if about else "")


def _method(name: str, kind: type[Any]) -> str:
    """A method or refinement: how it is built, what it computes, its parameters, and where it is from."""
    given = parameters_of(kind)
    called = ", ".join(each.name + ("" if each.default is None else f"={each.default}") for each in given)
    summary, _, law = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")
    parts = [
        f"### {kind.__name__}\n`{name}` in recipes. {summary}",
        _code(f"{kind.__name__}({called})"),
        law,
        "\n".join(map(_parameter, given)),
        f"Source: {_linked(kind.source)}.",
    ]
    return "\n\n".join(part for part in parts if part)


def _parameter(given: Parameter) -> str:
    bounds = f", {given.bounds}" if given.bounds else ""
    default = "" if given.default is None else f", by default `{given.default}`"
    return f"- `{given.name}` (`{given.type}`{bounds}{default}): {given.description}"


def _linked(source: str) -> str:
    """A source with every arXiv number and page of the documentation as a link."""
    linked = re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", source)
    return re.sub(r"docs/([\w-]+\.md)", r"[\1](\1)", linked)


def _docstring(found: griffe.Object) -> Iterator[str]:
    """The sections of a docstring as Markdown.

    Raises:
        ValueError: there is none, or a section of a kind that has no form here yet.
    """
    if found.docstring is None:
        raise ValueError(f"{found.path} has no docstring")
    for section in found.docstring.parsed:
        if isinstance(section, griffe.DocstringSectionText):
            yield re.sub(r"\(docs/([\w-]+\.md)\)", r"([\1](\1))", section.value)
        elif isinstance(section, griffe.DocstringSectionRaises):
            raised = (f"- `{each.annotation}`: {' '.join(each.description.split())}" for each in section.value)
            yield "Raises:\n\n" + "\n".join(raised)
        else:
            raise ValueError(f"{found.path}: no form for a section of the kind {section.kind}")


def _signature(found: griffe.Function) -> str:
    """The signature as source, without the receiver."""
    parameters = [each for each in found.parameters if each.name not in {"self", "cls"}]
    bare = griffe.Function(
        found.name, parameters=griffe.Parameters(*parameters), returns=found.returns, parent=found.parent
    )
    return str(bare.signature())


def _code(source: str) -> str:
    return f"```py\n{source}\n```"


def _plain(annotation: str) -> str:
    """A type without what only the validation reads: ``Annotated[int, ...]`` is ``int``."""
    return ast.unparse(_Plain().visit(ast.parse(annotation, mode="eval")))


class _Plain(ast.NodeTransformer):
    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id == "Annotated" and isinstance(node.slice, ast.Tuple):
            return node.slice.elts[0]
        return node
