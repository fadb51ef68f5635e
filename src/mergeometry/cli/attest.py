"""``mergeometry provenance`` and ``mergeometry sign``: who made an output, and from what."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mergeometry.cli.progress import progress
from mergeometry.cli.show import Debug, Json, Quiet, console, plain, plain_errors, size

if TYPE_CHECKING:
    from mergeometry.progress import Show
    from mergeometry.verification.verify import Progress

Output = Annotated[Path, typer.Argument(metavar="DIR", help="The folder that a merge wrote.")]

_PASSWORD = "MERGEOMETRY_KEY_PASSWORD"  # noqa: S105  (the variable that holds it)


def provenance(output: Output, as_json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Write an in-toto statement of where an output comes from into it: mergeometry.intoto.json.

        mergeometry provenance merged

        mergeometry provenance merged --json

    The output is verified first. The statement names every file with its SHA-256, the inputs with their content hashes,
    the recipe and the versions, and no path of this machine (docs/run-record.md).
    """
    with plain_errors(debug):
        from mergeometry.sink.target import PROVENANCE_NAME
        from mergeometry.verification.provenance import write_provenance

        with progress("hashing", hidden=quiet or as_json, timed=True) as show:
            made = write_provenance(output, progress=None if show is None else _hashing(show))
        if as_json:
            typer.echo(json.dumps(made, indent=1))
        elif not quiet:
            console().print(f"wrote {plain(output / PROVENANCE_NAME)}", soft_wrap=True)


def sign(
    output: Output,
    key: Annotated[Path, typer.Option("--key", metavar="KEY", help="A private key on an elliptic curve, as PEM.")],
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Sign an output, with its provenance, in the OpenSSF's model-signing format: model.sig.

        openssl ecparam -name prime256v1 -genkey -noout -out private.pem

        openssl ec -in private.pem -pubout -out public.pem

        mergeometry sign merged --key private.pem

        mergeometry verify merged --key public.pem

    The output is verified first. No network is used. The password of a key that has one is read from the variable
    MERGEOMETRY_KEY_PASSWORD. It needs the extra `signing`.
    """
    with plain_errors(debug):
        from mergeometry.verification.signatures import sign as signed

        with progress("hashing", hidden=quiet, timed=True) as show:
            shown = None if show is None else _hashing(show)
            signature = signed(output, key, password=os.environ.get(_PASSWORD), progress=shown)
        if not quiet:
            console().print(f"wrote {plain(signature)}", soft_wrap=True)


def _hashing(show: Show) -> Progress:
    return lambda name, done, total: show("hashing", done, total, item=name, count=f"{size(done)} of {size(total)}")
