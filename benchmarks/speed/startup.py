"""What a command takes before it works: ours beside bare Python, `import torch` and mergekit.

``python -m benchmarks.speed startup``; mergekit's commands are measured too, where
``python -m benchmarks.speed.environments mergekit`` has made its environment. Whole processes are timed, in turn; the
goals are on user and system seconds together, so that other work on the machine disturbs them least.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.speed.environments import MERGEKIT
from benchmarks.speed.measure import Case, in_turn, merge_command, relative, remove, say
from benchmarks.speed.peer_commands import nameless
from benchmarks.speed.peers import made
from benchmarks.speed.settings import Settings, goal
from benchmarks.speed.sizes import MINILM

TITLE = "Start-up: help, plans and a small merge beside `import torch`"
TASKS = 2


def run(settings: Settings) -> dict[str, Any]:
    """Measure every command, in turn."""
    work = settings.work / "startup"
    models = made(MINILM, TASKS, work)
    peers = {"mergekit": MERGEKIT.versions()} if MERGEKIT.finished.exists() else {}
    if not peers:
        say("  mergekit has no environment here and is left out")
    cases = [*_ours(models, work), *(_theirs(models, work) if peers else ())]
    try:
        in_turn(cases, settings.repeats, work)
    finally:
        remove(work)
    rows = [case.row() for case in cases]
    seconds = {row["name"]: row["user_s"] + row["system_s"] for row in rows}
    torch = seconds["python, import torch"]
    goals = [
        goal("mergeometry --help", seconds["mergeometry --help"], 0.2, "s", at_least=False),
        goal("merge of 22M parameters over import torch", seconds["merge, mergeometry"] / torch, 2.0, at_least=False),
        goal("its plan over import torch", seconds["plan, mergeometry"] / torch, 0.5, at_least=False),
    ]
    if peers:
        times = seconds["merge, mergekit"] / seconds["merge, mergeometry"]
        goals.append(goal("mergekit's merge over ours", times, 1.0, at_least=True))
    return {"rows": rows, "agreement": [], "goals": goals, "peer_versions": peers}


def _ours(models: list[Path], work: Path) -> list[Case]:
    output = work / "out-mergeometry"
    merge = merge_command(models[0], models[1:], "average", output, workers=1)
    plan = [word for word in merge if word not in ("--output", relative(output))]
    plan[plan.index("merge")] = "plan"
    command = [sys.executable, "-m", "mergeometry"]
    return [
        Case("python", [sys.executable, "-c", "pass"]),
        Case("python, import torch", [sys.executable, "-c", "import torch"]),
        Case("mergeometry --help", [*command, "--help"]),
        Case("mergeometry methods", [*command, "methods"]),
        Case("plan, mergeometry", plan),
        Case("merge, mergeometry", merge, output),
    ]


def _theirs(models: list[Path], work: Path) -> list[Case]:
    output, recipe = work / "out-mergekit", work / "mergekit.json"
    entries = [{"model": relative(nameless(model, work)), "parameters": {"weight": 1.0}} for model in models[1:]]
    content = {"merge_method": "linear", "dtype": "float32", "models": entries}
    recipe.write_text(json.dumps(content, indent=1))  # JSON is YAML
    program = str(MERGEKIT.program("mergekit-yaml"))
    return [
        Case("mergekit-yaml --help", [program, "--help"]),
        Case("merge, mergekit", [program, "--no-copy-tokenizer", relative(recipe), relative(output)], output),
    ]


if __name__ == "__main__":
    from benchmarks.speed.__main__ import main

    main(["startup", *sys.argv[1:]])
