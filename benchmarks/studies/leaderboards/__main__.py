"""``python -m benchmarks.studies.leaderboards [run BOARD | keep BOARD FOLDER]``; alone it writes the page."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.pages.marks import between
from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import ROOT, say
from benchmarks.studies.leaderboards import overview, regressions, seeds, validation
from benchmarks.studies.leaderboards.boards import BOARDS
from benchmarks.studies.leaderboards.page import pictures, read, written
from benchmarks.studies.leaderboards.run import RESULTS, keep, run
from benchmarks.studies.leaderboards.summary import ablation, summary

PAGE, COMMAND = ROOT / "docs" / "leaderboards.md", "python -m benchmarks.studies.leaderboards"
README = ROOT / "README.md"
OURS = ROOT / "docs" / "own-blocks.md"
METHODS = ROOT / "docs" / "methods.md"
REGRESSIONS = ROOT / "docs" / "interference.md"
SUITES = ROOT / "docs" / "suites.md"


def main() -> None:
    """Run what is asked for, then write the page and its pictures."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    asked = parser.add_subparsers(dest="what")
    running = asked.add_parser("run", help="measure boards")
    running.add_argument("boards", nargs="+", choices=list(BOARDS), metavar="BOARD", help=", ".join(BOARDS))
    running.add_argument("--workers", type=int)
    keeping = asked.add_parser("keep", help="keep a comparison that was run by hand")
    keeping.add_argument("board", choices=list(BOARDS))
    keeping.add_argument("folder", type=Path)
    given = parser.parse_args()
    if given.what == "run":
        for name in given.boards:
            run(name, given.workers)
    if given.what == "keep":
        keep(given.board, given.folder, circumstances())
    found = read(RESULTS)
    PAGE.write_text(between(PAGE.read_text("utf-8"), "leaderboards", written(found), COMMAND), "utf-8")
    PAGE.write_text(between(PAGE.read_text("utf-8"), "seeds", seeds.all_written(found), COMMAND), "utf-8")
    PAGE.write_text(between(PAGE.read_text("utf-8"), "overview", overview.written(found), COMMAND), "utf-8")
    SUITES.write_text(between(SUITES.read_text("utf-8"), "validation", validation.written(found), COMMAND), "utf-8")
    README.write_text(between(README.read_text("utf-8"), "full fine-tunes", summary(found), COMMAND), "utf-8")
    OURS.write_text(between(OURS.read_text("utf-8"), "ablation", ablation(found), COMMAND), "utf-8")
    METHODS.write_text(
        between(METHODS.read_text("utf-8"), "readings", seeds.written(found, "mda-readings"), COMMAND), "utf-8"
    )
    REGRESSIONS.write_text(
        between(REGRESSIONS.read_text("utf-8"), "regressions", regressions.written(found), COMMAND), "utf-8"
    )
    for name, drawing in pictures(found).items():
        (ROOT / "docs" / "pictures" / name).write_text(drawing, "utf-8")
    say(f"{PAGE.relative_to(ROOT)}: {', '.join(found) or 'no board'}")


if __name__ == "__main__":
    main()
