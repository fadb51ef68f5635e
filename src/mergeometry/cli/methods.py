"""``mergeometry methods``: what there is, with parameters and sources."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mergeometry.cli.show import Debug, Json, console, plain, plain_errors

if TYPE_CHECKING:
    from mergeometry.methods.base import Method

_FAMILIES = "mergeometry.methods.base"
"""The module that defines what a method may need; a method is of the first of its kinds there."""


def methods(
    name: Annotated[str | None, typer.Argument(help="Show one method with its parameters and its law.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the merge methods, or explain one."""
    with plain_errors(debug):
        from mergeometry.methods import registry

        described = [_describe(each, registry.find(each)) for each in ([name] if name else registry.names())]
        if as_json:
            typer.echo(json.dumps(described[0] if name else described, indent=1))
        elif name:
            _print_one(described[0])
        else:
            _print_all(described)


def _describe(name: str, method: type[Method]) -> dict[str, Any]:
    from pydantic import TypeAdapter

    schema = TypeAdapter(method).json_schema()
    summary, _, law = inspect.cleandoc(method.__doc__ or "").partition("\n\n")
    return {
        "name": name,
        "summary": summary,
        "law": law,
        "source": method.source,
        "needs": next(kind.__name__ for kind in method.__mro__ if kind.__module__ == _FAMILIES).lower(),
        "parameters": {
            key: {
                "default": value.get("default"),
                "description": value.get("description", ""),
                "choices": value.get("enum", []),
            }
            for key, value in schema.get("properties", {}).items()
        },
    }


def _print_all(described: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("method", "what it does", "parameters", "source")
    for method in described:
        table.add_row(
            plain(method["name"]),
            plain(method["summary"]),
            plain(", ".join(method["parameters"])),
            plain(method["source"]),
        )
    console().print(table)


def _print_one(method: dict[str, Any]) -> None:
    from rich.table import Table

    target = console()
    target.print(f"[bold]{plain(method['name'])}[/bold]: {plain(method['summary'])}\n")
    target.print("\n".join(plain(line) for line in method["law"].splitlines()) + "\n")
    target.print(f"source: {plain(method['source'])}\nneeds: {method['needs']}")
    if method["parameters"]:
        table = Table("parameter", "default", "meaning")
        for key, value in method["parameters"].items():
            choices = f" ({', '.join(value['choices'])})" if value["choices"] else ""
            table.add_row(plain(key), plain(json.dumps(value["default"])), plain(value["description"] + choices))
        target.print(table)
