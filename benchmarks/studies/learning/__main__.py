"""The command line: ``python -m benchmarks.studies.learning [rows] [ablations] [--seeds 0 1 2]``."""

from __future__ import annotations

import argparse
import json
import sys
import time

from benchmarks.speed.machine import circumstances
from benchmarks.studies.learning.ends import write_ends
from benchmarks.studies.learning.rows import ABLATIONS, ROWS, SEEDS
from benchmarks.studies.learning.runner import ROOT, kept_rows, run_rows
from benchmarks.studies.learning.tables import packed, write_line, write_tables

KINDS = {"rows": ROWS, "ablations": ABLATIONS}
RESULTS = ROOT / "benchmarks" / "results"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.learning", description=__doc__)
    parser.add_argument("kinds", nargs="*", help="rows, ablations; both by default")
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--side-by-side", type=int, default=2, help="processes at a time, one thread each")
    parser.add_argument("--kept", action="store_true", help="run nothing: write the results of earlier runs")
    given = parser.parse_args(arguments)
    for kind in given.kinds or KINDS:
        found, started = circumstances(), time.monotonic()
        together = kind == "ablations"
        results = (
            kept_rows(KINDS[kind], given.seeds)
            if given.kept
            else run_rows(KINDS[kind], given.seeds, side_by_side=given.side_by_side, together=together)
        )
        kept = {
            **found,
            "command": f"python -m benchmarks.studies.learning {kind}",
            "seeds": given.seeds,
            "seconds": time.monotonic() - started,
            "rows": [
                {"name": row.name, **row.spec(), "runs": [packed(run) for run in results[row.name]]}
                for row in KINDS[kind]
                if results[row.name]
            ],
        }
        (RESULTS / f"learning_{kind}.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    write_ends(RESULTS / "learning_ends.json")
    write_tables(RESULTS, ROOT / "docs" / "learning.md")
    write_line(RESULTS, ROOT / "README.md")


if __name__ == "__main__":
    main(sys.argv[1:])
