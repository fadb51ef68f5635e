"""Write an expert's folder so that it appears whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mergeometry.errors import OutputError

PROVENANCE = "provenance.json"


def refuse_foreign(output: Path, is_complete: Callable[[Path], bool]) -> None:
    """Refuse a folder that is neither empty nor an expert.

    Raises:
        OutputError: the folder holds something else.
    """
    if output.exists() and not (is_complete(output) or (output.is_dir() and not any(output.iterdir()))):
        raise OutputError("the output exists and is not an expert", file=output, hint="name another folder")


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """Give an empty folder, which replaces ``output`` once its block has ended without an error."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".training-", dir=output.parent) as workplace:
        folder = Path(workplace) / "expert"
        folder.mkdir()
        yield folder
        if output.exists():
            shutil.move(output, Path(workplace) / "before")
        folder.rename(output)


def write_provenance(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of where an expert came from into its folder."""
    (folder / PROVENANCE).write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def read_provenance(folder: Path) -> dict[str, Any]:
    """Return where an expert came from."""
    return json.loads((folder / PROVENANCE).read_text("utf-8"))
