"""The demo's jobs, each for a worker process: one merge, or one set of weights scored on one split."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mergeometry.comparison.gain import Correct
from mergeometry.errors import ExecutionError
from mergeometry.execution.thread_environment import ENVIRONMENT
from mergeometry.sources import open_checkpoint
from mergeometry_suite.command import load_expert
from mergeometry_suite.demo.entries import Entry
from mergeometry_suite.demo.scorer import Scorer, read_weights


@dataclass(frozen=True, slots=True)
class Settings:
    """What every job of one run shares."""

    output: Path
    backbone: Path
    tasks: tuple[str, ...]
    validation_texts: int
    test_texts: int
    scales: tuple[float, ...]


class Kind(StrEnum):
    """What a job does."""

    BASE = "base"
    EXPERTS = "experts"
    MERGE = "merge"
    VALIDATE = "validate"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Job:
    """One step of a row, at a scale; or of the two ends, where there is no entry."""

    settings: Settings
    kind: Kind
    entry: Entry | None = None
    scale: float = 1.0


def words(job: Job) -> str:
    """What has been done once a job is finished."""
    if job.entry is None:
        return "scored the base" if job.kind is Kind.BASE else "scored the experts"
    if job.kind is Kind.MERGE:
        return f"merged {job.entry.name} at {job.scale:g}"
    split = "validation" if job.kind is Kind.VALIDATE else "test"
    return f"scored {job.entry.name} at {job.scale:g} ({split})"


def carry_out(job: Job) -> Any:
    """Do one job: a merge returns its totals, validation the mean accuracy, a test whether each text is right.

    Raises:
        ExecutionError: the command line could not merge.
    """
    if job.entry is not None and job.kind is Kind.MERGE:
        return merge(job.settings, job.entry, job.scale)["totals"]
    scorer = scorer_of(job.settings)
    if job.entry is None:
        return scorer.correct(scorer.base, "test") if job.kind is Kind.BASE else scorer.experts()
    merged = read_weights(open_checkpoint(merged_folder(job.settings, job.entry), job.entry.name))
    if job.kind is Kind.VALIDATE:
        return _mean(scorer.correct(scorer.moved(merged, job.scale), "validation"))
    return scorer.correct(merged, "test")


@cache
def scorer_of(settings: Settings) -> Scorer:
    """An encoder with the texts to score, built once in each worker."""
    return Scorer(settings.backbone, settings.tasks, settings.validation_texts, settings.test_texts)


def merge(settings: Settings, entry: Entry, scale: float) -> dict[str, Any]:
    """Merge as a user would, by the command line in a process of its own; returns the run record."""
    models = [{"path": str(load_expert(task).folder), "name": task} for task in settings.tasks]
    recipe = settings.output / "recipes" / f"{file_name(entry.name)}.yaml"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    # JSON is YAML, and has one way to write a value.
    recipe.write_text(json.dumps(entry.recipe(str(settings.backbone), models, scale), indent=2) + "\n", "utf-8")
    folder = merged_folder(settings, entry)
    command = [sys.executable, "-m", "mergeometry", "merge", str(recipe), "--output", str(folder)]
    done = subprocess.run(
        [*command, "--overwrite", "--workers", "1", "--no-report", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **ENVIRONMENT},
    )
    if done.returncode != 0:
        raise ExecutionError(f"{entry.name} could not be merged:\n{done.stderr.strip()}", hint=" ".join(command))
    return json.loads(done.stdout)


def merged_folder(settings: Settings, entry: Entry) -> Path:
    """Where the merged model of a row is written."""
    return settings.output / "merged" / file_name(entry.name)


def file_name(row: str) -> str:
    """A row's name as the name of a file."""
    return row.replace(" ", "-")


def _mean(correct: Correct) -> float:
    return float(np.mean([np.mean(task) for task in correct.values()]))
