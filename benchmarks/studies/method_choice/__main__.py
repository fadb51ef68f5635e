"""``python -m benchmarks.studies.method_choice`` writes the tables of docs/which-method.md from the leaderboards."""

from __future__ import annotations

from pathlib import Path

from benchmarks.pages.marks import between
from benchmarks.speed.measure import say
from benchmarks.studies.method_choice.arms import LATER, read
from benchmarks.studies.method_choice.fit import CELLS, CHOSEN, rules
from benchmarks.studies.method_choice.page import written

PAGE = Path(__file__).parents[3] / "docs" / "which-method.md"
NAME, COMMAND = "method choice", "python -m benchmarks.studies.method_choice"


def main() -> None:
    """Rewrite the tables, and say what was fitted."""
    boards = read()
    PAGE.write_text(between(PAGE.read_text("utf-8"), NAME, written(boards, read(names=LATER)), COMMAND), "utf-8")
    for form, arm in rules(list(boards.values()), CELLS[CHOSEN]).items():
        say(f"{form}: {arm.merge}")


if __name__ == "__main__":
    main()
