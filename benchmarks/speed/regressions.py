"""Small versions of the measured rows against the committed ratios: ``python -m benchmarks.speed.regressions``.

`make bench-quick` runs it, in a few minutes. Every command of ours has a reference that runs in the same rounds: a
plain program of the same merge, or the import of what both need. A row's figure is the ratio of their processor
seconds, user and system, each the least of all rounds, so that other work on the machine disturbs it little. A row that
looks slower is measured again before it counts. The command fails if a ratio is more than a fifth above the committed
one; ``--update`` commits to those of this run, in ``benchmarks/results/regressions.json`` and on docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages.page import write_page
from benchmarks.speed.__main__ import TITLES
from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import ROOT, Case, in_turn, say, shown
from benchmarks.speed.regression_rows import Row, rows, write_models

LIMIT = 1.2
"""How many times the committed ratio counts as a regression."""
ROUNDS = 3
BASELINE = ROOT / "benchmarks" / "results" / "regressions.json"

Ratios = Mapping[str, float]


def measured(chosen: Sequence[Row], committed: Ratios, rounds: int, work: Path) -> None:
    """Run all commands in turn, then those again that look slower than committed, as often as before."""
    in_turn(_cases(chosen), rounds, work)
    doubtful = [row for row in chosen if slower(row.ratio, committed.get(row.name))]
    if doubtful:
        say(f"measuring again, since they look slower: {', '.join(row.name for row in doubtful)}")
        in_turn(_cases(doubtful), 2 * rounds, work)


def slower(ratio: float, before: float | None) -> bool:
    """Whether a ratio is a regression from the committed one."""
    return before is not None and ratio > LIMIT * before


def verdicts(found: Ratios, committed: Ratios) -> list[tuple[str, str, str, str, str]]:
    """Each row's name, its ratio, the committed one, the change in percent, and what that means."""
    lines = []
    for name, ratio in found.items():
        before = committed.get(name)
        if before is None:
            lines.append((name, f"{ratio:.2f}", "-", "-", "new: not committed yet"))
            continue
        word = "REGRESSED" if slower(ratio, before) else "faster" if ratio * LIMIT < before else "as before"
        lines.append((name, f"{ratio:.2f}", f"{before:.2f}", f"{100 * (ratio / before - 1):+.0f} %", word))
    return lines


def main(arguments: list[str]) -> int:
    """Measure, print the table, and return the exit status: 1 if a row has regressed."""
    given = _parser().parse_args(arguments)
    committed = _committed(given.baseline)
    chosen = [row for row in rows(given.work) if not given.names or row.name in given.names]
    found, started = circumstances(), time.monotonic()
    write_models(chosen, given.work)
    measured(chosen, {} if given.update else committed, given.rounds, given.work)
    ratios = {row.name: row.ratio for row in chosen}
    for line in _aligned([("row", "now", "committed", "change", ""), *verdicts(ratios, committed)]):
        print(line)
    if given.update:
        result = {
            "benchmark": "regressions",
            "command": shlex.join(["python", "-m", "benchmarks.speed.regressions", *arguments]),
            **found,
            "seconds": round(time.monotonic() - started),
            "limit": LIMIT,
            "rounds": given.rounds,
            "rows": [_row(row) for row in chosen],
        }
        given.baseline.write_text(json.dumps(result, indent=1) + "\n")
        if given.baseline == BASELINE:
            write_page(BASELINE.parent, ROOT / "docs" / "benchmarks.md", TITLES)
        return 0
    regressed = [name for name, ratio in ratios.items() if slower(ratio, committed.get(name))]
    if regressed:
        print(
            f"{len(regressed)} of {len(ratios)} rows take over {LIMIT:g} times what they took: {', '.join(regressed)}"
        )
    return 1 if regressed else 0


def _cases(chosen: Sequence[Row]) -> list[Case]:
    """Each command once, a reference before what is measured against it."""
    return list({case.name: case for row in chosen for case in (row.reference, row.ours)}.values())


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "ratio": row.ratio,
        "ours": {"command": shown(row.ours.command), "processor_s": row.seconds(row.ours)},
        "reference": {
            "name": row.reference.name,
            "command": shown(row.reference.command),
            "processor_s": row.seconds(row.reference),
        },
    }


def _committed(baseline: Path) -> dict[str, float]:
    if not baseline.exists():
        return {}
    return {row["name"]: row["ratio"] for row in json.loads(baseline.read_text())["rows"]}


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return ["  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.regressions", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="ROW", help="rows to measure (default: all)")
    parser.add_argument("--update", action="store_true", help="commit to this run's ratios, whatever they are")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"runs of each command (default {ROUNDS})")
    parser.add_argument("--baseline", type=Path, default=BASELINE, help="the committed ratios")
    scratch = ROOT / "benchmarks" / "scratch" / "regressions"
    parser.add_argument("--work", type=Path, default=scratch, help="where models and outputs are written")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
