"""The files around the code, which no package holds."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def settings(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / name).read_text("utf-8"))
