"""Learning and comparing on the text suite, beside the same commands of an earlier commit.

``python -m benchmarks.speed suite``. The earlier commit is checked out beside this one (``git worktree``), and the
commands of both take turns: whole processes, one thread. The goals are on user and system seconds together.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.speed.measure import ROOT, Case, in_turn, relative, remove
from benchmarks.speed.settings import Settings, goal

TITLE = "Learning and comparing on the text suite: now and before"
BEFORE = "223ef87"
"""The commit before learning took its gradients from factors."""
STEPS, METHODS, SCALES = 20, "task_arithmetic,tsv_m", "0.5,1"
PRECISIONS = ("float32", "bfloat16")


def run(settings: Settings) -> dict[str, Any]:
    """Measure every command here and at the earlier commit, in turn."""
    work = settings.work / "suite"
    remove(work)
    work.mkdir(parents=True)
    try:
        with checked_out(BEFORE, work / "before") as before:
            write_recipes(work, settings.quick)
            cases = [
                Case(f"{name}, {when}", [*at(source), *command], work / "out")
                for name, command in commands(work).items()
                for when, source in (("now", ROOT), ("before", before))
            ]
            in_turn(cases, settings.slow_repeats, work)
    finally:
        remove(work)
    rows = [{**case.row(), "processor_s": least(case)} for case in cases]
    goals = [
        goal(f"{now['name'].removesuffix(', now')}: times faster than at {BEFORE}",
             earlier["processor_s"] / now["processor_s"], 2.0, at_least=True)
        for now, earlier in zip(rows[::2], rows[1::2], strict=True)
    ]  # fmt: skip
    return {"rows": rows, "agreement": [], "goals": goals, "before": BEFORE}


def commands(work: Path) -> dict[str, list[str]]:
    """What is measured, without what starts it."""
    output = relative(work / "out")
    found = {
        f"learning, {precision}": ["merge", relative(work / f"learn-{precision}.yaml"), "--no-report", "--workers", "1",
                                   "--device", "cpu", "--output", output]
        for precision in PRECISIONS
    }  # fmt: skip
    compare = ["compare", relative(work / "recipe.yaml"), "--tasks", relative(work / "tasks.yaml"), "--workers", "1"]
    found["comparing"] = [*compare, "--device", "cpu", "--methods", METHODS, "--scales", SCALES, "--output", output]
    return found


def at(source: Path) -> list[str]:
    """The start of a command of the checkout."""
    path = ":".join(relative(source / part) for part in ("src", "suite"))
    return ["env", f"PYTHONPATH={path}", sys.executable, "-m", "mergeometry"]


def write_recipes(work: Path, quick: bool) -> None:
    """The suite's recipe and tasks, and a recipe that learns in each precision."""
    limit = ["--limit", "8"] if quick else []
    command = [*at(ROOT), "suite", "tasks", "--suite", "text-8", "--output", relative(work), *limit]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    recipe, tasks = (json.loads((work / name).read_text()) for name in ("recipe.yaml", "tasks.yaml"))
    learned = [
        {"name": task["name"], "data": str(work / task["unlabelled"]), "head": str(work / task["head"])}
        for task in tasks["tasks"]
    ]
    for precision in PRECISIONS:
        section = {
            "tasks": learned, "encoder": tasks["encoder"], "precision": precision, "coefficients": "pair",
            "learning_rate": 0.01, "steps": 2 if quick else STEPS, "check_every": 10,
        }  # fmt: skip
        # JSON is YAML.
        (work / f"learn-{precision}.yaml").write_text(json.dumps({**recipe, "adapt": section}))


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """The files of a commit in a folder, which is removed afterwards."""
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def least(case: Case) -> float:
    """User and system seconds of the run that took least."""
    return min(run["user_s"] + run["system_s"] for run in case.runs)
