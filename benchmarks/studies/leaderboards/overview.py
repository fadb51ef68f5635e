"""All methods on all boards: the gain that each keeps, with intervals, what it costs, and whether it needs data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from benchmarks.studies.leaderboards import seeds
from benchmarks.studies.leaderboards.boards import BOARDS
from benchmarks.studies.leaderboards.kinds import BESIDE
from benchmarks.studies.leaderboards.page import comparison_of, rows_of
from benchmarks.studies.leaderboards.rows import WITH_INPUTS
from benchmarks.studies.method_choice.arms import AUTO_RULE, CANDIDATES, group_of
from mergeometry.comparison.result import CompareRow, Figures
from mergeometry.plan.choice_of_method import FITTED
from mergeometry.report.comparison import kept

COLUMNS = {
    "text-8-full": "8 text",
    "text-14-full": "14 text",
    "text-20-full": "20 text",
    "vision-6-full": "6 image",
    "vision-full": "9 image",
    "text-2-adapters": "2 text, LoRA",
    "text-8-adapters": "8 text, LoRA",
    "text-14-adapters": "14 text, LoRA",
    "text-20-adapters": "20 text, LoRA",
    "vision-6-adapters": "6 image, LoRA",
    "vision": "9 image, LoRA",
}
"""The boards that compare methods, and their headings."""

PLAIN = ("average", "task_arithmetic", "ties")

Found = Mapping[str, dict[str, Any]]
Rows = Mapping[str, CompareRow]


@dataclass(frozen=True)
class Told:
    """A share of the gain, and how it is written with its spread."""

    share: float | None
    text: str


def written(found: Found) -> str:
    """What keeps most on each board, and every method on every board at scale 1 and at the validated one."""
    boards = {name: rows_of(name, found) for name in COLUMNS if name in found}
    if not boards:
        return "No board has been measured yet.\n"
    names = _ordered(boards)
    best = _table(boards, names, found, at_best=True)
    one = _table(boards, names, found, at_best=False)
    return f"{_first(boards, found)}\nAt scale 1:\n\n{one}\nAt the scale that validation inputs choose:\n\n{best}"


def _ordered(boards: Mapping[str, Rows]) -> list[str]:
    """Methods by the mean of what they keep on the boards that have them, at the better of their two scales."""
    names = dict.fromkeys(name for rows in boards.values() for name in rows)

    def strength(name: str) -> float:
        return mean(
            max(row.at_best.gain_kept or 0, row.at_one.gain_kept or 0) - _level(rows)
            for rows in boards.values()
            if (row := rows.get(name))
        )

    return sorted(names, key=strength, reverse=True)


def _level(rows: Rows) -> float:
    """What the middle method of a board keeps: a method is not to lead for lack of the hard boards."""
    shares = sorted(row.at_best.gain_kept or 0 for row in rows.values())
    return shares[len(shares) // 2]


def _table(boards: Mapping[str, Rows], names: list[str], found: Found, *, at_best: bool) -> str:
    shares = {board: told(board, rows, found) for board, rows in boards.items()}
    head = ["gain kept, %", "data", *(COLUMNS[board] for board in boards), "seconds", "MB"]
    lines = [f"| {' | '.join(head)} |", f"| --- | --- |{' ---: |' * (len(head) - 2)}"]
    for name in names:
        cells = [own[name][0 if at_best else 1].text if name in own else "–" for own in shares.values()]
        lines.append(f"| `{name}` | {_data(name)} | {' | '.join(cells)} | {' | '.join(_costs(found, name))} |")
    return "\n".join(lines) + "\n"


def told(board: str, rows: Rows, found: Found) -> dict[str, tuple[Told, Told]]:
    """What each row keeps at its validated scale and at scale 1: the mean over training seeds where there are several.

    A row that not all of them have says so, and is not compared with the means.
    """
    shares = {
        name: (Told(row.at_best.gain_kept, _share(row.at_best)), Told(row.at_one.gain_kept, _share(row.at_one)))
        for name, row in rows.items()
    }
    repeated = seeds.boards_of(found, board).keys()
    if board not in seeds.REPEATED or len(repeated) < 2:
        return shares
    alone = f" (seed {BOARDS[board].seed})"
    shares = {
        name: (Told(None, best.text + alone), Told(None, one.text + alone)) for name, (best, one) in shares.items()
    }
    for first in (*(f"{board}-{end}" for end in BESIDE), board):
        if seeds.boards_of(found, first).keys() == repeated:
            for name, (best, one) in seeds.shares(found, first).items():
                shares[name] = _mean_told(best), _mean_told(one)
    return shares


def _mean_told(share: seeds.Shares) -> Told:
    return Told(mean(share.values()), seeds.spread(share))


def _share(figures: Figures) -> str:
    return kept(figures.gain_kept, figures.spread)


def _data(name: str) -> str:
    return "32 inputs" if name in WITH_INPUTS else "none"


def _costs(found: Found, name: str) -> tuple[str, str]:
    """Seconds and memory of the merge of eight full fine-tunes: of one board, comparable with each other alone."""
    rows = comparison_of(found[seeds.FIRST]).rows if seeds.FIRST in found else ()
    row = next((row for row in rows if row.name == name), None)
    return (f"{row.seconds:.0f}", f"{row.memory / 1e6:.0f}") if row and row.memory else ("–", "–")


def _first(boards: Mapping[str, Rows], found: Found) -> str:
    """A line per board: what keeps most on its test inputs, of three kinds of methods, and what `auto` keeps."""
    head = [
        "board",
        "without data",
        "`average`, `task_arithmetic` or `ties`",
        "with 32 inputs per task",
        "`method: auto`",
    ]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for name, rows in boards.items():
        inputs = [str(row) for row in WITH_INPUTS]
        kinds = ([row for row in rows if row not in inputs], PLAIN, inputs)
        shares = told(name, rows, found)
        cells = [BOARDS[name].title, *(_best(shares, kind) for kind in kinds), _auto(name, rows, found)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _auto(name: str, rows: Rows, found: Found) -> str:
    """What is kept by the merge that `method: auto` chooses, where the board, or one on its inputs, scored it."""
    merge = FITTED[group_of(BOARDS[name])]
    row = next(row for row, own in CANDIDATES.items() if replace(own, scale=merge.scale) == merge)
    rule = f"{merge.scale:g} x one" if isinstance(merge.scale, float) else AUTO_RULE
    if merge.scale == 1.0 and row in rows:
        return f"`{row}` at 1: {told(name, rows, found)[row][1].text}"
    tried = [rows[row]] if row in rows else []
    for more in (f"{name}-half", *(f"{name}-{end}" for end in BESIDE)):
        tried += [one for one in comparison_of(found[more]).rows if one.name == row] if more in found else []
    for one in tried:
        for scale, figures in ((1.0, one.at_one), (one.best_scale, one.at_best), (merge.scale, one.rules.get(rule))):
            if scale == merge.scale and figures is not None:
                at = f"{merge.scale:g}" if isinstance(merge.scale, float) else f"`{merge.scale}`"
                return f"`{row}` at {at}: {kept(figures.gain_kept, figures.spread)}"
    return "–"


def _best(shares: Mapping[str, tuple[Told, Told]], among: Collection[str]) -> str:
    scored = {(name, at): own for name in among if name in shares
              for own, at in zip(shares[name], ("", " at 1"), strict=True)}  # fmt: skip
    if not scored:
        return "–"
    name, at = max(scored, key=lambda place: scored[place].share or float("-inf"))
    return f"`{name}`{at}: {scored[name, at].text}"
