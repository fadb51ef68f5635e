"""``mergeometry verify``: an output held against its run record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mergeometry.cli.progress import progress
from mergeometry.cli.show import FAILED, Debug, Json, Quiet, console, plain, plain_errors, size
from mergeometry.words import counted

if TYPE_CHECKING:
    from mergeometry.verification.result import Verification


def verify(
    output: Annotated[Path, typer.Argument(metavar="DIR", help="What a merge wrote: a folder, or one file.")],
    inputs: Annotated[
        bool, typer.Option("--inputs", help="Hash the models that were merged as well, where they were found then.")
    ] = False,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="PUB", help="A signer's public key: its signature has to hold too.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Hash an output again and list everything that is not as its run record says.

        mergeometry verify merged

        mergeometry verify merged --inputs --json

        mergeometry verify merged --key public.pem

    Tensors, headers and the files next to the weights are hashed, and files are listed that are missing or that the
    merge did not write. Exit status 0 if all agree, 1 if anything differs. The record itself is taken at its word;
    a signature (docs/run-record.md) says whose word it is.
    """
    with plain_errors(debug):
        from mergeometry.verification.verify import verify as verified

        with progress("hashing", hidden=quiet or as_json, timed=True) as show:
            shown = (
                None
                if show is None
                else lambda name, done, total: show(
                    "hashing", done, total, item=name, count=f"{size(done)} of {size(total)}"
                )
            )
            found = verified(output, inputs=inputs, key=key, progress=shown)
        if as_json:
            typer.echo(json.dumps(found.to_json(), indent=1))
        elif not quiet:
            _print(found)
        if not found.ok:
            raise typer.Exit(FAILED)


def _print(found: Verification) -> None:
    from rich.table import Table

    target = console()
    if found.differences:
        table = Table(title=f"{counted(len(found.differences), 'difference')}", title_justify="left")
        for column in ("", "what", "name", "why"):
            table.add_column(column, overflow="fold")
        for one in found.differences:
            table.add_row(one.kind, one.what, plain(one.name), plain(one.reason))
        target.print(table)
    for note in found.notes:
        target.print(f"note: {plain(note)}", soft_wrap=True)
    hashed = [counted(found.tensors, "tensor"), counted(found.files, "file")]
    hashed += [counted(found.inputs, "input")] if found.inputs else []
    verdict = "as the run record says" if found.ok else "not as the run record says"
    target.print(f"{', '.join(hashed)}, {size(found.bytes_hashed)} hashed: {verdict}", soft_wrap=True)
