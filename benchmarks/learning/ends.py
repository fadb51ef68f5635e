"""Which test texts the base and each task's own expert classify right: the ends that every row lies between."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.learning.child import EVERYTHING
from mergeometry.demo.judge import Judge
from mergeometry.suite.backbone import backbone
from mergeometry.suite.command import list_tasks


def write_ends(place: Path) -> None:
    """Score both ends once; their answers are the same in every run."""
    if place.is_file():
        return
    judge = Judge(backbone(), tuple(task.name for task in list_tasks()), EVERYTHING, EVERYTHING)
    base = {task: [int(one) for one in right] for task, right in judge.correct(judge.base, "test").items()}
    experts = {task: [int(one) for one in right] for task, right in judge.experts().items()}
    place.write_text(json.dumps({"base": base, "experts": experts}) + "\n", "utf-8")
