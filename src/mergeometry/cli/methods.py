"""``mergeometry methods``: the methods and refinements, with parameters and sources."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mergeometry.cli.show import Debug, Json, console, plain, plain_errors

if TYPE_CHECKING:
    from mergeometry.methods.base import Method
    from mergeometry.refinements.base import Refinement


def methods(
    name: Annotated[str | None, typer.Argument(help="Show one of them with its parameters and its law.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the merge methods and the refinements that may follow them, or explain one."""
    with plain_errors(debug):
        from mergeometry.errors import RecipeError
        from mergeometry.methods import registry
        from mergeometry.refinements import registry as refinements
        from mergeometry.words import nearest_of

        if name:
            both = [*registry.names(), *refinements.names()]
            if name not in both:
                raise RecipeError(f"there is no method or refinement {name!r}", hint=nearest_of(name, both))
            chosen = refinements.find(name) if name in refinements.names() else registry.find(name)
            described = [_describe(name, chosen)]
        else:
            described = [_describe(each, registry.find(each)) for each in registry.names()]
            described += [_describe(each, refinements.find(each)) for each in refinements.names()]
        if as_json:
            typer.echo(json.dumps(described[0] if name else described, indent=1))
        elif name:
            _print_one(described[0])
        else:
            _print_all(described)


def _describe(name: str, method: type[Method] | type[Refinement]) -> dict[str, Any]:
    from pydantic import TypeAdapter

    from mergeometry.refinements.base import Refinement

    schema = TypeAdapter(method).json_schema()
    summary, _, law = inspect.cleandoc(method.__doc__ or "").partition("\n\n")
    return {
        "name": name,
        "summary": summary,
        "law": law,
        "source": method.source,
        "kind": "refinement" if issubclass(method, Refinement) else "method",
        **(
            {}
            if issubclass(method, Refinement)
            else {"scale_rule": method.scale_rule, "per_model": list(method.per_model)}
        ),
        "needs": "refinement" if issubclass(method, Refinement) else method.family,
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

    for kind in ("method", "refinement"):
        table = Table(kind, "what it does", "parameters", "source")
        for method in described:
            if method["kind"] == kind:
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
    if "scale_rule" in method:
        target.print(f"scale: auto is {method['scale_rule']}")
    if method.get("per_model"):
        target.print(f"with a model, for it alone: {', '.join(method['per_model'])}")
    if method["parameters"]:
        table = Table("parameter", "default", "meaning")
        for key, value in method["parameters"].items():
            choices = f" ({', '.join(value['choices'])})" if value["choices"] else ""
            table.add_row(plain(key), plain(json.dumps(value["default"])), plain(value["description"] + choices))
        target.print(table)
