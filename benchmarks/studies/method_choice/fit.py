"""The rules: one arm for each kind of merge, the one that loses least on the validation inputs of some boards."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from statistics import fmean

from benchmarks.studies.method_choice.arms import Arm, Scored

Cell = Callable[[Scored], str]
"""What boards must have in common to share a rule."""

BY_FORM = "one for adapters, one for full fine-tunes"
CELLS: Mapping[str, Cell] = {
    "one rule for all": lambda board: "all",
    BY_FORM: lambda board: board.form,
    "one for full fine-tunes, one for adapters of each kind of input": lambda board: board.group,
    "one for each form and kind of input": lambda board: f"{board.form}, {board.kind}",
}
CHOSEN = "one for full fine-tunes, one for adapters of each kind of input"
"""How the rules of `method: auto` are divided.

Adapters are divided as loses least on the validation inputs of boards of adapters, each left out.
"""


def fit(boards: Collection[Scored]) -> Arm | None:
    """The arm that is on average least behind the best figure on the boards' validation inputs.

    Every board must have scored it, else an arm would gain by being left out where all arms lose much.
    """
    behind: dict[Arm, list[float]] = {}
    for board in boards:
        for arm, figures in board.arms.items():
            if figures.validation is not None:
                behind.setdefault(arm, []).append(board.best_validation - figures.validation)
    known = {arm: fmean(losses) for arm, losses in behind.items() if len(losses) == len(boards)}
    return min(known, key=lambda arm: (known[arm], len(arm.row), str(arm)), default=None)


def rules(boards: Collection[Scored], cell: Cell) -> dict[str, Arm]:
    """The fitted arm of each cell."""
    cells = dict.fromkeys(cell(board) for board in boards)
    fitted = {name: fit([board for board in boards if cell(board) == name]) for name in cells}
    return {name: arm for name, arm in fitted.items() if arm is not None}


def chosen_without(board: Scored, boards: Collection[Scored], cell: Cell, *, suite: bool = False) -> Arm | None:
    """The rule for a board, fitted on other boards alone; with ``suite``, on none that shares experts with it.

    Where its cell has no other board, the rule is that of its form; where that has none either, that of all.
    """
    others = [one for one in boards if one.name != board.name and not (suite and one.suite == board.suite)]
    same: tuple[Cell, ...] = (cell, CELLS[BY_FORM], CELLS["one rule for all"])
    for test in same:
        arm = fit([one for one in others if test(one) == test(board)])
        if arm is not None:
            return arm
    return None


def regret_on_validation(board: Scored, arm: Arm | None) -> float | None:
    """The same on validation inputs, by which the division of the rules is chosen."""
    figures = board.arms.get(arm) if arm is not None else None
    return None if figures is None or figures.validation is None else 100 * (board.best_validation - figures.validation)


def regret(board: Scored, arm: Arm | None) -> float | None:
    """Points of accuracy on test inputs that an arm is behind the best of hindsight; None where it was not scored."""
    figures = board.arms.get(arm) if arm is not None else None
    return None if figures is None or figures.test is None else 100 * (board.best - figures.test)
