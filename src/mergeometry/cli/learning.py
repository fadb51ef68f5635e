"""Shows the progress of learning, and its outcome in one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergeometry.cli.events import Steps, Tensors
from mergeometry.cli.progress import Show, progress, tensor_by_tensor
from mergeometry.progress import duration

if TYPE_CHECKING:
    from mergeometry.cli.events import Events
    from mergeometry.execution.directions_folder import DirectionsFolder
    from mergeometry.execution.executor import Executor
    from mergeometry.execution.telling import Tell
    from mergeometry.learning.state import Point
    from mergeometry.plan import Plan, TensorTask
    from mergeometry.sink import RunRecord


def learn(
    plan: Plan,
    output: Path,
    *,
    workers: int | None,
    memory_limit: str | None,
    executor: Executor,
    device: str,
    overwrite: bool,
    resume: bool,
    hidden: bool,
    events: Events | None = None,
    tell: Tell,
    directions: DirectionsFolder | None = None,
) -> RunRecord:
    """Learn and merge, with the progress of each stage."""
    from mergeometry.learning.run import adapt

    assert plan.recipe.adapt is not None
    with progress("preparing", hidden=hidden, timed=True) as show:
        shown = _Silent() if show is None else _Shown(plan, plan.recipe.adapt.steps, show)
        if events is not None:
            shown = _Written(plan, events)
        return adapt(
            plan, output, workers=workers, memory_limit=memory_limit, executor=executor, device=device,
            overwrite=overwrite, resume=resume, directions=directions,
            say=shown.say, report=shown.report, progress=shown.tensor, tell=tell,
        )  # fmt: skip


def learned_line(summary: Mapping[str, Any]) -> str:
    """What was learned, in one line."""
    held_out = summary.get("held_out")
    course = (
        f"; held-out objective {held_out['start']:.4g} before, {held_out['kept']:.4g} at step {summary['kept_step']}"
        f"{_fall(summary)}"
        if held_out
        else ""
    )
    from mergeometry.learning.agreement import agreement_line

    shares = summary.get("agreement")
    course += f"\n  {agreement_line(shares)}" if shares else ""
    return (
        f"  learned by {summary['objective']}: {summary['learned_numbers']:,} coefficients, "
        f"one per {summary['coefficients']}, rotation {summary['rotation']}, "
        f"{summary['steps']} steps in {duration(summary['seconds'])}{course}"
    )


def _fall(summary: Mapping[str, Any]) -> str:
    """By how much the held-out objective fell, against chance, where learning is kept."""
    held_out = summary["held_out"]
    error = held_out.get("standard_error")
    if error is None or not summary["kept_step"]:
        return ""
    return f" ({held_out['fell_by']:.2g} ± {error:.1g} lower, on {held_out['inputs']} inputs)"


class _Silent:
    """Nothing is shown."""

    def say(self, text: str, done: int, total: int) -> None:
        """Nothing."""

    def report(self, point: Point) -> None:
        """Nothing."""

    def tensor(self, task: TensorTask) -> None:
        """Nothing."""


class _Written(_Silent):
    """The same as events."""

    def __init__(self, plan: Plan, events: Events) -> None:
        self.say, self.report = Steps(events, "preparing"), Steps(events, "learning").point
        self.tensor = Tensors(plan, events)


class _Shown(_Silent):
    """The current stage: preparing, learning or writing."""

    def __init__(self, plan: Plan, steps: int, show: Show) -> None:
        self._show, self._steps, self._advance = show, steps, tensor_by_tensor(plan, show)
        self._held_out = ""

    def say(self, text: str, done: int, total: int) -> None:
        """Preparing: steps done, of how many."""
        self._show(text, done, total, count=f"{done}/{total}")

    def report(self, point: Point) -> None:
        """A step of learning, with the last held-out value."""
        if point.held_out is not None:
            self._held_out = f", held out {point.held_out:.4g}"
        text = f"learning, objective {point.loss:.4g}{self._held_out}"
        self._show(text, point.step, self._steps, count=f"{point.step}/{self._steps}")

    def tensor(self, task: TensorTask) -> None:
        """A tensor written."""
        self._advance(task)
