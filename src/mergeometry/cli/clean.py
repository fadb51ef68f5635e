"""``mergeometry clean``: what interrupted runs left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mergeometry.cli.show import Debug, Json, Quiet, console, plain, plain_errors, size, wrong_usage


def clean(
    output: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="The output of a merge that was interrupted.")
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="Remove what was never completed in the cache, once a day has passed.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be removed.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Remove what an interrupted merge left next to its output; a merge that is still running is left alone.

        mergeometry clean merged --dry-run

        mergeometry clean merged

        mergeometry clean --cache

    Beside an output lie staged tensors, the state of learning, finished stages of a staged merge, and activations of a
    merge by `data:`. --resume would continue from the first three.
    """
    with plain_errors(debug):
        from mergeometry.cache import cache_folder
        from mergeometry.execution.leftovers import (
            leftovers,
            partial_files,
            remove_leftovers,
            remove_partial_files,
        )

        if output is None and not cache:
            wrong_usage("give the output of the merge, or --cache")
        found = leftovers(output) if output is not None else []
        found += partial_files(cache_folder()) if cache else []
        if not dry_run:
            if output is not None:
                remove_leftovers(output)
            if cache:
                remove_partial_files(cache_folder())
        if as_json:
            rows = [{"what": one.what, "path": str(one.path), "bytes": one.nbytes} for one in found]
            typer.echo(json.dumps({"removed": not dry_run, "found": rows}, indent=1))
        elif not quiet:
            for one in found:
                console().print(f"{plain(one.path)}: {one.what}, {size(one.nbytes)}", soft_wrap=True)
            where = f"was staged for {plain(output)}" if output is not None else "was left in the cache"
            done = f"{'would remove' if dry_run else 'removed'} what {where}" if found else "nothing was staged"
            console().print(done, soft_wrap=True)
