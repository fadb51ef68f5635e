"""Runs a board with the project's own commands, and keeps the result with its circumstances."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import ROOT
from benchmarks.studies.leaderboards.boards import BOARDS
from benchmarks.studies.leaderboards.kinds import Board

RESULTS = ROOT / "benchmarks" / "results" / "leaderboards"
PLUGINS = ROOT / "benchmarks" / "studies" / "plugins"
"""Methods of boards that are not part of the library, found through entry points like those of any package."""
SCRATCH = ROOT / "benchmarks" / "scratch" / "leaderboards"


def run(name: str, workers: int | None = None) -> None:
    """Write the board's suite, compare, and keep the result; an interrupted comparison resumes."""
    board, folder = BOARDS[name], SCRATCH / name
    found = circumstances()
    tool = [sys.executable, "-m", "mergeometry"]
    place, seed = str(folder / "suite"), str(board.seed)
    suite = ["suite", "tasks", *board.only, "--suite", board.suite, "--output", place, "--seed", seed]
    _call([*tool, *suite, *(["--full", "--habit", board.habit] if board.full else [])])
    _call([*tool, *arguments(board, folder, workers)])
    keep(name, folder / "comparison", found)


def arguments(board: Board, folder: Path, workers: int | None = None) -> list[str]:
    """The `compare` command of a board whose suite is in ``folder``, with its tasks and methods written there."""
    tasks = json.loads((folder / "suite" / "tasks.yaml").read_text("utf-8"))
    for task in tasks["tasks"]:
        for split, limit in (("validation", board.validation), ("test", board.test)):
            task[split] = {"path": task[split], "limit": limit}
    (folder / "suite" / "tasks-limited.yaml").write_text(json.dumps(tasks, indent=1), "utf-8")
    # JSON is YAML.
    (folder / "methods.yaml").write_text(json.dumps(list(board.methods), indent=1), "utf-8")
    return [
        "compare", str(folder / "suite" / "recipe.yaml"), "--tasks", str(folder / "suite" / "tasks-limited.yaml"),
        "--methods", str(folder / "methods.yaml"), "--scales", board.scales, "--output", str(folder / "comparison"),
        *(["--rules", board.rules] if board.rules else []),
        *(["--leave-out", board.leave_out] if board.leave_out else []),
        *(["--workers", str(workers)] if workers else []),
    ]  # fmt: skip


def keep(name: str, comparison: Path, found: dict[str, Any]) -> None:
    """Keep a finished comparison with what it was measured on."""
    kept = {
        "board": name,
        "command": f"python -m benchmarks.studies.leaderboards run {name}",
        **found,
        "comparison": json.loads((comparison / "comparison.json").read_text("utf-8")),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


def _call(command: list[str]) -> None:
    path = os.pathsep.join([str(PLUGINS), *filter(None, [os.environ.get("PYTHONPATH")])])
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path})
