"""Runs the demo on all of the suite's texts and writes its table into README.md: ``make leaderboard``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mergeometry_suite.demo.agenda import look
from mergeometry_suite.demo.choice import Choice
from mergeometry_suite.demo.entries import ALL_ENTRIES, ALL_SCALES, ALL_TEXTS
from mergeometry_suite.demo.leaderboard import Leaderboard
from mergeometry_suite.demo.markdown import leaderboard_markdown
from mergeometry_suite.demo.run import run_demo

ROOT = Path(__file__).parents[2]
VALIDATION_TEXTS = 150
"""Texts per task that the scale is chosen on; accuracy is measured on all test texts."""
BEGIN, END = "<!-- leaderboard: written by `make leaderboard` -->\n", "<!-- end of leaderboard -->"


def with_table(page: str, table: str) -> str:
    """The page with the text between the marks replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table}{END}{after}"


def main() -> None:
    output = ROOT / "benchmarks" / "scratch" / "leaderboard"
    choice = Choice(entries=ALL_ENTRIES, scales=ALL_SCALES, validation_texts=VALIDATION_TEXTS, test_texts=ALL_TEXTS)
    board = run_demo(
        look(choice, output), lambda now: print(f"[{now.done}/{now.total}] {now.doing}", file=sys.stderr, flush=True)
    )
    kept = ROOT / "benchmarks" / "results" / "leaderboard.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(board.to_json(), indent=1) + "\n", "utf-8")
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text("utf-8"), leaderboard_markdown(read(kept))), "utf-8")


def read(path: Path) -> Leaderboard:
    """The leaderboard saved in a file."""
    return Leaderboard.from_json(json.loads(path.read_text("utf-8")))


if __name__ == "__main__":
    main()
