"""Progress in a log: a line now and then, time left by the work done, nothing for short work or with --quiet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry import progress
from mergeometry.progress import Lines, tensor_by_tensor
from tests.helpers import models
from tests.helpers.commands import invoke


class Log:
    """Lines of work whose clock is set by hand."""

    def __init__(self, *, timed: bool = True) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        self.show = Lines(self.lines.append, timed=timed, clock=lambda: self.now)

    def at(self, now: float, done: float, total: float = 100, text: str = "merging", **more: str) -> None:
        self.now = now
        self.show(text, done, total, **more)


def test_a_line_for_each_tenth_and_none_for_short_work() -> None:
    log = Log()
    for second in range(1, 101):
        log.at(second, second)
    assert len(log.lines) == 9 and log.lines[0] == "merging: 10 %, about 90 s left"
    short = Log()
    for step in range(1, 101):
        short.at(step / 60, step)
    assert not short.lines


def test_the_start_and_the_first_piece_do_not_spoil_the_estimate() -> None:
    log = Log()
    log.at(10.0, 2)  # the start took long, and most pieces take a fraction of that
    log.at(11.5, 12)
    assert log.lines == ["merging: 12 %"]
    log.at(14.0, 24)
    assert log.lines[1] == "merging: 24 %, about 14 s left"


def test_a_line_each_half_minute_where_a_tenth_takes_longer() -> None:
    log = Log()
    for second in range(0, 121, 5):
        log.at(second, second / 100, count=f"{second}/103")
    assert [line.split(",")[0] for line in log.lines] == [
        f"merging: 0 % ({second}/103)" if second < 60 else f"merging: 1 % ({second}/103)"
        for second in (30, 60, 90, 120)
    ]


def test_what_an_earlier_run_did_says_nothing_about_the_rate() -> None:
    log = Log()
    log.at(0.0, 40)
    log.at(0.1, 80)
    log.at(10.1, 90)
    assert log.lines == ["merging: 90 %, about 10 s left"]


def test_stages_follow_one_another() -> None:
    log = Log()
    log.at(5, 4, 8, "preparing")
    log.at(7.5, 6, 8, "preparing")
    log.at(10, 8, 8, "preparing")
    log.at(12, 1, 300, "learning, objective [0.4]\x1b")
    log.at(32, 101, 300, "learning, objective [0.4]\x1b")
    assert log.lines == [
        "preparing: 50 %",
        "preparing: 75 %, about 2.5 s left",
        "learning, objective [0.4]\\x1b: 34 %, about 40 s left",
    ]
    steps = Log(timed=False)
    steps.at(40, 7, count="7/100")
    assert steps.lines == ["merging: 7 % (7/100)"]


def test_tensors_count_by_their_seconds(tmp_path: Path) -> None:
    plan = mg.make_plan({**models.write_family(tmp_path, count=2), "method": "tsv_m"})
    log: list[Any] = []

    def show(text: str, done: float, total: float, *, item: str = "", count: str = "") -> None:
        log.append((done / total, item, count))

    advance = tensor_by_tensor(plan, show)
    for task in plan.ordered():
        advance(task)
    assert [count for *_, count in log] == [f"{number}/6" for number in range(1, 7)]
    first, last = plan.ordered()[0], log[-1][0]
    share = first.cost.seconds / sum(task.cost.seconds for task in plan.tasks)
    assert log[0][0] == pytest.approx(share) and log[0][1] == first.name
    assert log[0][0] > 1 / 6 and last == pytest.approx(1)


def test_lines_on_standard_error_without_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_APART", 0.0)
    family = models.write_family(tmp_path, count=2)
    words = ["merge", "--base", family["base"], "--method", "tsv_m"]
    words += [word for model in family["models"] for word in ("--model", model)]
    shown = invoke(*words, "--output", tmp_path / "out")
    assert shown.exit_code == 0 and "merging: " in shown.stderr and "/6)" in shown.stderr
    assert "merging: " not in shown.stdout
    for flag in ("--quiet", "--json"):
        assert not invoke(*words, "--output", tmp_path / f"out{flag}", flag).stderr


def test_what_takes_less_than_a_second_is_not_said_to_take_none() -> None:
    assert [progress.about(seconds) for seconds in (0.0, 0.99, 1.0, 300.0)] == [
        "under a second", "under a second", "about 1.0 s", "about 5 min"
    ]  # fmt: skip
