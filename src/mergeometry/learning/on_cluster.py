"""Learning on a worker of a cluster: the driver holds no model, and shows what the worker reports.

A step is a second or two of passes, whose gradients every process needs before the next: over a network it would wait
more than it computes. So one worker learns. One that is lost is replaced by another, which continues from the last
check.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mergeometry.errors import RecipeError
from mergeometry.execution.executor import Demands, Executor
from mergeometry.execution.extras import Extras
from mergeometry.execution.pool import all_of
from mergeometry.execution.run import Interrupted
from mergeometry.learning.estimate import estimate
from mergeometry.learning.state import Point, Report
from mergeometry.plan.plan import Plan

Say = Callable[[str, int, int], None]

INTERRUPTED = "learning was interrupted; nothing was published"
CONTINUED = "run the same command with --resume to continue from the last check"

_REPORTS = "reports.jsonl"
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class LearningJob:
    """What a worker learns, and the folder on shared storage in which it keeps its state."""

    plan: Plan
    folder: Path
    threads: int | None
    device: str


def learn_on(
    executor: Executor, plan: Plan, folder: Path, threads: int | None, device: str, say: Say, report: Report
) -> tuple[Plan, Extras]:
    """Learn in one worker of a cluster, on a GPU where ``device`` asks for one or the cluster has one.

    Raises:
        RecipeError: no node has the memory, or the GPU that is asked for.
        ExecutionError: a worker dies over and over.
        MergeometryError: learning fails there.
    """
    section = plan.recipe.adapt
    assert section is not None, "the recipe has no adapt section"
    gpu = device != "cpu" and executor.gpus() > 0
    if device.startswith("cuda") and not gpu:
        raise RecipeError(
            "no node of the cluster offers a GPU", hint="--device cpu, or start Ray there with --num-gpus"
        )
    memory = estimate(plan, section).memory
    executor.workers(1, memory)
    job = LearningJob(plan, folder, threads, "cuda" if gpu else "cpu")
    demands = Demands[LearningJob](name=lambda _: "learning", memory=lambda _: memory, gpu=lambda _: int(gpu))
    try:
        with _shown(folder / _REPORTS, say, report):
            (result,) = all_of(learn_there, [job], 1, executor, demands)
    except KeyboardInterrupt as error:
        raise Interrupted(INTERRUPTED, hint=CONTINUED) from error
    return result


def learn_there(job: LearningJob) -> tuple[Plan, Extras]:
    """Learn in a worker; what an earlier worker saved is continued."""
    from mergeometry.execution.devices import chosen_device  # noqa: PLC0415
    from mergeometry.learning.processes import Alone  # noqa: PLC0415
    from mergeometry.learning.run import learned  # noqa: PLC0415  (run.py calls this module)

    with (job.folder / _REPORTS).open("a") as file:
        file.write("\n")  # ends what an earlier worker may have left of a line

        def write(**line: Any) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()

        return learned(
            job.plan, job.folder, Alone(chosen_device(job.device)), job.threads or 1, True,
            lambda text, done, total: write(say=[text, done, total]), lambda point: write(point=asdict(point)), None,
        )  # fmt: skip


@contextmanager
def _shown(file: Path, say: Say, report: Report) -> Iterator[None]:
    """Pass on what a worker appends to a file, until the block ends; what a report raises is raised then."""
    file.write_text("")
    ended, failures = threading.Event(), list[Exception]()

    def follow() -> None:
        with file.open() as lines:
            rest, last = "", False
            while not last:
                last = ended.wait(_LOOK_SECONDS)
                *whole, rest = (rest + lines.read()).split("\n")
                for line in whole:
                    _pass_on(line, say, report)

    def guarded() -> None:
        try:
            follow()
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=guarded, name="reports", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        file.unlink(missing_ok=True)
    if failures:
        raise failures[0]


def _pass_on(line: str, say: Say, report: Report) -> None:
    """Pass on what a line says, unless a lost worker left it half written."""
    try:
        told = json.loads(line)
    except ValueError:
        return
    if "say" in told:
        say(*told["say"])
    else:
        report(Point(**told["point"]))
