"""``python -m benchmarks.studies.calibration [measure|inputs|experts BOARD...] [score PART...]``; alone it writes."""

from __future__ import annotations

import argparse
import json

from benchmarks.speed.measure import ROOT
from benchmarks.studies.calibration.boards import ADAPTERS, USED
from benchmarks.studies.calibration.inputs_table import inputs_result
from benchmarks.studies.calibration.join import measure_board
from benchmarks.studies.calibration.on_inputs import INPUTS, measure_on_inputs, read_on_inputs
from benchmarks.studies.calibration.page import on_page
from benchmarks.studies.calibration.retrained import RETRAINED, measure_retrained
from benchmarks.studies.calibration.scored import PARTS, run
from benchmarks.studies.calibration.summary import (
    COMMAND,
    CONSTANTS,
    ON_INPUTS,
    RESULT,
    boards,
    constants,
    summarise,
)

PAGE = ROOT / "docs" / "reading-the-report.md"


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    asked = parser.add_subparsers(dest="what")
    measuring = asked.add_parser("measure", help="merge the boards' models again and measure every task")
    measuring.add_argument("boards", nargs="+", choices=USED, metavar="BOARD", help=", ".join(USED))
    running = asked.add_parser("inputs", help="merge the boards' models again and run every merge on inputs")
    running.add_argument("boards", nargs="+", choices=INPUTS, metavar="BOARD", help=", ".join(INPUTS))
    again = asked.add_parser("experts", help="score retrained experts on their board's test inputs")
    again.add_argument("boards", nargs="+", choices=RETRAINED, metavar="BOARD", help=", ".join(RETRAINED))
    scoring = asked.add_parser("score", help="score merges that no board has")
    scoring.add_argument("parts", nargs="+", choices=list(PARTS), metavar="PART", help=", ".join(PARTS))
    given = parser.parse_args()
    if given.what == "measure":
        for name in given.boards:
            measure_board(name)
    if given.what == "inputs":
        for name in given.boards:
            measure_on_inputs(name)
    if given.what == "experts":
        for name in given.boards:
            measure_retrained(name)
    if given.what == "score":
        for part in given.parts:
            run(part)
    if given.what is None:
        write()


def write() -> None:
    """Compute everything that is published from what was measured, and put it in its places."""
    result, measured = summarise(), read_on_inputs()
    on_inputs = inputs_result(measured, boards())
    for place, value in ((RESULT, result), (ON_INPUTS, on_inputs), (CONSTANTS, constants(result, on_inputs))):
        place.write_text(json.dumps(value, indent=1) + "\n", "utf-8")
    PAGE.write_text(on_page(PAGE.read_text("utf-8"), result, on_inputs, measured[ADAPTERS]), "utf-8")


if __name__ == "__main__":
    main()
