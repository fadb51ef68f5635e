"""The rules of `method: auto` are those that the leaderboards give, and the page says what the boards say."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from benchmarks.studies.leaderboards.boards import BOARDS
from benchmarks.studies.method_choice.__main__ import COMMAND, NAME, PAGE
from benchmarks.studies.method_choice.arms import AUTO_RULE, LATER, USED, Arm, Scored, read
from benchmarks.studies.method_choice.fit import (
    BY_FORM,
    CELLS,
    CHOSEN,
    chosen_without,
    fit,
    regret,
    regret_on_validation,
    rules,
)
from benchmarks.studies.method_choice.page import written
from mergeometry.methods import registry
from mergeometry.plan.choice_of_method import FITTED


@pytest.fixture(scope="module")
def boards() -> dict[str, Scored]:
    return read()


def row(name: str, validation: dict[str, float], one: float, ruled: tuple[float, float] | None = None) -> Any:
    rule = {} if ruled is None else {AUTO_RULE: {"scale": ruled[0], "mean": ruled[1]}}
    at = {"mean": one}
    return {
        "name": name, "method": {"name": name}, "validation": validation, "at_one": at, "at_best": at,
        "best_scale": 1.0, "rules": rule,
    }  # fmt: skip


def write(folder: Path, name: str, *rows: dict[str, Any]) -> None:
    comparison = {"measure": "accuracy", "seen": ["a", "b"], "rows": list(rows)}
    (folder / f"{name}.json").write_text(json.dumps({"comparison": comparison}))


def test_the_rules_in_the_library_are_those_that_the_boards_give(boards: dict[str, Scored]) -> None:
    fitted = rules(list(boards.values()), CELLS[CHOSEN])
    assert {group: arm.merge for group, arm in fitted.items()} == FITTED
    assert f"{registry.find('own_blocks').scale_rule} per model" == AUTO_RULE


def test_adapters_are_divided_as_loses_least_on_validation_inputs(boards: dict[str, Scored]) -> None:
    adapters = [board for board in boards.values() if board.form == "adapters"]
    lost: dict[str, float] = {}
    for way, cell in CELLS.items():
        losses = [regret_on_validation(board, chosen_without(board, adapters, cell)) for board in adapters]
        lost[way] = fmean(loss for loss in losses if loss is not None)
    assert lost[CHOSEN] == min(lost.values()) < lost[BY_FORM]


def test_rows_that_other_boards_measured_on_the_same_inputs_count(tmp_path: Path) -> None:
    write(tmp_path, "vision", row("ties", {"0.5": 0.6, "1": 0.7}, 0.5))
    refined = {**row("tsv_m + pico", {"0.5": 0.9, "1": 0.8}, 0.8), "method": {"name": "tsv_m"}}
    write(tmp_path, "vision-records", refined, row("ties", {"0.5": 0.1, "1": 0.1}, 0.1))
    board = read(tmp_path)["vision"]
    assert (board.best, board.best_name, board.best_validation) == (0.8, "tsv_m + pico", 0.9)
    assert fit([board]) == Arm("tsv_m + pico", 0.5) and Arm("tsv_m + pico", 0.5).merge.refine == ("pico",)
    assert board.arms[Arm("ties", 1.0)].validation == 0.7  # the board's own row


def test_the_page_is_written_from_the_boards(boards: dict[str, Scored]) -> None:
    tables = written(boards, read(names=LATER))
    assert f"<!-- {NAME}: written by `{COMMAND}` -->\n{tables}<!-- end" in PAGE.read_text("utf-8")
    assert not set(LATER) & set(USED)
    assert set(boards) <= set(BOARDS) and {board.form for board in boards.values()} == {"full", "adapters"}


def test_a_rule_is_fitted_on_validation_inputs_of_other_boards_alone(tmp_path: Path) -> None:
    curve = {"0.5": 0.6, "0.75": 0.8, "1": 0.7}
    write(
        tmp_path, "text-8-adapters", row("ties", curve, 0.1, (0.875, 0.9)), row("tsv_m", {"0.5": 0.5, "1": 0.6}, 0.95)
    )
    write(tmp_path, "vision", row("ties", curve, 0.2), row("tsv_m", {"0.5": 0.8, "1": 0.9}, 0.4, (0.5, 0.6)))
    write(tmp_path, "text-8-full", row("iso_c", curve, 0.5), row("esm", curve, 0.99))
    found = read(tmp_path)
    text, vision, full = (found[name] for name in ("text-8-adapters", "vision", "text-8-full"))
    assert text.arms[Arm("ties", "auto")].validation == pytest.approx(0.75)  # between the points of its grid
    assert (text.best, full.best) == (0.95, 0.5)  # of hindsight, and of rows that need no data
    assert fit([text]) == Arm("ties", "auto") and fit([vision]) == Arm("tsv_m", 1.0)
    every = list(found.values())
    assert chosen_without(text, every, CELLS[CHOSEN]) == Arm("tsv_m", 1.0)
    assert regret(text, Arm("tsv_m", 1.0)) == pytest.approx(0)
    assert chosen_without(vision, every, CELLS[CHOSEN]) == Arm("ties", "auto")
    assert regret(vision, Arm("ties", "auto")) is None  # which that board did not score
    assert chosen_without(full, every, CELLS[CHOSEN]) == fit([text, vision])  # no other board of full fine-tunes


def test_an_arm_that_a_board_did_not_score_is_not_chosen(boards: dict[str, Scored]) -> None:
    adapters = [board for board in boards.values() if board.form == "adapters"]
    arm = fit(adapters)
    assert arm is not None and all(board.arms[arm].validation is not None for board in adapters)
    assert fit([]) is None
