"""Survey all architectures: ``python -m benchmarks.studies.architectures [NAME ...]``.

Without names it surveys all of them, with names these alone and keeps the other rows. It writes
benchmarks/results/architectures.json and docs/architectures.md. ``page`` writes the page from the kept result.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

from benchmarks.speed.machine import circumstances
from benchmarks.studies.architectures.catalogue import architectures
from benchmarks.studies.architectures.page import COMMAND, PAGE, RESULT, page_of
from benchmarks.studies.architectures.run import run


def main(names: list[str]) -> int:
    """Run the survey; 1 where a merge differs from the live model."""
    if names == ["page"]:
        PAGE.write_text(page_of(json.loads(RESULT.read_text("utf-8"))), "utf-8")
        return 0
    found = circumstances()
    found["versions"] |= {name: version(name) for name in ("transformers", "peft")}
    everything = list(architectures())
    chosen = [place for place, one in enumerate(everything) if not names or one.kind in names]
    rows = json.loads(RESULT.read_text("utf-8"))["rows"] if names else [{} for _ in everything]
    for place, row in zip(chosen, run([everything[place] for place in chosen]), strict=True):
        rows[place] = row
    result = {"command": COMMAND, **found, "rows": rows}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    PAGE.write_text(page_of(result), "utf-8")
    wrong = [
        row["architecture"]
        for row in rows
        for part in row.values()
        if isinstance(part, dict) and part.get("same") is False
    ]
    for name in sorted(set(wrong)):
        print(f"differs from the live model: {name}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
