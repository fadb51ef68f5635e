"""``mergeometry diff``: what changed between two runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mergeometry.cli.progress import progress
from mergeometry.cli.show import Debug, Json, Quiet, console, plain, plain_errors
from mergeometry.words import counted

if TYPE_CHECKING:
    from mergeometry.inspection.difference import Change, Difference

_SHOWN = 20
_LETTERS = 60


def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="What a merge wrote, or the folder of a comparison.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one of the same kind.")],
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show what changed between two runs: recipe, inputs, versions, tensors, scores.

        mergeometry diff merged merged-ties

        mergeometry diff comparison comparison-new --json

    Two merges are compared by their run records, and by their weights where those are there: the distance of a tensor
    is ||A - B|| / ||B||. Scores are compared where they lie beside the outputs: `mergeometry evaluate A --tasks T
    --save` and `mergeometry report A --data T` keep them. Two comparisons are compared by what each method scored.
    """
    with plain_errors(debug):
        from mergeometry.inspection.difference import difference

        with progress("comparing", hidden=quiet or as_json, timed=False) as show:
            measured = None if show is None else lambda name, done, total: show("comparing", done, total, item=name)
            found = difference(first, second, measured)
        if as_json:
            typer.echo(json.dumps(found.to_json(), indent=1))
        elif not quiet:
            _print(found)


def _print(found: Difference) -> None:
    from rich.table import Table

    target = console()
    for title, changes in (
        ("Recipe", found.recipe),
        ("Inputs, by their hashes", found.inputs),
        ("Versions", found.versions),
        ("Scores", found.scores),
    ):
        _print_changes(title, changes)
    if found.tensors or found.same:
        away = "" if found.distance is None else f"; their distance is {found.distance:.3g} of the second's norm"
        target.print(f"{counted(found.same, 'tensor')} the same, {len(found.tensors):,} not{away}", soft_wrap=True)
    if found.tensors:
        farthest = sorted(found.tensors, key=lambda one: -1.0 if one.distance is None else one.distance, reverse=True)
        table = Table("tensor", "why", "distance", title="Tensors that differ", title_justify="left")
        for one in farthest[:_SHOWN]:
            table.add_row(plain(one.name), plain(one.why), "" if one.distance is None else f"{one.distance:.3g}")
        target.print(table)
        if len(farthest) > _SHOWN:
            target.print(f"and {len(farthest) - _SHOWN:,} more; --json lists every one")
    for note in found.notes:
        target.print(f"note: {plain(note)}", soft_wrap=True)
    if not (found.recipe or found.inputs or found.versions or found.tensors or found.scores):
        target.print("nothing differs")


def _print_changes(title: str, changes: Sequence[Change]) -> None:
    from rich.table import Table

    if not changes:
        return
    table = Table("what", "first", "second", title=title, title_justify="left")
    for change in changes:
        table.add_row(plain(change.what), _value(change.first), _value(change.second))
    console().print(table)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = "" if value is None else str(value)
    return plain(text if len(text) <= _LETTERS else f"{text[: _LETTERS - 16]}…{text[-15:]}")
