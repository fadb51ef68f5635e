"""Which test texts the base and each task's own expert classify correctly: the two ends of every row's scale."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.studies.learning.child import EVERYTHING
from mergeometry_suite.backbone import backbone
from mergeometry_suite.command import list_tasks
from mergeometry_suite.demo.scorer import Scorer


def write_ends(place: Path) -> None:
    """Score both ends once; their answers are the same in every run."""
    if place.is_file():
        return
    scorer = Scorer(backbone(), tuple(task.name for task in list_tasks()), EVERYTHING, EVERYTHING)
    base = {task: [int(one) for one in right] for task, right in scorer.correct(scorer.base, "test").items()}
    experts = {task: [int(one) for one in right] for task, right in scorer.experts().items()}
    place.write_text(json.dumps({"base": base, "experts": experts}) + "\n", "utf-8")
