"""The tables of docs/which-method.md: what was fitted, and what it loses on boards that were left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from benchmarks.studies.method_choice.arms import LEFT_OUT, Arm, Scored
from benchmarks.studies.method_choice.fit import CELLS, CHOSEN, chosen_without, regret, regret_on_validation, rules
from mergeometry.plan.choice_of_method import GROUPS

FIXED = (
    Arm("own_blocks", 0.5), Arm("own_blocks", 1.0), Arm("own_blocks", "auto"), Arm("iso_cts rows", 1.0),
    Arm("dc_merge rows", 1.0),
    Arm("dc_merge rows", "auto"), Arm("average", 1.0), Arm("ties", 1.0), Arm("task_arithmetic", 1.0),
    Arm("tsv_m + pico", 1.0), Arm("task_arithmetic + pico", 1.0), Arm("task_arithmetic + pico", 0.5),
)  # fmt: skip
"""What a user may always take, to compare with."""

Regrets = Mapping[str, float | None]
"""Board to the points of accuracy that a choice loses there."""

Measure = Callable[[Scored, Arm | None], float | None]
GOAL = 2.0
"""Points of accuracy that a choice may lose on a board that it was not fitted on."""


def written(boards: Mapping[str, Scored], later: Mapping[str, Scored]) -> str:
    """Every table, and what they are based on; ``later`` are boards that came after the rules."""
    parts = [
        _rules(boards), _held_out(boards), _later(boards, later), _missed(boards, later), _summary(boards),
        _circumstances(),
    ]  # fmt: skip
    return "\n".join(part for part in parts if part)


def _rules(boards: Mapping[str, Scored]) -> str:
    fitted = rules(list(boards.values()), CELLS[CHOSEN])
    lines = [_row(["models", "merge", "fitted on"]), _row(["---"] * 3)]
    for group, arm in fitted.items():
        titles = [board.title for board in boards.values() if board.group == group]
        lines.append(_row([GROUPS[group], str(arm), "; ".join(titles)]))
    return "\n".join(lines) + "\n"


def _held_out(boards: Mapping[str, Scored]) -> str:
    head = ["board left out", "tasks", "chosen without it", "points lost", "chosen without its suite", "points lost",
            "best of hindsight"]  # fmt: skip
    lines = [_row(head), _row(["---", "---:", "---", "---:", "---", "---:", "---"])]
    for board in boards.values():
        cells = [board.title, str(board.tasks)]
        for suite in (False, True):
            arm = chosen_without(board, list(boards.values()), CELLS[CHOSEN], suite=suite)
            cells += ["–" if arm is None else str(arm), _shown(regret(board, arm))]
        lines.append(_row([*cells, f"`{board.best_name}`, {100 * board.best:.1f}"]))
    return "\n".join(lines) + "\n"


def _later(boards: Mapping[str, Scored], later: Mapping[str, Scored]) -> str:
    if not later:
        return ""
    fitted = rules(list(boards.values()), CELLS[CHOSEN])
    head = ["board measured after the rules were fitted", "tasks", "chosen", "points lost", "best of hindsight"]
    lines = [_row(head), _row(["---", "---:", "---", "---:", "---"])]
    for board in later.values():
        arm = fitted[board.group]
        best = f"`{board.best_name}`, {100 * board.best:.1f}"
        lines.append(_row([board.title, str(board.tasks), str(arm), _shown(regret(board, arm)), best]))
    return "\n".join(lines) + "\n"


def _missed(boards: Mapping[str, Scored], later: Mapping[str, Scored]) -> str:
    """On which boards the goal is missed, in one sentence."""
    fitted = rules(list(boards.values()), CELLS[CHOSEN])
    losses = {boards[name].title: loss for name, loss in _left_out(boards, CHOSEN).items()}
    losses |= {board.title: regret(board, fitted[board.group]) for board in later.values()}
    missed = [f"{title} ({loss:.1f})" for title, loss in losses.items() if loss is not None and loss >= GOAL]
    told = "is met on every board" if not missed else f"is missed on {'; '.join(missed)}"
    return f"With the board itself left out, the goal of less than {GOAL:g} points {told}.\n"


def _summary(boards: Mapping[str, Scored]) -> str:
    """Mean and worst regret of every way to choose."""
    ways: dict[str, Regrets] = {}
    for title in CELLS:
        ways[f"{title}, board left out"] = _left_out(boards, title)
        ways[f"{title}, suite left out"] = _left_out(boards, title, suite=True)
    for arm in FIXED:
        ways[f"always {arm}"] = {name: regret(board, arm) for name, board in boards.items()}
    head = ["choice", "mean points lost", "worst", "worst on adapters", "boards", "mean on validation inputs"]
    lines = [_row(head), _row(["---", "---:", "---:", "---:", "---:", "---:"])]
    on_validation = {f"{title}, board left out": _left_out(boards, title, regret_on_validation) for title in CELLS}
    for title, losses in ways.items():
        known = _known(losses)
        if known:
            adapters = {name: loss for name, loss in losses.items() if boards[name].form == "adapters"}
            seen = _known(on_validation.get(title, {}))
            shown = f"{fmean(seen.values()):.1f}" if seen else "–"
            lines.append(
                _row([title, f"{fmean(known.values()):.1f}", _worst(known), _worst(_known(adapters)), str(len(known)),
                      shown])
            )  # fmt: skip
    return "\n".join(lines) + "\n"


def _left_out(boards: Mapping[str, Scored], title: str, measure: Measure = regret, *, suite: bool = False) -> Regrets:
    every = list(boards.values())
    chosen = {name: chosen_without(board, every, CELLS[title], suite=suite) for name, board in boards.items()}
    return {name: measure(board, chosen[name]) for name, board in boards.items()}


def _known(losses: Regrets) -> dict[str, float]:
    return {name: loss for name, loss in losses.items() if loss is not None}


def _worst(losses: Mapping[str, float]) -> str:
    if not losses:
        return "–"
    loss, name = max((loss, name) for name, loss in losses.items())
    return f"{loss:.1f} ({name})"


def _circumstances() -> str:
    left_out = "; ".join(f"`{name}` {why}" for name, why in LEFT_OUT.items())
    return (
        "Points of mean accuracy on test inputs, behind the best row of the board that needs no data, at the best of "
        "the scales that were scored: 1, `auto`, and the one that validation chose. Rules are fitted on validation "
        "inputs, and only on boards other than the one that they are scored on; a suite is left out with every board "
        "that shares its kind of models and inputs. What is chosen is a row at scale 1 or at `auto`, on adapters also "
        "at 0.5; every board that a rule is fitted on must have scored it. – is a choice that the board did not score. "
        f"Boards that are not used: {left_out}.\n"
    )


def _shown(loss: float | None) -> str:
    return "–" if loss is None else f"{loss:.1f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
