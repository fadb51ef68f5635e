"""Shows the progress of learning on a terminal, and its outcome in one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergeometry.cli.show import console, duration, plain

if TYPE_CHECKING:
    from mergeometry.learning.train import Point
    from mergeometry.plan import Plan, TensorTask
    from mergeometry.sink import RunRecord


def learn(
    plan: Plan, output: Path, *, workers: int | None, device: str, overwrite: bool, resume: bool, hidden: bool
) -> RunRecord:
    """Learn and merge, with a bar on a terminal."""
    from mergeometry.learning.run import adapt

    with _bars(plan, hidden) as bars:
        return adapt(
            plan, output, workers=workers, device=device, overwrite=overwrite, resume=resume,
            say=bars.say, report=bars.report, progress=bars.progress,
        )  # fmt: skip


def learned_line(summary: Mapping[str, Any]) -> str:
    """What was learned, in one line."""
    held_out = summary.get("held_out")
    course = (
        f"; held-out objective {held_out['start']:.4g} before, {held_out['kept']:.4g} at step {summary['kept_step']}"
        if held_out
        else ""
    )
    return (
        f"  learned by {summary['objective']}: {summary['learned_numbers']:,} coefficients, "
        f"one per {summary['coefficients']}, rotation {summary['rotation']}, "
        f"{summary['steps']} steps in {duration(summary['seconds'])}{course}"
    )


class _Silent:
    """No bar: output is piped, or quiet was requested."""

    def say(self, text: str, done: int, total: int) -> None:
        """Nothing."""

    def report(self, point: Point) -> None:
        """Nothing."""

    def progress(self, task: TensorTask) -> None:
        """Nothing."""


class _Bars(_Silent):
    """One bar for the current stage: preparing, learning or writing."""

    def __init__(self, bar: Any, steps: int, tensors: int) -> None:
        self._bar, self._steps, self._tensors, self._written = bar, steps, tensors, 0
        self._task = bar.add_task("preparing", total=None)
        self._held_out = ""

    def say(self, text: str, done: int, total: int) -> None:
        """Preparing: steps done, of how many."""
        self._bar.update(self._task, description=plain(text), completed=done, total=total)

    def report(self, point: Point) -> None:
        """A step of learning, with the last held-out value."""
        if point.held_out is not None:
            self._held_out = f", held out {point.held_out:.4g}"
        text = f"learning, objective {point.loss:.4g}{self._held_out}"
        self._bar.update(self._task, description=text, completed=point.step, total=self._steps)

    def progress(self, task: TensorTask) -> None:
        """A tensor written."""
        self._written += 1
        text = f"merging {plain(task.name)[-48:]:>48}"
        self._bar.update(self._task, description=text, completed=self._written, total=self._tensors)


@contextmanager
def _bars(plan: Plan, hidden: bool) -> Iterator[_Silent]:
    target = console(err=True)
    if hidden or not target.is_terminal:
        yield _Silent()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    assert plan.recipe.adapt is not None
    with Progress(*columns, console=target, transient=True) as bar:
        yield _Bars(bar, plan.recipe.adapt.steps, len(plan.ordered()))
