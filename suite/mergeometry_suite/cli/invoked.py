"""How this program was called, so that a command it prints can be pasted."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def invoked() -> str:
    """``mergeometry`` where the shell finds it, else its path as seen from here, or the interpreter with its module."""
    script = Path(sys.argv[0])
    if script.name != "mergeometry":
        return f"{_from_here(Path(sys.executable))} -m mergeometry"
    known = shutil.which("mergeometry")
    return "mergeometry" if known and script.exists() and Path(known).samefile(script) else _from_here(script)


def _from_here(path: Path) -> str:
    path = path.absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
